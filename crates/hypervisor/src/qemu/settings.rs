//! What a scenario may say to QEMU: its table `[qemu]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dunlin_record::PreCopyLimits;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::launch::{DEFAULT_PROGRAM, QemuBinary};
use crate::accelerator::Accelerator;
use crate::registry::{CopyFacts, SettingKey, SettingKind, ThrottleFacts, WrongSetting};
use crate::settings::{self, key};
use crate::{Result, Side};

/// QEMU's downtime limit where none is set (`qapi/migration.json`).
const DOWNTIME_LIMIT_MS: f64 = 300.0;
/// What one thread compresses a second (zlib at level 1, zstd at level 1), in MiB of what goes in.
const ZLIB_MIB_S: f64 = 40.0;
const ZSTD_MIB_S: f64 = 300.0;
/// Threads that can compress at once: the migration has no more of a small machine.
const COMPRESSING_THREADS: f64 = 2.0;
const MIB: f64 = 1_048_576.0;

/// The keys of `[qemu]`.
pub(super) const KEYS: &[SettingKey] = &[
    key("binary", SettingKind::Text),
    key("destination_binary", SettingKind::Text),
    key("firmware", SettingKind::Text),
    key("destination_firmware", SettingKind::Text),
    key("accelerator", SettingKind::Word(Accelerator::NAMES)),
    key("extra_args", SettingKind::Texts),
    key("capabilities", SettingKind::Flags),
    key("parameters", SettingKind::Scalars),
];

/// QEMU on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct QemuSettings {
    /// The source's QEMU binary.
    pub(super) binary: PathBuf,
    /// The destination's, if another.
    pub(super) destination_binary: Option<PathBuf>,
    /// The folder with the firmware (`-L`) of an unpacked source binary.
    pub(super) firmware: Option<PathBuf>,
    /// The same for the destination's, if another.
    pub(super) destination_firmware: Option<PathBuf>,
    /// What runs the vCPUs.
    pub(super) accelerator: Accelerator,
    /// More arguments for both command lines.
    pub(super) extra_args: Vec<String>,
    /// Migration capabilities by QEMU's own names.
    pub(super) capabilities: BTreeMap<String, bool>,
    /// Migration parameters by QEMU's own names.
    pub(super) parameters: BTreeMap<String, Value>,
}

impl Default for QemuSettings {
    fn default() -> Self {
        Self {
            binary: DEFAULT_PROGRAM.into(),
            destination_binary: None,
            firmware: None,
            destination_firmware: None,
            accelerator: Accelerator::Auto,
            extra_args: Vec::new(),
            capabilities: BTreeMap::new(),
            parameters: BTreeMap::new(),
        }
    }
}

impl QemuSettings {
    /// Those of a case.
    pub(super) fn of(settings: &Map<String, Value>) -> Result<Self> {
        settings::of("QEMU", settings)
    }

    /// The program on a side.
    pub(super) fn binary(&self, side: Side) -> QemuBinary {
        match (side, &self.destination_binary) {
            (Side::Destination, Some(program)) => {
                QemuBinary { program: program.clone(), firmware: self.destination_firmware.clone() }
            }
            _ => QemuBinary { program: self.binary.clone(), firmware: self.firmware.clone() },
        }
    }

    fn is_on(&self, capability: &str) -> bool {
        self.capabilities.get(capability) == Some(&true)
    }

    fn number(&self, parameter: &str) -> Option<f64> {
        self.parameters.get(parameter)?.as_f64().filter(|value| *value >= 0.0)
    }

    /// A cap in bytes a second, where 0 is none.
    fn cap_bytes_s(&self, parameter: &str) -> Option<f64> {
        self.number(parameter).filter(|bytes_s| *bytes_s > 0.0)
    }

