//! What a QEMU can do, by asking it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::{Strategy, Transport, TransportKind};
use dunlin_testbed::Host;
use serde_json::{Value, json};

use super::history;
use super::launch::{self, QemuBinary};
use super::qmp::{Qmp, QmpError};
use super::settings::QemuSettings;
use super::transport::{self, MigrationSettings};
use super::vm::connect_while_alive;
use super::words::last_of_qemu;
use crate::{HypervisorError, Result};

/// A QEMU that runs no machine answers at once; a loaded host needs longer to start it.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// The capability by which a migration waits before its switch-over.
pub(super) const PAUSE: &str = "pause-before-switchover";

/// What a QEMU says it can do.
#[derive(Debug, Clone, PartialEq)]
pub struct QemuFeatures {
    /// As in `10.0.2`.
    pub version: String,
    /// The packager's addition.
    pub package: String,
    /// Commands it knows.
    pub commands: BTreeSet<String>,
    /// Migration capabilities it knows.
    pub capabilities: BTreeSet<String>,
    /// Migration parameters it knows, with their defaults.
    pub parameters: BTreeMap<String, Value>,
    /// For those parameters that are words: the words it takes.
    pub parameter_words: BTreeMap<String, BTreeSet<String>>,
    /// Whether it can listen and connect by MPTCP.
    pub mptcp: bool,
    /// Whether it can mirror a disk with each write waiting for both.
    pub mirrors_in_step: bool,
    /// Whether it has the filter that lets zeros travel as any other data.
    pub blkdebug: bool,
    /// Trace points of the switch-over it has (>= 8.2).
    pub checkpoints: bool,
}

impl QemuFeatures {
    /// Starts the program without a machine on a host and asks.
    ///
    /// # Errors
    /// Where it cannot be started or does not answer.
    pub fn ask(host: &Arc<dyn Host>, binary: &QemuBinary) -> Result<Self> {
        aside(host, binary, ["-machine", "none"].map(Into::into).into(), ask_all)
    }

    /// Whether it knows a migration capability.
    #[must_use]
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    /// Whether it knows a command.
    #[must_use]
    pub fn knows(&self, command: &str) -> bool {
        self.commands.contains(command)
    }

    /// Refuses what it cannot do, before anything boots.
    ///
    /// # Errors
    /// The first thing that is not supported.
    pub(super) fn check(
        &self,
        settings: &QemuSettings,
        strategy: &Strategy,
        transport: &Transport,
        others: &[&Self],
    ) -> Result<()> {
        let settings = &with_transport(settings, transport);
        self.check_names(settings, others)?;
        if transport.kind == TransportKind::Mptcp && !self.mptcp {
            return Err(HypervisorError::Unsupported {
                what: "a migration by MPTCP".into(),
                because: format!("this build of QEMU {} does not know it", self.version),
            });
        }
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
        let dirty_ring = settings.extra_args.iter().any(|argument| argument.contains("dirty-ring-size"));
        if settings.capabilities.get("dirty-limit") == Some(&true) && !dirty_ring {
            return Err(HypervisorError::Unsupported {
                what: "the migration capability dirty-limit".into(),
                because: "it needs KVM with a dirty ring (extra_args with dirty-ring-size)".into(),
            });
        }
        Ok(())
    }

    /// Refuses names and words that it does not know. One that some QEMU has known, or one of the run's others knows, is only
    /// too old or too new for this one; any other is a mistake.
    fn check_names(&self, settings: &QemuSettings, others: &[&Self]) -> Result<()> {
        let unknown = |kind: &str, name: &str, here: Vec<&str>, ever: &[&str]| {
            let another = others.iter().any(|other| other.has(name) || other.knows_parameter(name));
            if another || ever.contains(&name) {
                return HypervisorError::Unsupported {
                    what: format!("the migration {kind} {name}"),
                    because: format!("QEMU {} does not know it", self.version),
                };
            }
            let plural = if kind == "capability" { "capabilities" } else { "parameters" };
            HypervisorError::WrongSetting {
                setting: format!("qemu.{plural}.{name}"),
                why: format!("no QEMU knows such a migration {kind}"),
                word: Some(name.to_owned()),
                known: here.iter().chain(ever).map(|&name| name.to_owned()).collect(),
            }
        };
        if let Some(name) = settings.capabilities.keys().find(|name| !self.has(name)) {
            let here = self.capabilities.iter().map(String::as_str).collect();
            return Err(unknown("capability", name, here, history::CAPABILITIES));
        }
        if let Some(name) = settings.parameters.keys().find(|name| !self.knows_parameter(name)) {
            let here = self.parameters.keys().map(String::as_str).collect();
            return Err(unknown("parameter", name, here, history::PARAMETERS));
        }
        self.check_words(settings)
    }

