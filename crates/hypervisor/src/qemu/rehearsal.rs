//! A case tried on a QEMU without a guest: what it refuses there it would refuse in each trial.
//!
//! The machine is the case's, stopped before its first instruction, so that a CPU model or an argument that QEMU does not
//! know shows too.

use std::ffi::OsString;
use std::sync::Arc;

use dunlin_record::{Case, TransportKind};
use dunlin_testbed::Host;
use serde_json::{Value, json};

use super::features::{QemuFeatures, aside};
use super::launch::{DEFAULT_MACHINE, QemuBinary};
use super::primitives::settings_for;
use super::qmp::{Qmp, QmpError};
use super::settings::QemuSettings;
use super::transport::MigrationSettings;
use super::vm::COMMAND_LIMIT;
use crate::accelerator::Accelerator;
use crate::certificates::SERVER_NAME;
use crate::{HypervisorError, Result, Side};

/// One side's QEMU as a case asks for it.
pub(super) struct Rehearsal<'a> {
    pub(super) host: &'a Arc<dyn Host>,
    pub(super) binary: &'a QemuBinary,
    pub(super) features: &'a QemuFeatures,
    pub(super) settings: &'a QemuSettings,
    /// Never `Auto`.
    pub(super) accelerator: Accelerator,
    pub(super) side: Side,
    pub(super) case: &'a Case,
}

/// What parts of the machine are tried.
#[derive(Clone, Copy, PartialEq)]
enum Parts {
    All,
    WithoutArguments,
    WithoutModel,
}

impl Rehearsal<'_> {
    /// All that bears on the answer: two cases of which this is equal need only one rehearsal.
    pub(super) fn subject(&self) -> String {
        let migration = self.migration();
        let Self { host, binary, side, .. } = self;
        format!("{} {binary:?} {side:?} {:?} {migration:?}", host.id(), self.machine(Parts::All))
    }

    /// Sets all that the case asks for.
    ///
    /// # Errors
    /// [`HypervisorError::WrongSetting`] or [`HypervisorError::Unsupported`] where QEMU refuses.
    pub(super) fn play(&self) -> Result<()> {
        let migration = self.migration();
        let refusal = match self.start(Parts::All, |qmp| Ok(configure(qmp, &migration, self.settings))) {
            Ok(refusal) => refusal,
            Err(HypervisorError::Ended { words, .. }) => return self.blame(&words),
            Err(error) => return Err(error),
        };
        refusal.map_or(Ok(()), |(setting, words)| Err(verdict(&setting, &words)))
    }

    fn start<T>(&self, parts: Parts, talk: impl FnOnce(&Qmp) -> Result<T, QmpError>) -> Result<T> {
        aside(self.host, self.binary, self.machine(parts), talk)
    }

    fn migration(&self) -> MigrationSettings {
        let Case { strategy, transport, vm, storage, .. } = self.case;
        let keeps_disks_even = vm.moves_disks() && !storage.two_steps && strategy.standstill().is_none();
        let asked = (strategy, transport, keeps_disks_even);
        let mut migration = settings_for(self.side, asked, self.settings, self.features);
        if transport.kind == TransportKind::Tls {
            // QEMU looks for the credentials only once it connects.
            migration.parameters.insert("tls-creds".into(), "tls0".into());
            if self.side == Side::Source {
                migration.parameters.insert("tls-hostname".into(), SERVER_NAME.into());
            }
        }
        migration
    }

    fn machine(&self, parts: Parts) -> Vec<OsString> {
        let vm = &self.case.vm;
        let machine = if vm.machine.is_empty() { DEFAULT_MACHINE } else { &vm.machine };
        let mut words = vec!["-machine", machine, "-accel", self.accelerator.name()];
        if let Some(cpu) = vm.cpu.as_deref().filter(|_| parts != Parts::WithoutModel) {
            words.extend(["-cpu", cpu]);
        }
        let (vcpus, memory) = (vm.vcpus.to_string(), format!("{}M", vm.memory_mib));
        words.extend(["-smp", &vcpus, "-m", &memory]);
        // What the case's own arguments may refer to.
        words.extend([
            "-netdev",
            "hubport,id=net0,hubid=0",
            "-device",
            "virtio-net-pci,netdev=net0,romfile=",
        ]);
        if self.side == Side::Destination {
            words.extend(["-incoming", "defer"]);
        }
        if parts == Parts::All {
            words.extend(self.settings.extra_args.iter().map(String::as_str));
        }
        words.into_iter().map(OsString::from).collect()
    }

    /// Why the machine does not start, found out by leaving parts of it out.
    fn blame(&self, words: &str) -> Result<()> {
        let vm = &self.case.vm;
        // Without the program's name before them.
        let line = words.lines().next().unwrap_or_default();
        let words = line.split_once(": ").map_or(line, |(_, words)| words);
        let starts = |parts| self.start(parts, |_| Ok(())).is_ok();
        if !self.settings.extra_args.is_empty() && starts(Parts::WithoutArguments) {
            // They may speak of the case's disks, which are only there in a trial.
            let may_be_wrong = vm.disk.is_none() && vm.swap_mib.is_none();
            return if may_be_wrong { Err(verdict("qemu.extra_args", words)) } else { Ok(()) };
        }
        if let (Some(cpu), Ok(models)) = (&vm.cpu, self.start(Parts::WithoutModel, models)) {
            let model = cpu.split(',').next().unwrap_or_default().to_owned();
            // A model in a newer version is a matter of this QEMU's age.
            let base = model.rsplit_once("-v").filter(|(_, version)| version.parse::<u32>().is_ok());
            let is_known = |name: &str| models.iter().any(|model| model == name);
            if base.is_some_and(|(base, _)| is_known(base)) && !is_known(&model) {
                return Err(unsupported("vm.cpu", words));
            }
            return Err(match verdict("vm.cpu", words) {
                HypervisorError::WrongSetting { setting, why, .. } if !is_known(&model) => {
                    HypervisorError::WrongSetting { setting, why, word: Some(model), known: models }
                }
                verdict => verdict,
            });
        }
        let version = vm.machine.rsplit_once('-').filter(|(_, version)| version.parse::<f64>().is_ok());
        if words.contains("unsupported machine type") && version.is_none() {
            return Err(wrong("vm.machine", words));
        }
        Err(unsupported("the machine of this case", words))
    }
}

