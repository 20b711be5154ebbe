//! What a QEMU can do of what a case asks for its disks that move, by what it says of itself.

use dunlin_record::{Blocks, StorageSettings, Writes};

use super::features::{PAUSE, QemuFeatures};
use super::settings::QemuSettings;
use crate::{HypervisorError, Result};

/// The commands that move a VM's disks …
const MIRRORING: [&str; 5] =
    ["blockdev-add", "blockdev-mirror", "block-job-cancel", "query-block-jobs", "query-named-block-nodes"];
/// … kept even until its memory has moved …
const EXPORTING: [&str; 3] = ["nbd-server-start", "block-export-add", "yank"];
/// … or before that.
const CHANGING: [&str; 2] = ["block-job-complete", "job-dismiss"];

impl QemuFeatures {
    /// Refuses to move a VM's disks where it cannot, before anything boots.
    ///
    /// # Errors
    /// What is not supported.
    pub(super) fn check_moving_disks(
        &self,
        settings: &QemuSettings,
        storage: &StorageSettings,
    ) -> Result<()> {
        let refused = |because| unsupported("moving a VM's disks with it", because);
        let known = |commands: &[&str]| match commands.iter().find(|command| !self.knows(command)) {
            Some(command) => refused(format!("QEMU {} does not know {command}", self.version)),
            None => Ok(()),
        };
        known(&MIRRORING)?;
        if storage.two_steps {
            known(&CHANGING)?;
        } else {
            known(&EXPORTING)?;
            if settings.capabilities.get(PAUSE) == Some(&false) {
                return refused(format!("without {PAUSE} the VM could run there before its disks are"));
            }
            if !self.has(PAUSE) {
                return refused(format!("QEMU {} does not know {PAUSE}", self.version));
            }
        }
        self.check_copies(storage)
    }

    fn check_copies(&self, storage: &StorageSettings) -> Result<()> {
        if storage.writes == Writes::InStep && !self.mirrors_in_step {
            return unsupported(
                "storage.writes = \"in-step\"",
                format!("QEMU {} mirrors in the background only", self.version),
            );
        }
        if storage.blocks == Blocks::All && !self.blkdebug {
            return unsupported(
                "storage.blocks = \"all\"",
                format!("this build of QEMU {} lacks blkdebug, by which zeros travel as data", self.version),
            );
        }
        if storage.two_steps && storage.blocks == Blocks::All {
            let because = "the VM would go on behind the filter by which zeros travel as data".into();
            return unsupported("storage.blocks = \"all\" in two steps", because);
        }
        if storage.two_steps && storage.compare {
            let because = "the VM runs on with the new disks: its images do not stand still".into();
            return unsupported("storage.compare in two steps", because);
        }
        Ok(())
    }
}

fn unsupported(what: &str, because: String) -> Result<()> {
    Err(HypervisorError::Unsupported { what: what.into(), because })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn features() -> QemuFeatures {
        let commands = MIRRORING.iter().chain(&EXPORTING).chain(&CHANGING);
        QemuFeatures {
            version: "10.0.2".into(),
            package: String::new(),
            commands: commands.map(|name| (*name).to_owned()).collect(),
            capabilities: [PAUSE.to_owned()].into(),
            parameters: std::collections::BTreeMap::new(),
            parameter_words: std::collections::BTreeMap::new(),
            mptcp: false,
            mirrors_in_step: true,
            blkdebug: true,
            checkpoints: false,
        }
    }

    fn refused(features: &QemuFeatures, settings: Value, storage: Value) -> String {
        let settings = serde_json::from_value(settings).unwrap();
        let storage = serde_json::from_value(storage).unwrap();
        let error = features.check_moving_disks(&settings, &storage).err();
        assert!(error.as_ref().is_none_or(HypervisorError::is_unsupported));
        error.map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn disks_move_with_the_memory_only_where_the_switch_over_waits_for_them() {
        let without_pause = json!({ "capabilities": { (PAUSE): false } });
        let mut features = features();
        assert_eq!(refused(&features, json!({}), json!({})), "");
        let told = refused(&features, without_pause.clone(), json!({}));
        assert!(told.contains("without pause-before-switchover"), "{told}");
        assert_eq!(
            refused(&features, without_pause, json!({ "two_steps": true })),
            "",
            "they are there before"
        );
        features.commands.remove("block-export-add");
        assert!(refused(&features, json!({}), json!({})).contains("10.0.2 does not know block-export-add"));
        assert_eq!(refused(&features, json!({}), json!({ "two_steps": true })), "");
        features.commands.remove("block-job-complete");
        assert!(refused(&features, json!({}), json!({ "two_steps": true })).contains("block-job-complete"));
    }

    #[test]
    fn what_cannot_be_had_of_copies_is_refused_and_nothing_else() {
        let (can, mut cannot) = (features(), features());
        (cannot.mirrors_in_step, cannot.blkdebug) = (false, false);
        for (storage, word) in
            [(json!({ "writes": "in-step" }), "in-step"), (json!({ "blocks": "all" }), "blkdebug")]
        {
            assert_eq!(refused(&can, json!({}), storage.clone()), "");
            assert!(refused(&cannot, json!({}), storage).contains(word));
        }
        for storage in [
            json!({ "blocks": "overlay", "writes": "background", "rate_mib_s": 5.0, "pause_after_s": 9.0, "two_steps": true }),
            json!({ "writes": "in-step", "compare": true }),
        ] {
            assert_eq!(refused(&can, json!({}), storage), "");
        }
        assert!(refused(&can, json!({}), json!({ "two_steps": true, "blocks": "all" })).contains("filter"));
        assert!(
            refused(&can, json!({}), json!({ "two_steps": true, "compare": true })).contains("stand still")
        );
    }
}