    fn compressed_mib_s(&self) -> Option<f64> {
        let thread_mib_s = match self.parameters.get("multifd-compression").and_then(Value::as_str) {
            Some("zlib") => ZLIB_MIB_S,
            Some("zstd") => ZSTD_MIB_S,
            _ => return None,
        };
        // Two channels are the default, each with a thread.
        let threads = self.number("multifd-channels").unwrap_or(2.0).clamp(1.0, COMPRESSING_THREADS);
        self.is_on("multifd").then_some(thread_mib_s * threads)
    }

    fn throttle(&self) -> Option<ThrottleFacts> {
        let number = |name, default| self.number(name).unwrap_or(default);
        self.is_on("auto-converge").then(|| ThrottleFacts {
            initial: number("cpu-throttle-initial", 20.0),
            increment: number("cpu-throttle-increment", 10.0),
            max: number("max-cpu-throttle", 99.0),
        })
    }
}

/// See [`crate::Driver::resolve`].
pub(super) fn resolve(settings: &Map<String, Value>) -> Result<Map<String, Value>, WrongSetting> {
    settings::whole(settings::read::<QemuSettings>(settings)?)
}

/// See [`crate::Driver::limits`].
pub(super) fn limits(settings: &Map<String, Value>) -> PreCopyLimits {
    let asked = QemuSettings::of(settings).unwrap_or_default();
    PreCopyLimits {
        downtime_ms: Some(asked.number("downtime-limit").unwrap_or(DOWNTIME_LIMIT_MS)),
        bandwidth_bytes_s: asked.cap_bytes_s("max-bandwidth"),
    }
}

/// See [`crate::Driver::copy_facts`].
pub(super) fn copy_facts(settings: &Map<String, Value>) -> CopyFacts {
    let asked = QemuSettings::of(settings).unwrap_or_default();
    let cap_mib_s = |name| asked.cap_bytes_s(name).map_or(f64::INFINITY, |bytes_s| bytes_s / MIB);
    CopyFacts {
        bandwidth_mib_s: cap_mib_s("max-bandwidth"),
        post_copy_bandwidth_mib_s: cap_mib_s("max-postcopy-bandwidth"),
        downtime_limit_s: asked.number("downtime-limit").unwrap_or(DOWNTIME_LIMIT_MS) / 1e3,
        dirty_limit_mib_s: asked.is_on("dirty-limit").then(|| asked.number("vcpu-dirty-limit")).flatten(),
        throttle: asked.throttle(),
        compressed_mib_s: asked.compressed_mib_s(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("{value} is no table") };
        map
    }

    #[test]
    fn every_key_is_one_of_the_settings_and_has_a_default() {
        let whole = resolve(&Map::new()).unwrap();
        let mut names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        names.sort_unstable();
        assert_eq!(names, whole.keys().map(String::as_str).collect::<Vec<_>>());
        assert!(resolve(&map(json!({ "colour": 1 }))).unwrap_err().message.contains("colour"));
    }

    #[test]
    fn the_limits_are_the_users_or_qemus_own() {
        let limits = |parameters| limits(&map(json!({ "parameters": parameters })));
        assert_eq!(limits(json!({})).downtime_ms, Some(300.0));
        let set = limits(json!({ "downtime-limit": 500, "max-bandwidth": 12_500_000 }));
        assert_eq!((set.downtime_ms, set.bandwidth_bytes_s), (Some(500.0), Some(12_500_000.0)));
        assert_eq!(limits(json!({ "max-bandwidth": 0 })).bandwidth_bytes_s, None);
    }

    #[test]
    fn the_destination_has_a_binary_of_its_own_where_one_is_named() {
        let settings = QemuSettings { firmware: Some("fw".into()), ..QemuSettings::default() };
        assert_eq!(settings.binary(Side::Destination), settings.binary(Side::Source));
        let other = QemuSettings { destination_binary: Some("new".into()), ..settings };
        let there = other.binary(Side::Destination);
        assert_eq!((there.program, there.firmware), ("new".into(), None));
    }
}