    /// Refuses a word that a parameter does not take.
    fn check_words(&self, settings: &QemuSettings) -> Result<()> {
        for (name, value) in &settings.parameters {
            let (Some(words), Some(word)) = (self.parameter_words.get(name), value.as_str()) else {
                continue;
            };
            if !words.contains(word) && !history::WORDS.contains(&word) {
                let known: Vec<String> = words.iter().cloned().collect();
                return Err(HypervisorError::WrongSetting {
                    setting: format!("qemu.parameters.{name}"),
                    why: format!("{word:?} is none of {}", known.join(", ")),
                    word: Some(word.to_owned()),
                    known,
                });
            }
            if !words.contains(word) {
                let known = words.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                return Err(HypervisorError::Unsupported {
                    what: format!("{word} as the migration parameter {name}"),
                    because: format!("this build of QEMU {} takes {known}", self.version),
                });
            }
        }
        Ok(())
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

/// Starts the program with a stopped machine and no guest, and talks to it.
///
/// # Errors
/// Where it cannot be started or does not answer; as [`HypervisorError::Ended`] where it ends by itself, and as
/// [`HypervisorError::Refused`] where it refuses.
pub(super) fn aside<T>(
    host: &Arc<dyn Host>,
    binary: &QemuBinary,
    machine: Vec<OsString>,
    talk: impl FnOnce(&Qmp) -> Result<T, QmpError>,
) -> Result<T> {
    let socket = host.scratch().join(format!("ask-{}.sock", dunlin_clock::now_ns()));
    let stderr = socket.with_extension("stderr");
    let mut args: Vec<OsString> = Vec::new();
    if let Some(firmware) = &binary.firmware {
        args.extend(["-L".into(), firmware.into()]);
    }
    args.extend(["-nodefaults", "-no-user-config", "-display", "none", "-S"].map(Into::into));
    args.extend(["-qmp".into(), format!("unix:{},server=on,wait=off", socket.display()).into()]);
    args.extend(machine);
    let mut process = launch::start(host, binary, args, "/dev/null".into(), stderr.clone())?;
    let asked = (|| {
        let stream = connect_while_alive(host, &socket, &mut process)?;
        let qmp = Qmp::negotiate(stream, Box::new(|_| ()), Box::new(std::io::sink()), ANSWER_LIMIT)
            .map_err(|source| monitor_error(host, source))?;
        talk(&qmp).map_err(|error| match error {
            QmpError::Refused { description, .. } => HypervisorError::Refused {
                host: host.id().clone(),
                command: "what it was asked without a guest".into(),
                description,
            },
            other => monitor_error(host, other),
        })
    })();
    let ended = match &asked {
        Ok(_) | Err(HypervisorError::Refused { .. }) => None,
        // Its end may be seen a moment after its connection's.
        Err(_) => process.wait(Deadline::after(Duration::from_millis(200))).ok().flatten(),
    };
    process.kill();
    let words = last_of_qemu(&**host, &stderr);
    for path in [&socket, &stderr] {
        let _ = host.remove(path);
    }
    match (asked, ended) {
        (Err(_), Some(how)) => Err(HypervisorError::Ended {
            vm: dunlin_record::VmId::new("none"),
            host: host.id().clone(),
            how,
            words,
            by_us: false,
        }),
        (asked, _) => asked,
    }
}

fn ask_all(qmp: &Qmp) -> Result<QemuFeatures, QmpError> {
    let ask = |command: &str| qmp.execute(command, json!({}), ANSWER_LIMIT);
    let version = ask("query-version")?;
    let number = |name: &str| version["qemu"][name].as_u64().unwrap_or_default();
    let capabilities = ask("query-migrate-capabilities")?;
    let parameters = ask("query-migrate-parameters")?;
    let schema = ask("query-qmp-schema")?;
    // Asks for the trace point by name: an empty list or an error means that it is not there.
    let trace = qmp.execute(
        "trace-event-get-state",
        json!({ "name": super::checkpoints::TRACE_POINT }),
        ANSWER_LIMIT,
    );
    Ok(QemuFeatures {
        version: format!("{}.{}.{}", number("major"), number("minor"), number("micro")),
        package: version["package"].as_str().unwrap_or_default().to_owned(),
        commands: commands(&schema),
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
        parameter_words: parameter_words(&schema),
        mptcp: has_member(&schema, "mptcp"),
        mirrors_in_step: has_member(&schema, "copy-mode"),
        blkdebug: has_member(&schema, "opt-write-zero"),
        checkpoints: trace.is_ok_and(|states| {
            states.as_array().is_some_and(|list| list.iter().any(|entry| entry["state"] != "unavailable"))
        }),
    })
}

/// A user's settings over those of a transport.
fn with_transport(settings: &QemuSettings, transport: &Transport) -> QemuSettings {
    let MigrationSettings { mut capabilities, mut parameters } = transport::settings(transport);
    capabilities.extend(settings.capabilities.clone());
    parameters.extend(settings.parameters.clone());
    QemuSettings { capabilities, parameters, ..settings.clone() }
}

/// The commands in QEMU's description of itself.
fn commands(schema: &Value) -> BTreeSet<String> {
    let commands = schema.as_array().into_iter().flatten().filter(|entry| entry["meta-type"] == "command");
    commands.filter_map(|entry| entry["name"].as_str().map(str::to_owned)).collect()
}

/// Whether some type that QEMU takes has a member of this name.
fn has_member(schema: &Value, name: &str) -> bool {
    let types = schema.as_array().into_iter().flatten();
    types.filter_map(|one| one["members"].as_array()).flatten().any(|member| member["name"] == name)
}

/// The words of each parameter that is an enumeration, from QEMU's description of itself (its `docs/devel/qapi-code-gen`,
/// "Client introspection"): types go by numbers there, so the way leads from the command over its argument's members.
fn parameter_words(schema: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let named =
        |name: &Value| schema.as_array().into_iter().flatten().find(move |entry| entry["name"] == *name);
    let members = named(&"migrate-set-parameters".into())
        .and_then(|command| named(&command["arg-type"]))
        .and_then(|arguments| arguments["members"].as_array());
    let words = |member: &Value| {
        let values = named(&member["type"])?["values"].as_array()?;
        let words = values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect();
        Some((member["name"].as_str()?.to_owned(), words))
    };
    members.into_iter().flatten().filter_map(words).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn features() -> QemuFeatures {
        let schema = json!([
            { "name": "migrate-set-parameters", "meta-type": "command", "arg-type": "149" },
            { "name": "149", "meta-type": "object", "members": [
                { "name": "multifd-compression", "type": "437" }, { "name": "multifd-channels", "type": "int" },
            ] },
            { "name": "437", "meta-type": "enum", "values": ["none", "zlib", "zstd"] },
        ]);
        QemuFeatures {
            version: "10.0.2".into(),
            package: String::new(),
            commands: BTreeSet::new(),
            capabilities: ["multifd", "dirty-limit", PAUSE].map(str::to_owned).into(),
            parameters: ["multifd-compression", "multifd-channels"]
                .map(|name| (name.to_owned(), Value::Null))
                .into(),
            parameter_words: parameter_words(&schema),
            mptcp: has_member(&schema, "mptcp"),
            mirrors_in_step: has_member(&schema, "copy-mode"),
            blkdebug: has_member(&schema, "opt-write-zero"),
            checkpoints: true,
        }
    }

    /// Why settings are refused; nothing if they are not.
    fn refused(settings: Value) -> Option<String> {
        let settings = serde_json::from_value(settings).unwrap();
        features()
            .check(&settings, &Strategy::PreCopy, &Transport::default(), &[])
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn what_this_qemu_cannot_do_is_refused_with_the_reason() {
        let because = |settings| refused(settings).unwrap();
        let qpl = because(json!({ "parameters": { "multifd-compression": "qpl" } }));
        assert!(qpl.contains("qpl") && qpl.contains("none, zlib, zstd"), "{qpl}");
        assert!(because(json!({ "capabilities": { "compress": true } })).contains("does not know"));
        assert!(because(json!({ "capabilities": { "dirty-limit": true } })).contains("dirty ring"));
    }

    #[test]
    fn a_name_or_word_that_no_qemu_knows_is_a_mistake_and_one_of_another_version_is_not() {
        let told = |settings: Value| {
            let settings = serde_json::from_value(settings).unwrap();
            features().check(&settings, &Strategy::PreCopy, &Transport::default(), &[]).unwrap_err()
        };
        for (settings, path, meant) in [
            (
                json!({ "capabilities": { "autoconverge": true } }),
                "qemu.capabilities.autoconverge",
                "auto-converge",
            ),
            (json!({ "parameters": { "max-bandwith": 1 } }), "qemu.parameters.max-bandwith", "max-bandwidth"),
            (
                json!({ "parameters": { "multifd-compression": "zsdt" } }),
                "qemu.parameters.multifd-compression",
                "zstd",
            ),
        ] {
            let HypervisorError::WrongSetting { setting, known, .. } = told(settings) else {
                panic!("{path}")
            };
            assert_eq!(setting, path);
            assert!(known.iter().any(|name| name == meant), "{known:?}");
        }
        for settings in [
            json!({ "capabilities": { "compress": true } }),
            json!({ "parameters": { "block-incremental": true } }),
            json!({ "parameters": { "multifd-compression": "uadk" } }),
        ] {
            let error = told(settings);
            assert!(error.is_unsupported(), "{error}");
        }
    }

    #[test]
    fn what_another_qemu_of_the_run_knows_is_no_mistake() {
        let mut newer = features();
        newer.capabilities.insert("of-tomorrow".into());
        let settings = serde_json::from_value(json!({ "capabilities": { "of-tomorrow": true } })).unwrap();
        let told = |others: &[&QemuFeatures]| {
            features().check(&settings, &Strategy::PreCopy, &Transport::default(), others).unwrap_err()
        };
        assert!(!told(&[]).is_unsupported());
        assert!(told(&[&newer]).is_unsupported());
    }

    #[test]
    fn its_commands_are_told_from_its_events() {
        let schema = json!([{ "name": "a", "meta-type": "command" }, { "name": "B", "meta-type": "event" }]);
        assert_eq!(commands(&schema), BTreeSet::from(["a".to_owned()]));
    }

    #[test]
    fn what_it_can_do_is_not() {
        let ring = json!(["-accel", "kvm,dirty-ring-size=4096"]);
        for settings in [
            json!({ "capabilities": { "multifd": true }, "parameters": { "multifd-compression": "zstd", "multifd-channels": 4 } }),
            json!({ "capabilities": { "dirty-limit": true }, "extra_args": ring }),
            json!({ "capabilities": { "dirty-limit": false } }),
        ] {
            assert_eq!(refused(settings.clone()), None, "{settings}");
        }
    }

    #[test]
    fn a_transport_asks_for_what_it_needs() {
        let refused = |transport, strategy: Strategy| {
            let told = features().check(&QemuSettings::default(), &strategy, &transport, &[]).err();
            told.map(|error| error.to_string()).unwrap_or_default()
        };
        let channels = Transport { channels: Some(2), ..Transport::default() };
        assert_eq!(refused(channels, Strategy::PreCopy), "");
        assert!(refused(channels, Strategy::PostCopy { preempt: false }).contains("multifd with post-copy"));
        let mptcp = Transport { kind: TransportKind::Mptcp, ..Transport::default() };
        assert!(refused(mptcp, Strategy::PreCopy).contains("by MPTCP"));
    }
}
