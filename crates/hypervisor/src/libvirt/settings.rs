//! What a scenario may say to libvirt: its table `[libvirt]`.

use dunlin_record::PreCopyLimits;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Result;
use crate::accelerator::Accelerator;
use crate::registry::{CopyFacts, SettingKey, SettingKind, ThrottleFacts, WrongSetting};
use crate::settings::{self, key};

/// QEMU's downtime limit, which libvirt leaves as it is where none is set.
const DOWNTIME_LIMIT_MS: f64 = 300.0;
const MIB: f64 = 1_048_576.0;

/// The keys of `[libvirt]`.
pub(super) const KEYS: &[SettingKey] = &[
    key("uri", SettingKind::Text),
    key("connect", SettingKind::Word(&["ssh", "tls", "tcp"])),
    key("source_uri", SettingKind::Text),
    key("destination_uri", SettingKind::Text),
    key("mode", SettingKind::Word(&["peer-to-peer", "direct"])),
    key("tunnelled", SettingKind::Flag),
    key("listen_address", SettingKind::Text),
    key("bandwidth_mib_s", SettingKind::Number),
    key("post_copy_bandwidth_mib_s", SettingKind::Number),
    key("downtime_limit_ms", SettingKind::Number),
    key("auto_converge", SettingKind::Flag),
    key("auto_converge_initial", SettingKind::Number),
    key("auto_converge_increment", SettingKind::Number),
    key("xbzrle", SettingKind::Flag),
    key("xbzrle_cache_mib", SettingKind::Number),
    key("copy_storage", SettingKind::Word(&["none", "all", "inc"])),
    key("unsafe", SettingKind::Flag),
    key("persistent", SettingKind::Flag),
    key("undefine_source", SettingKind::Flag),
    key("accelerator", SettingKind::Word(Accelerator::NAMES)),
];

/// libvirt on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LibvirtSettings {
    /// How `virsh` on a host finds its own daemon.
    pub(super) uri: String,
    /// How one daemon gets at the other.
    pub(super) connect: Connect,
    /// How the destination's daemon finds the source's, on the way back; of `connect` and the source's address if absent.
    pub(super) source_uri: Option<String>,
    /// How the source's daemon finds the destination's; of `connect` and the destination's address if absent.
    pub(super) destination_uri: Option<String>,
    /// Who leads the migration.
    pub(super) mode: Mode,
    /// Whether the VM's memory goes through the daemons' connection.
    pub(super) tunnelled: bool,
    /// Where the destination's QEMU listens, if not everywhere.
    pub(super) listen_address: Option<String>,
    /// A cap on pre-copy in MiB/s; 0 = none.
    pub(super) bandwidth_mib_s: u64,
    /// A cap on post-copy in MiB/s; 0 = none.
    pub(super) post_copy_bandwidth_mib_s: u64,
    /// What is left must fit into this; QEMU's own if absent.
    pub(super) downtime_limit_ms: Option<u64>,
    /// Whether vCPUs are slowed where it does not converge.
    pub(super) auto_converge: bool,
    /// By how much at first, in percent; QEMU's own if absent.
    pub(super) auto_converge_initial: Option<u64>,
    /// By how much more at each step, in percent; QEMU's own if absent.
    pub(super) auto_converge_increment: Option<u64>,
    /// Whether pages that were sent already go as differences.
    pub(super) xbzrle: bool,
    /// How much is kept for these; QEMU's own if absent.
    pub(super) xbzrle_cache_mib: Option<u64>,
    /// Which disks are copied along, of a VM that exists.
    pub(super) copy_storage: CopyStorage,
    /// Whether disks may be moved over of whose caches libvirt is not sure.
    #[serde(rename = "unsafe")]
    pub(super) is_unsafe: bool,
    /// Whether the VM is defined at the destination; as it is at the source, where it is to stay there, if absent.
    pub(super) persistent: Option<bool>,
    /// Whether it is no longer defined at the source afterwards; where it stays at the destination, if absent.
    pub(super) undefine_source: Option<bool>,
    /// What runs the vCPUs of our own guests.
    pub(super) accelerator: Accelerator,
}

/// How one daemon gets at the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Connect {
    /// By `ssh`, as root.
    #[default]
    Ssh,
    /// By TLS.
    Tls,
    /// Without encryption.
    Tcp,
}

impl Connect {
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Ssh => "qemu+ssh",
            Self::Tls => "qemu+tls",
            Self::Tcp => "qemu+tcp",
        }
    }
}

/// Who leads a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// The source's daemon: what becomes of `virsh` does not matter.
    #[default]
    PeerToPeer,
    /// `virsh`: the migration hangs on its life.
    Direct,
}

/// Which disks are copied along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CopyStorage {
    /// None: both hosts have them.
    #[default]
    None,
    /// All of them, whole.
    All,
    /// All of them, over images that both hosts have.
    Inc,
}

impl Default for LibvirtSettings {
    fn default() -> Self {
        Self {
            uri: "qemu:///system".into(),
            connect: Connect::Ssh,
            source_uri: None,
            destination_uri: None,
            mode: Mode::PeerToPeer,
            tunnelled: false,
            listen_address: None,
            bandwidth_mib_s: 0,
            post_copy_bandwidth_mib_s: 0,
            downtime_limit_ms: None,
            auto_converge: false,
            auto_converge_initial: None,
            auto_converge_increment: None,
            xbzrle: false,
            xbzrle_cache_mib: None,
            copy_storage: CopyStorage::None,
            is_unsafe: false,
            persistent: None,
            undefine_source: None,
            accelerator: Accelerator::Auto,
        }
    }
}

