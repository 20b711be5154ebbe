//! A VM that does not run where it is to be moved from: whether it runs at the other host. Who were told to start it while it
//! does would have two copies that write to the same disks.

use std::fmt;

use dunlin_hypervisor::{Condition, Hypervisor, HypervisorError};
use dunlin_record::in_one_line;

/// What the host that a VM was to be moved to says of it, where it does not run at the one that it was to be moved from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elsewhere {
    /// It is there: it runs, is paused, or is on its way there.
    There {
        /// The host.
        host: String,
        /// How it is, in the product's word.
        word: String,
    },
    /// It is not there either.
    Neither {
        /// The host.
        host: String,
        /// What is said of it there.
        said: String,
    },
    /// That host did not tell.
    Silent {
        /// The host.
        host: String,
        /// Why not.
        why: String,
    },
}

impl Elsewhere {
    /// Asks a host for a VM. Nothing is changed of it.
    pub(crate) fn ask(name: &str, at: &dyn Hypervisor) -> Self {
        let host = at.host().id().to_string();
        let (events, _) = std::sync::mpsc::channel();
        match at.find(name, events).and_then(|vm| vm.run_state()) {
            Ok(state) => match state.condition {
                Condition::Running | Condition::Stopped | Condition::Incoming => {
                    Self::There { host, word: state.word }
                }
                Condition::Ended => Self::Neither { host, said: format!("it is {}", state.word) },
            },
            // Only a clear no is one.
            Err(error @ HypervisorError::Refused { .. }) => Self::Neither { host, said: in_one_line(&error) },
            Err(error) => Self::Silent { host, why: in_one_line(&error) },
        }
    }

    /// What may be done about a VM that does not run on `home`, and what must not.
    #[must_use]
    pub fn mend(&self, vm: &str, home: &str) -> String {
        match self {
            Self::There { host, .. } => format!(
                "do NOT start {vm} on {home}: {host} has it, and two copies would write to the same disks. It can be moved back \
                 by hand (docs/libvirt.md, \"Bringing a VM back\"), or by an inventory whose hosts are in the other order, with \
                 --stay"
            ),
            Self::Neither { .. } => format!(
                "start {vm} on {home} once you have made sure that it runs nowhere else, or name a VM that runs there"
            ),
            Self::Silent { host, .. } => format!(
                "do not start {vm} before you know that it does not run on {host}: see that the hypervisor there answers, and \
                 ask again"
            ),
        }
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::There { host, word } => write!(f, "{host} has it, where it is {word}"),
            Self::Neither { host, said } => write!(f, "nor does it run on {host}: {said}"),
            Self::Silent { host, why } => write!(f, "whether it runs on {host} is not known: {why}"),
        }
    }
}
