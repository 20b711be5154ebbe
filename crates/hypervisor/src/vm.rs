//! A VM on a host, whoever runs it.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use dunlin_record::{HostId, HypervisorIdentity, Seen, VmId};
use dunlin_testbed::MacAddress;

use crate::{HypervisorError, Result};

/// A VM (or the place prepared for one) on a host. Changes of its state reach the trial's journal by themselves, with the
/// hypervisor's own time stamps where it has some.
///
/// Dropping the last handle of a VM that was found leaves it alone. One that we made goes with its last handle at the
/// latest, so that nothing is left behind; [`Vm::end`] ends it in peace.
pub trait Vm: Send + Sync {
    /// Which VM.
    fn id(&self) -> &VmId;

    /// On which host.
    fn host(&self) -> &HostId;

    /// What its hypervisor says it is.
    fn identity(&self) -> &HypervisorIdentity;

    /// What the VM is doing here.
    ///
    /// # Errors
    /// Where the hypervisor does not answer within some seconds.
    fn run_state(&self) -> Result<RunState>;

    /// Stops the vCPUs.
    ///
    /// # Errors
    /// Where the hypervisor refuses.
    fn stop(&self) -> Result<()>;

    /// Lets the vCPUs run.
    ///
    /// # Errors
    /// Where the hypervisor refuses.
    fn resume(&self) -> Result<()>;

    /// Fails if the hypervisor's process, or the VM here, has ended.
    ///
    /// # Errors
    /// [`HypervisorError::Ended`] where it has.
    fn check_alive(&self) -> Result<()>;

    /// Fails if the guest has reset itself, or its host failed one of its disks, as far as the hypervisor tells. The VM is
    /// there all the same, and a migration of it goes on.
    ///
    /// # Errors
    /// Where it has.
    fn check_guest(&self) -> Result<()> {
        Ok(())
    }

    /// The id of the process that is the VM, on its host; absent where there is none to be known.
    fn pid(&self) -> Option<u32> {
        None
    }

    /// The ids, on its host, of the threads that run its vCPUs; absent where they cannot be known.
    ///
    /// # Errors
    /// Where the hypervisor has them but does not tell.
    fn vcpu_threads(&self) -> Result<Option<Vec<u32>>> {
        Ok(None)
    }

    /// The device on its host through which the VM's frames pass; absent where there is none to be seen.
    fn tap(&self) -> Option<&str> {
        None
    }

    /// Its addresses as far as the product knows them, the most certain first; empty where it knows none.
    ///
    /// # Errors
    /// Where the hypervisor does not answer.
    fn addresses(&self) -> Result<Vec<KnownAddress>> {
        Ok(Vec::new())
    }

    /// What the product knows of what the guest holds, without an agent of ours.
    ///
    /// # Errors
    /// Where the hypervisor does not answer.
    fn held(&self) -> Result<ToldHeld> {
        Ok(ToldHeld::default())
    }

    /// The last lines of the guest's console; absent where it is not kept.
    fn console_tail(&self) -> Option<String> {
        None
    }

    /// Opens a stream to the agent in the guest; absent where the VM has none.
    ///
    /// # Errors
    /// Where the hypervisor's end of it cannot be reached.
    fn agent_stream(&self) -> Result<Option<UnixStream>> {
        Ok(None)
    }

    /// Resident bytes of the guest RAM's mapping on the host; absent where they cannot be told.
    fn allocated_bytes(&self) -> Option<i64> {
        None
    }

    /// Waits until the VM is gone from here because its guest shut itself down, which it has been asked for. It may be gone
    /// already. From then on its end counts as expected.
    ///
    /// # Errors
    /// [`HypervisorError::Timeout`] where it is still there at the limit, [`HypervisorError::Ended`] where it ended otherwise;
    /// then its end, whenever it comes, counts as before.
    fn await_shut_down(&self, limit: Duration) -> Result<()> {
        let _ = limit;
        Err(HypervisorError::Unsupported {
            what: format!("waiting until {} has shut itself down", self.id()),
            because: "this driver does not tell that from a crash".into(),
        })
    }

    /// Ends the VM here and waits until it is gone. The guest is not asked.
    ///
    /// # Errors
    /// Where it is not gone within the limit.
    fn end(&self, limit: Duration) -> Result<()>;
}

/// An address of a VM, as its product knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// The hardware address of the network card that has it.
    pub mac: Option<MacAddress>,
    /// Who told, as in "a lease", "the guest's own agent", "the host's ARP table".
    pub told_by: &'static str,
}

/// What a product knows of what a guest holds; absent = it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ToldHeld {
    /// Configured memory.
    pub configured_bytes: Option<i64>,
    /// Memory that the guest uses, its caches included, as its balloon driver or an agent tells.
    pub used_bytes: Option<i64>,
    /// What its file systems hold, all together.
    pub disk_used_bytes: Option<i64>,
}

/// What a VM is doing on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunState {
    /// What that means.
    pub condition: Condition,
    /// The hypervisor's own word.
    pub word: String,
}

impl RunState {
    /// Whether its vCPUs run here.
    #[must_use]
    pub fn running(&self) -> bool {
        self.condition == Condition::Running
    }
}

/// What a VM is doing, whatever the product calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Its vCPUs run.
    Running,
    /// It is all there, and stopped: by somebody, or to be handed over.
    Stopped,
    /// This is a place prepared for it: it has not arrived.
    Incoming,
    /// It has shut down, or crashed for good.
    Ended,
}

/// What one end of a migration says when it is asked, in the hypervisor's words too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// What that means.
    pub seen: Seen,
    /// The hypervisor's word, or why there is none.
    pub word: String,
}

impl Presence {
    /// Asks a VM on its host. No answer is an answer too.
    pub fn of(vm: &dyn Vm) -> Self {
        match vm.run_state() {
            Ok(RunState { condition, word }) => Self { seen: condition.seen(), word },
            Err(error) => match vm.check_alive() {
                Err(ended @ HypervisorError::Ended { .. }) => {
                    Self { seen: Seen::Gone, word: ended.to_string() }
                }
                _ => Self { seen: Seen::Silent, word: dunlin_record::in_one_line(&error) },
            },
        }
    }
}

impl Condition {
    fn seen(self) -> Seen {
        match self {
            Self::Running => Seen::Runs,
            Self::Stopped => Seen::Holds,
            Self::Incoming => Seen::Waits,
            Self::Ended => Seen::Gone,
        }
    }
}
