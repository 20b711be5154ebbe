//! What a QEMU can do, by asking it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dunlin_record::{HypervisorSettings, Strategy};
use dunlin_testbed::Host;
use serde_json::{Value, json};

use super::launch::{self, QemuBinary};
use super::qmp::{Qmp, QmpError};
use crate::{HypervisorError, Result};

/// A QEMU that runs no machine answers at once; a loaded host needs longer to start it.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// What a QEMU says it can do.
#[derive(Debug, Clone, PartialEq)]
pub struct QemuFeatures {
    /// As in `10.0.2`.
    pub version: String,
    /// The packager's addition.
    pub package: String,
    /// Migration capabilities it knows.
    pub capabilities: BTreeSet<String>,
    /// Migration parameters it knows, with their defaults.
    pub parameters: BTreeMap<String, Value>,
    /// Trace points of the switch-over it has (>= 8.2).
    pub checkpoints: bool,
}

impl QemuFeatures {
    /// Starts the program without a machine on a host and asks.
    ///
    /// # Errors
    /// Where it cannot be started or does not answer.
    pub fn ask(host: &Arc<dyn Host>, binary: &QemuBinary) -> Result<Self> {
        let socket = host.scratch().join(format!("ask-{}.sock", dunlin_clock::now_ns()));
        let stderr = socket.with_extension("stderr");
        let mut args: Vec<std::ffi::OsString> = Vec::new();
        if let Some(firmware) = &binary.firmware {
            args.extend(["-L".into(), firmware.into()]);
        }
        args.extend(["-machine", "none", "-nodefaults", "-display", "none", "-S", "-qmp"].map(Into::into));
        args.push(format!("unix:{},server=on,wait=off", socket.display()).into());
        let mut process = launch::start(host, binary, args, "/dev/null".into(), stderr.clone())?;
        let asked = (|| {
            let stream = host.connect(&socket, ANSWER_LIMIT)?;
            let qmp = Qmp::negotiate(stream, Box::new(|_| ()), Box::new(std::io::sink()), ANSWER_LIMIT)
                .map_err(|source| monitor_error(host, source))?;
            ask_all(&qmp).map_err(|source| monitor_error(host, source))
        })();
        let ended = process.try_wait().ok().flatten();
        process.kill();
        let words = std::fs::read_to_string(&stderr).unwrap_or_default();
        for path in [&socket, &stderr] {
            let _ = std::fs::remove_file(path);
        }
        match (asked, ended) {
            (Err(_), Some(how)) => Err(HypervisorError::Ended {
                vm: dunlin_record::VmId::new("none"),
                host: host.id().clone(),
                how,
                words: words.trim().to_owned(),
            }),
            (asked, _) => asked,
        }
    }

    /// Whether it knows a migration capability.
    #[must_use]
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    /// Refuses what it cannot do, before anything boots.
    ///
    /// # Errors
    /// The first thing that is not supported.
    pub fn check(&self, settings: &HypervisorSettings, strategy: &Strategy) -> Result<()> {
        let multifd = settings.capabilities.get("multifd") == Some(&true);
        if multifd && strategy.post_copy().is_some() && !self.is_at_least(10, 1) {
            return Err(HypervisorError::Unsupported {
                what: "multifd with post-copy".into(),
                because: format!("QEMU {} refuses the two together", self.version),
            });
        }
        if settings.capabilities.get("return-path") == Some(&false) {
            return Err(HypervisorError::Unsupported {
                what: "a migration without return-path".into(),
                because: "its source can complete while its destination is dead".into(),
            });
        }
        let unknown = |kind: &str, name: &str| HypervisorError::Unsupported {
            what: format!("the migration {kind} {name}"),
            because: format!("QEMU {} does not know it", self.version),
        };
        if let Some(name) = settings.capabilities.keys().find(|name| !self.has(name)) {
            return Err(unknown("capability", name));
        }
        match settings.parameters.keys().find(|name| !self.knows_parameter(name)) {
            Some(name) => Err(unknown("parameter", name)),
            None => Ok(()),
        }
    }

    fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut numbers = self.version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
    }

    /// QEMU lists a parameter without a default (as `block-bitmap-mapping`) only once it is set.
    fn knows_parameter(&self, name: &str) -> bool {
        self.parameters.contains_key(name) || matches!(name, "block-bitmap-mapping" | "cpr-exec-command")
    }
}

fn ask_all(qmp: &Qmp) -> Result<QemuFeatures, QmpError> {
    let ask = |command: &str| qmp.execute(command, json!({}), ANSWER_LIMIT);
    let version = ask("query-version")?;
    let number = |name: &str| version["qemu"][name].as_u64().unwrap_or_default();
    let capabilities = ask("query-migrate-capabilities")?;
    let parameters = ask("query-migrate-parameters")?;
    // Asks for the trace point by name: an empty list or an error means that it is not there.
    let trace = qmp.execute(
        "trace-event-get-state",
        json!({ "name": super::checkpoints::TRACE_POINT }),
        ANSWER_LIMIT,
    );
    Ok(QemuFeatures {
        version: format!("{}.{}.{}", number("major"), number("minor"), number("micro")),
        package: version["package"].as_str().unwrap_or_default().to_owned(),
        capabilities: capabilities
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["capability"].as_str().map(str::to_owned))
            .collect(),
        parameters: parameters
            .as_object()
            .map(|map| map.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
            .unwrap_or_default(),
        checkpoints: trace.is_ok_and(|states| {
            states.as_array().is_some_and(|list| list.iter().any(|entry| entry["state"] != "unavailable"))
        }),
    })
}

fn monitor_error(host: &Arc<dyn Host>, source: QmpError) -> HypervisorError {
    HypervisorError::Monitor {
        vm: dunlin_record::VmId::new("none"),
        host: host.id().clone(),
        doing: "asking what it can do".into(),
        source: std::io::Error::other(source),
    }
}

/// Opens a file that everything of one VM on one host is appended to.
pub(super) fn append(path: &Path) -> Result<File> {
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|source| HypervisorError::Io { doing: format!("open {}", path.display()), source })
}