/// The CPU models that a QEMU knows.
fn models(qmp: &Qmp) -> Result<Vec<String>, QmpError> {
    let answer = qmp.execute("query-cpu-definitions", json!({}), COMMAND_LIMIT)?;
    let models = answer.as_array().into_iter().flatten();
    Ok(models.filter_map(|model| model["name"].as_str().map(str::to_owned)).collect())
}

/// What is refused of a migration's settings, with QEMU's words; nothing where all is taken.
fn configure(qmp: &Qmp, migration: &MigrationSettings, own: &QemuSettings) -> Option<(String, String)> {
    let refused = |command: &str, arguments: Value| match qmp.execute(command, arguments, COMMAND_LIMIT) {
        Err(QmpError::Refused { description, .. }) => Some(description),
        // What else goes wrong shows in the trial with its own words.
        _ => None,
    };
    if let Some(words) = refused("migrate-set-capabilities", migration.capabilities_argument()) {
        return Some(("qemu.capabilities".into(), words));
    }
    let words = refused("migrate-set-parameters", json!(migration.parameters))?;
    // One that is refused by itself is the one that is wrong; else they do not go together.
    let alone = migration.parameters.iter().find_map(|(name, value)| {
        let words = refused("migrate-set-parameters", json!({ (name): value }))?;
        // What the scenario does not name came with the transport.
        let is_own = own.parameters.contains_key(name);
        let setting = format!("qemu.parameters.{name} = {value}");
        Some((if is_own { setting } else { "transport, qemu.capabilities".into() }, words))
    });
    Some(alone.unwrap_or_else(|| ("qemu.parameters".into(), words)))
}

/// A refusal as a mistake, or where QEMU's words say so as something that this machine or version lacks.
fn verdict(setting: &str, words: &str) -> HypervisorError {
    const LACKS: [&str; 8] = [
        "not supported",
        "unsupported by",
        "not available",
        "not yet",
        "host kernel",
        "requires",
        "needs",
        "failed to initialize",
    ];
    if LACKS.iter().any(|lack| words.contains(lack)) {
        return unsupported(setting, words);
    }
    wrong(setting, words)
}

fn wrong(setting: &str, words: &str) -> HypervisorError {
    HypervisorError::WrongSetting {
        setting: setting.to_owned(),
        why: format!("QEMU refuses: {words}"),
        word: None,
        known: Vec::new(),
    }
}

fn unsupported(what: &str, words: &str) -> HypervisorError {
    HypervisorError::Unsupported { what: what.to_owned(), because: format!("QEMU refuses: {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_mistake_unless_its_words_blame_the_machine() {
        let mistakes = [
            "Parameter 'max-bandwidth' expects uint64",
            "Multifd is not compatible with xbzrle",
            "Zero copy only available for non-compressed non-TLS multifd migration",
            "unable to find CPU model 'fooo'",
        ];
        for words in mistakes {
            assert!(!verdict("a", words).is_unsupported(), "{words}");
        }
        for words in [
            "Postcopy is not yet compatible with multifd",
            "Postcopy is not supported: Userfaultfd not available: Function not implemented",
            "Background-snapshot is not supported by host kernel",
            "CPU model 'host' requires KVM or HVF",
        ] {
            assert!(verdict("a", words).is_unsupported(), "{words}");
        }
    }
}
