//! What every hypervisor's driver offers: primitives, and what it can do.

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_record::{HostId, HypervisorIdentity, HypervisorReport, Transport, VmId};

use crate::{Certificates, Result};

/// A VM (or the place prepared for one) on a host, as its hypervisor lets us drive it.
///
/// Changes of state reach the trial's journal by themselves, each with the hypervisor's own time stamp.
pub trait Vm: Send {
    /// Which VM.
    fn id(&self) -> &VmId;

    /// On which host.
    fn host(&self) -> &HostId;

    /// What its hypervisor says it is.
    fn identity(&self) -> &HypervisorIdentity;

    /// Prepares this side for the next migration: what the sequence needs, then the user's own settings.
    ///
    /// # Errors
    /// Where the hypervisor cannot do what is needed, or refuses a setting.
    fn prepare(&mut self, needs: &MigrationNeeds) -> Result<()>;

    /// Prepares this side to receive; says the address a source must be told.
    ///
    /// # Errors
    /// Where it cannot listen.
    fn listen(&mut self) -> Result<String>;

    /// Begins to migrate this VM to an address that [`Vm::listen`] gave. Returns at once.
    ///
    /// # Errors
    /// Where the hypervisor refuses to begin.
    fn start(&mut self, address: &str) -> Result<()>;

    /// Asks a running migration to switch to post-copy.
    ///
    /// # Errors
    /// Where it refuses.
    fn switch_to_post_copy(&mut self) -> Result<()>;

    /// Lets a migration go on that waits before its switch-over because it was told to.
    ///
    /// # Errors
    /// Where it refuses.
    fn continue_switchover(&mut self) -> Result<()>;

    /// Asks a running migration to end, the VM staying at the source.
    ///
    /// # Errors
    /// Where it refuses.
    fn cancel(&mut self) -> Result<()>;

    /// Breaks a migration's connections by force: for a cancel that does not take effect.
    ///
    /// # Errors
    /// Where it refuses or cannot.
    fn break_connections(&mut self) -> Result<()>;

    /// Lets another host's hypervisor write this VM's disks, over the migration network; says the address it must be told.
    /// For a destination that has disks of its own.
    ///
    /// # Errors
    /// Where it cannot.
    fn export_disks(&mut self) -> Result<String>;

    /// Takes that back: from now on nobody writes to its disks but the VM.
    ///
    /// # Errors
    /// Where it refuses.
    fn withdraw_disks(&mut self) -> Result<()>;

    /// Begins to copy this VM's disks to those behind an address that [`Vm::export_disks`] gave, and with them what the
    /// VM writes meanwhile. Returns when the other side is connected.
    ///
    /// # Errors
    /// Where the other side cannot be reached, or the hypervisor refuses.
    fn start_mirrors(&mut self, address: &str) -> Result<()>;

    /// How far the copies are.
    ///
    /// # Errors
    /// Where one has failed, or the hypervisor does not answer.
    fn mirrors(&mut self) -> Result<MirrorProgress>;

    /// From now on a write of the VM is done only when it is on both hosts, so that no more is left to be copied however
    /// much it writes. Says whether this hypervisor can.
    ///
    /// # Errors
    /// Where it refuses.
    fn mirror_in_step(&mut self) -> Result<bool>;

    /// Asks copies that are [`MirrorStage::Even`] to copy the last and end.
    ///
    /// # Errors
    /// Where it refuses.
    fn finish_mirrors(&mut self) -> Result<()>;

    /// Lets go of the other host's disks when all copies have ended well.
    ///
    /// # Errors
    /// Where it refuses.
    fn release_mirrors(&mut self) -> Result<()>;

    /// Ends all copies by force, wherever they are, and lets go of the other host's disks, which are then worth nothing.
    /// The VM goes on with its own. Well where there are none.
    ///
    /// # Errors
    /// Where they have not ended within the limit.
    fn abandon_mirrors(&mut self, limit: Duration) -> Result<()>;

    /// Stops the vCPUs.
    ///
    /// # Errors
    /// Where it refuses.
    fn stop(&mut self) -> Result<()>;

    /// Lets the vCPUs run.
    ///
    /// # Errors
    /// Where it refuses.
    fn resume(&mut self) -> Result<()>;

    /// How far the migration is, by the hypervisor's own counters.
    ///
    /// # Errors
    /// Where it does not answer.
    fn progress(&mut self) -> Result<Progress>;

    /// What the VM is doing here.
    ///
    /// # Errors
    /// Where it does not answer.
    fn run_state(&mut self) -> Result<RunState>;

    /// The hypervisor's own account of the migration that ended.
    ///
    /// # Errors
    /// Where it does not answer.
    fn report(&mut self) -> Result<HypervisorReport>;

    /// Fails if the hypervisor's process has ended, or its guest has reset itself.
    ///
    /// # Errors
    /// Where it has.
    fn check_alive(&mut self) -> Result<()>;

    /// Resident bytes of the guest RAM's mapping on the host; absent if they cannot be told.
    fn allocated_bytes(&self) -> Option<i64>;

    /// Ends the hypervisor's process and waits for its end.
    ///
    /// # Errors
    /// Where it will not end.
    fn quit(&mut self, limit: Duration) -> Result<()>;
}

/// What a migration's sequence needs of both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct MigrationNeeds {
    /// Which side it is.
    pub role: Role,
    /// Whether it may switch to post-copy; if so, whether with requested pages on a channel of their own where the
    /// hypervisor can.
    pub post_copy: Option<bool>,
    /// How the bytes travel.
    pub transport: Transport,
    /// Whether the VM's disks move with it: then its switch-over must wait for them.
    pub moves_disks: bool,
    /// By what the ends know each other, where the transport is TLS.
    pub certificates: Option<Certificates>,
    /// The user's own settings; they win.
    pub own: MigrationSettings,
}

/// A side of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Where the VM runs.
    Source,
    /// Where it shall run.
    Destination,
}

/// Capabilities and parameters of a migration, by the hypervisor's own names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MigrationSettings {
    /// On or off.
    pub capabilities: BTreeMap<String, bool>,
    /// Values.
    pub parameters: BTreeMap<String, serde_json::Value>,
}

/// How far a migration is, by the hypervisor's own counters; absent = it did not say.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Progress {
    /// Sent so far.
    pub transferred_bytes: Option<i64>,
    /// Left to send.
    pub remaining_bytes: Option<i64>,
    /// The VM's memory.
    pub total_bytes: Option<i64>,
    /// Pages sent whole.
    pub normal_pages: Option<i64>,
    /// Pages sent as "all zero".
    pub zero_pages: Option<i64>,
    /// Estimated rate of dirtying.
    pub dirty_rate_pages_s: Option<i64>,
    /// Which pass over the memory.
    pub pass: Option<i64>,
    /// By how much vCPUs are slowed.
    pub throttle_percent: Option<i64>,
    /// Pages the destination asked for.
    pub postcopy_requests: Option<i64>,
}

/// How far the copies of a VM's disks are, all together, by the hypervisor's own counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorProgress {
    /// Where the one that is least far is.
    pub stage: MirrorStage,
    /// Copied so far, holes included.
    pub copied_bytes: i64,
    /// To be copied in all, as far as is known.
    pub total_bytes: i64,
}

/// Where the copy of a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MirrorStage {
    /// Some of it was never copied yet.
    Copying,
    /// All of it has been; each write of the VM is copied as well.
    Even,
    /// It has ended, and well: the disks are equal.
    Ended,
}

/// What a VM is doing on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunState {
    /// Whether its vCPUs run here.
    pub running: bool,
    /// The hypervisor's own word.
    pub word: String,
}