impl LibvirtSettings {
    /// Those of a case.
    pub(super) fn of(settings: &Map<String, Value>) -> Result<Self> {
        settings::of("libvirt", settings)
    }
}

/// See [`crate::Driver::resolve`].
pub(super) fn resolve(settings: &Map<String, Value>) -> Result<Map<String, Value>, WrongSetting> {
    let wrong = |path: &str, message: String| WrongSetting { path: path.into(), message };
    let read: LibvirtSettings = settings::read(settings)?;
    for (path, uri) in [("source_uri", &read.source_uri), ("destination_uri", &read.destination_uri)] {
        if uri.as_ref().is_some_and(|uri| !uri.contains("://")) {
            return Err(wrong(
                path,
                "expected a URI of libvirt's as in \"qemu+ssh://root@host/system\"".into(),
            ));
        }
    }
    if !read.uri.contains("://") {
        return Err(wrong("uri", "expected a URI of libvirt's as in \"qemu:///system\"".into()));
    }
    for (path, percent) in [
        ("auto_converge_initial", read.auto_converge_initial),
        ("auto_converge_increment", read.auto_converge_increment),
    ] {
        if percent.is_some_and(|percent| !(1..=99).contains(&percent)) {
            return Err(wrong(path, "expected 1 to 99 percent".into()));
        }
        if percent.is_some() && !read.auto_converge {
            return Err(wrong(path, "means nothing without auto_converge = true".into()));
        }
    }
    if read.xbzrle_cache_mib.is_some() && !read.xbzrle {
        return Err(wrong("xbzrle_cache_mib", "means nothing without xbzrle = true".into()));
    }
    if read.tunnelled && read.mode == Mode::Direct {
        return Err(wrong("tunnelled", "libvirt tunnels only from peer to peer (mode)".into()));
    }
    settings::whole(read)
}

/// See [`crate::Driver::limits`].
pub(super) fn limits(settings: &Map<String, Value>) -> PreCopyLimits {
    let asked = LibvirtSettings::of(settings).unwrap_or_default();
    PreCopyLimits {
        downtime_ms: Some(asked.downtime_limit_ms.map_or(DOWNTIME_LIMIT_MS, |ms| ms as f64)),
        bandwidth_bytes_s: (asked.bandwidth_mib_s > 0).then_some(asked.bandwidth_mib_s as f64 * MIB),
    }
}

/// See [`crate::Driver::copy_facts`].
pub(super) fn copy_facts(settings: &Map<String, Value>) -> CopyFacts {
    let asked = LibvirtSettings::of(settings).unwrap_or_default();
    let cap = |mib_s: u64| if mib_s > 0 { mib_s as f64 } else { f64::INFINITY };
    let percent = |percent: Option<u64>, usual| percent.map_or(usual, |percent| percent as f64);
    CopyFacts {
        bandwidth_mib_s: cap(asked.bandwidth_mib_s),
        post_copy_bandwidth_mib_s: cap(asked.post_copy_bandwidth_mib_s),
        downtime_limit_s: asked.downtime_limit_ms.map_or(DOWNTIME_LIMIT_MS, |ms| ms as f64) / 1e3,
        dirty_limit_mib_s: None,
        throttle: asked.auto_converge.then(|| ThrottleFacts {
            initial: percent(asked.auto_converge_initial, 20.0),
            increment: percent(asked.auto_converge_increment, 10.0),
            max: 99.0,
        }),
        compressed_mib_s: None,
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
        assert_eq!(whole["mode"], "peer-to-peer", "a direct one hangs on the client's life");
        assert!(resolve(&map(json!({ "colour": 1 }))).unwrap_err().message.contains("colour"));
    }

    #[test]
    fn what_cannot_be_meant_is_told_by_its_key() {
        for (wrong, path) in [
            (json!({ "destination_uri": "host-b" }), "destination_uri"),
            (json!({ "uri": "system" }), "uri"),
            (json!({ "auto_converge_initial": 20 }), "auto_converge_initial"),
            (json!({ "auto_converge": true, "auto_converge_increment": 100 }), "auto_converge_increment"),
            (json!({ "xbzrle_cache_mib": 64 }), "xbzrle_cache_mib"),
            (json!({ "tunnelled": true, "mode": "direct" }), "tunnelled"),
        ] {
            assert_eq!(resolve(&map(wrong.clone())).unwrap_err().path, path, "{wrong}");
        }
    }

    #[test]
    fn the_limits_are_the_users_or_qemus_own() {
        assert_eq!(limits(&Map::new()).downtime_ms, Some(300.0));
        let set = limits(&map(json!({ "downtime_limit_ms": 500, "bandwidth_mib_s": 2 })));
        assert_eq!((set.downtime_ms, set.bandwidth_bytes_s), (Some(500.0), Some(2_097_152.0)));
        let facts = copy_facts(&map(json!({ "auto_converge": true, "auto_converge_initial": 30 })));
        assert_eq!(facts.throttle.map(|throttle| (throttle.initial, throttle.increment)), Some((30.0, 10.0)));
        assert_eq!(facts.bandwidth_mib_s, f64::INFINITY);
    }
}
