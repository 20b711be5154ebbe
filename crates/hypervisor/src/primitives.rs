//! What a stepwise driver offers at each end of a migration: primitives, of which [`crate::Stepwise`] makes a mover.

use std::time::Duration;

use dunlin_record::{HypervisorReport, MechanismSeen, StorageSettings};

use crate::{DiskCompared, MirrorProgress, Progress, Result, Vm, VmDisk};

/// What of a migration can be set otherwise while it is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tuning {
    /// How long the VM may stand still for its switch-over.
    DowntimeLimit(Duration),
    /// How fast memory may travel, in bytes a second; absent: as fast as can be.
    Bandwidth(Option<u64>),
}

/// How a VM's disks are to be copied, and where to.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyOrder {
    /// Where to: where the destination exports its own; of disks that both hosts see, what people call their places.
    pub address: String,
    /// In two steps: the disks that the source is to copy to and the VM to go on with there. Absent where the destination exports
    /// its own.
    pub disks: Option<Vec<VmDisk>>,
    /// How.
    pub how: StorageSettings,
}

/// An end of a stepwise migration. Each call is one command to the hypervisor, and returns within some seconds.
pub trait Primitives: Vm {
    /// Begins to migrate this VM to an address at which a destination listens. Returns at once.
    ///
    /// # Errors
    /// Where the hypervisor refuses to begin.
    fn start(&self, address: &str) -> Result<()>;

    /// Asks a running migration to switch to post-copy.
    ///
    /// # Errors
    /// Where it refuses.
    fn switch_to_post_copy(&self) -> Result<()>;

    /// Lets a migration go on that waits before its switch-over because it was told to.
    ///
    /// # Errors
    /// Where it refuses.
    fn continue_switchover(&self) -> Result<()>;

    /// At a source: sets something of a running migration otherwise, from now on. Where none runs it is up to the hypervisor
    /// whether it takes it, for one that begins later.
    ///
    /// # Errors
    /// Where it refuses.
    fn tune(&self, tuning: Tuning) -> Result<()>;

    /// Asks a running migration to end, the VM staying at the source.
    ///
    /// # Errors
    /// Where it refuses.
    fn cancel(&self) -> Result<()>;

    /// Breaks a migration's connections by force: for a cancel that does not take effect.
    ///
    /// # Errors
    /// Where it refuses or cannot.
    fn break_connections(&self) -> Result<()>;

    /// At a destination: from now on it does not run the VM by itself when that has arrived, and stops it if it does.
    ///
    /// # Errors
    /// Where it does not acknowledge that.
    fn hold_incoming(&self) -> Result<()>;

    /// At a source: stops the VM so that it arrives stopped.
    ///
    /// # Errors
    /// Where its switch-over has begun already, or the hypervisor refuses.
    fn stop_for_move(&self) -> Result<()>;

    /// How far the migration is, by the hypervisor's own counters.
    ///
    /// # Errors
    /// Where it does not answer.
    fn progress(&self) -> Result<Progress>;

    /// The hypervisor's own account of the migration that ended, when it is final: what it fills in only later is waited for
    /// a moment, and absent where it does not come.
    ///
    /// # Errors
    /// Where it does not answer.
    fn report(&self) -> Result<HypervisorReport>;

    /// At a source: what was seen of each mechanism that was asked for ([`Mechanism`](dunlin_record::Mechanism)), but for
    /// what the record shows whatever the driver: post-copy, and a second link.
    ///
    /// # Errors
    /// Where it does not answer.
    fn mechanisms(&self) -> Result<Vec<MechanismSeen>> {
        Ok(Vec::new())
    }

    /// At a destination: takes back what lets the source write this VM's disks.
    ///
    /// # Errors
    /// Where it refuses.
    fn withdraw_disks(&self) -> Result<()>;

    /// Begins to copy this VM's disks to another host's, and with them what the VM writes meanwhile. Returns when the other
    /// side is connected.
    ///
    /// # Errors
    /// Where the other side cannot be reached, holds less than the disks, or the hypervisor refuses.
    fn start_mirrors(&self, order: &CopyOrder) -> Result<()>;

    /// How far the copies are.
    ///
    /// # Errors
    /// Where one has failed, or the hypervisor does not answer.
    fn mirrors(&self) -> Result<MirrorProgress>;

    /// From now on a write of the VM is done only when it is on both hosts. Says whether this hypervisor can.
    ///
    /// # Errors
    /// Where it refuses.
    fn mirror_in_step(&self) -> Result<bool>;

    /// Asks copies that are even to copy the last and end.
    ///
    /// # Errors
    /// Where it refuses.
    fn finish_mirrors(&self) -> Result<()>;

    /// Compares both hosts' disks, as [`crate::DiskCopies::compare`].
    ///
    /// # Errors
    /// Where they cannot be compared, or not in time.
    fn compare_mirrored(&self) -> Result<Option<Vec<DiskCompared>>>;

    /// Asks copies that are even to copy the last and end, the VM going on here with the new disks.
    ///
    /// # Errors
    /// Where it refuses.
    fn change_to_mirrors(&self) -> Result<()>;

    /// Which disks the VM has changed for the new ones.
    ///
    /// # Errors
    /// Where it does not answer.
    fn changed_to_mirrors(&self) -> Result<Vec<String>>;

    /// Lets go of the old disks when the VM has changed for all the new ones.
    ///
    /// # Errors
    /// Where it refuses.
    fn release_originals(&self) -> Result<()>;

    /// Lets go of the other host's disks when all copies have ended well.
    ///
    /// # Errors
    /// Where it refuses.
    fn release_mirrors(&self) -> Result<()>;

    /// Ends all copies by force, wherever they are, and their comparison; lets go of those disks that the VM does not have.
    ///
    /// # Errors
    /// Where they have not ended within the limit.
    fn abandon_mirrors(&self, limit: Duration) -> Result<()>;
}
