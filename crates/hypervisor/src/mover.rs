//! One migration under way, whoever does it.

use std::time::Duration;

use dunlin_record::{HostId, HypervisorReport, MechanismSeen, MigrationState, StorageSettings, VmId};

use crate::{Presence, Result, Vm};

/// A side of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where the VM runs.
    Source,
    /// Where it shall run.
    Destination,
}

/// One migration of one VM, prepared and about to be begun, or under way.
///
/// Its changes of state reach the trial's journal by themselves. It decides nothing: `migrate` does. There are two kinds. A
/// *stepwise* one is made of primitives at both ends ([`crate::Stepwise`]); a *managed* one follows the product's own job,
/// which sees to it by itself that one copy runs.
///
/// Every call returns within some seconds, whatever has happened to either end. Each may be made at any time; what makes no
/// sense then is refused. Dropping a mover takes its hands off both ends.
pub trait Mover: Send {
    /// Whether the product itself sees to it that one copy runs. Then it is only asked to begin, to do what the strategy
    /// needs, to cancel, and where the VM is; a VM that is left stopped is resumed, but neither end is held, ended or broken
    /// off by us.
    fn is_managed(&self) -> bool;

    /// Which VM is moved.
    fn vm(&self) -> &VmId;

    /// On which host a side is.
    fn host(&self, side: Side) -> &HostId;

    /// The VM on a side; absent where it is not there (yet), and known only by asking.
    fn handle(&self, side: Side) -> Option<&dyn Vm>;

    /// Begins to move the VM. Returns at once.
    ///
    /// # Errors
    /// Where the hypervisor refuses to begin, or does not answer: then it may have begun.
    fn begin(&mut self) -> Result<()>;

    /// Does something to the migration, or to one of its ends.
    ///
    /// # Errors
    /// [`crate::HypervisorError::Unsupported`] where it cannot; other errors as for [`Mover::begin`].
    fn act(&mut self, act: Act) -> Result<()>;

    /// How far the migration is; what the product does not tell is absent.
    ///
    /// # Errors
    /// Where it does not answer.
    fn progress(&mut self) -> Result<Progress>;

    /// Fails if an end, or the guest, cannot go on.
    ///
    /// # Errors
    /// As [`Vm::check_alive`] and [`Vm::check_guest`].
    fn check(&mut self) -> Result<()>;

    /// Asks an end where the VM is. No answer is an answer too.
    fn ask(&mut self, side: Side) -> Presence;

    /// The hypervisor's own account of the migration that ended, when it is final: what the product fills in only later is
    /// waited for a moment, and absent where it does not come.
    ///
    /// # Errors
    /// Where it does not answer.
    fn report(&mut self) -> Result<HypervisorReport>;

    /// What was seen of each mechanism that was asked for ([`Mechanism`](dunlin_record::Mechanism)), but for what the record
    /// shows whatever the driver: post-copy, and a second link. Asked for after the migration.
    ///
    /// # Errors
    /// Where the hypervisor does not answer.
    fn mechanisms(&mut self) -> Result<Vec<MechanismSeen>> {
        Ok(Vec::new())
    }

    /// The copies of the VM's disks that go before its memory, step by step; absent where none move, or where the product
    /// moves them by itself.
    fn disks(&mut self) -> Option<&mut dyn DiskCopies> {
        None
    }
}

/// What can be done to a migration. An act that is not refused counts as done, also where no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// Stop the VM at the source before its switch-over, so that it arrives stopped and the rest is copied while nothing
    /// changes it. Refused where the switch-over has begun already: then it may arrive running.
    HoldSource,
    /// Stop the VM at the source, whatever it is doing.
    StopSource,
    /// Switch to post-copy.
    SwitchToPostCopy,
    /// Let a migration go on that waits before its switch-over because it was told to.
    ContinueSwitchOver,
    /// How long the VM may stand still for its switch-over, from now on. Where no migration is under way it is up to the
    /// product whether it takes it, for one that begins later.
    SetDowntimeLimit {
        /// How long.
        limit: Duration,
    },
    /// How fast memory may travel, from now on; as [`Act::SetDowntimeLimit`] where no migration is under way.
    SetBandwidth {
        /// Bytes a second; absent: as fast as can be.
        bytes_s: Option<u64>,
    },
    /// End the migration, the VM staying at the source.
    Cancel,
    /// Break its connections by force: for a cancel that does not take effect.
    BreakConnections,
    /// From now on the destination does not run the VM by itself. Where it runs there, it is stopped.
    HoldDestination,
    /// Let the VM run on this side.
    Resume(Side),
    /// End the source, which has nothing left that the destination lacks, and wait until it is gone, at most so long.
    EndSource {
        /// How long.
        limit: Duration,
    },
    /// End the destination, and wait until it is gone, at most so long.
    EndDestination {
        /// How long.
        limit: Duration,
    },
}

impl Act {
    /// Its name in the record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HoldSource => "stop-vm",
            Self::StopSource => "stop-source",
            Self::SwitchToPostCopy => "switch-to-post-copy",
            Self::ContinueSwitchOver => "continue-switch-over",
            Self::SetDowntimeLimit { .. } => "set-downtime-limit",
            Self::SetBandwidth { .. } => "set-bandwidth",
            Self::Cancel => "cancel",
            Self::BreakConnections => "break-connections",
            Self::HoldDestination => "hold-destination",
            Self::Resume(Side::Source) => "resume-source",
            Self::Resume(Side::Destination) => "resume-destination",
            Self::EndSource { .. } => "end-source",
            Self::EndDestination { .. } => "end-destination",
        }
    }
}

/// How far a migration is, by the hypervisor's own counters; absent = it did not say.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Progress {
    /// Where it is, as the source says when asked.
    pub state: Option<MigrationState>,
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

/// The copies of a VM's disks to another host, made step by step before its memory moves.
///
/// They end in one of two ways. Either both hosts' disks are kept even until the memory has moved ([`DiskCopies::finish`],
/// [`DiskCopies::hand_over`]), or, in two steps, the VM goes on at the source with the new ones ([`DiskCopies::change_over`],
/// [`DiskCopies::let_go`]).
pub trait DiskCopies {
    /// Where they go, as in `10.78.0.12:10809`.
    fn address(&self) -> &str;

    /// How they are to be copied.
    fn how(&self) -> &StorageSettings;

    /// Begins to copy the disks, and with them what the VM writes meanwhile. Returns when the other side is connected.
    ///
    /// # Errors
    /// Where the other side cannot be reached, holds less than the disks, or the hypervisor refuses.
    fn start(&mut self) -> Result<()>;

    /// How far the copies are.
    ///
    /// # Errors
    /// Where one has failed, or the hypervisor does not answer.
    fn progress(&mut self) -> Result<MirrorProgress>;

    /// From now on a write of the VM is done only when it is on both hosts, so that no more is left to be copied however
    /// much it writes. Says whether this hypervisor can.
    ///
    /// # Errors
    /// Where it refuses.
    fn keep_in_step(&mut self) -> Result<bool>;

    /// Asks copies that are [`MirrorStage::Even`] to copy the last and end.
    ///
    /// # Errors
    /// Where it refuses.
    fn finish(&mut self) -> Result<()>;

    /// Compares both hosts' disks block by block, once all copies have ended well and while the VM stands still. The first
    /// call begins it; what came of it is said when all are compared.
    ///
    /// # Errors
    /// Where they cannot be compared, or not in time.
    fn compare(&mut self) -> Result<Option<Vec<DiskCompared>>> {
        Err(crate::HypervisorError::Unsupported {
            what: "comparing both hosts' disks".into(),
            because: "this driver cannot".into(),
        })
    }

    /// Takes the source's hands off the other host's disks when all copies have ended well: from now on nobody writes to
    /// them but the VM there.
    ///
    /// # Errors
    /// Where a hypervisor refuses.
    fn hand_over(&mut self) -> Result<()>;

    /// Asks copies that are [`MirrorStage::Even`] to copy the last and end, the VM going on at the source with the new disks.
    ///
    /// # Errors
    /// Where it refuses. Each disk is then the old or the new one: see [`DiskCopies::changed`].
    fn change_over(&mut self) -> Result<()> {
        Err(in_two_steps())
    }

    /// Which disks the VM has changed for the new ones, by the names that the guest knows.
    ///
    /// # Errors
    /// Where the hypervisor does not answer.
    fn changed(&mut self) -> Result<Vec<String>> {
        Err(in_two_steps())
    }

    /// Lets go of the old disks when all copies have ended well with the VM on the new ones.
    ///
    /// # Errors
    /// Where the hypervisor refuses.
    fn let_go(&mut self) -> Result<()> {
        Err(in_two_steps())
    }

    /// Ends all copies by force, wherever they are, and their comparison; the other host's disks are then worth nothing, but for
    /// those that the VM has changed to. The VM goes on with what it has. Well where there are none.
    ///
    /// # Errors
    /// Where they have not ended within the limit.
    fn abandon(&mut self, limit: Duration) -> Result<()>;
}

fn in_two_steps() -> crate::HypervisorError {
    crate::HypervisorError::Unsupported {
        what: "moving a VM's disks before its memory, in two steps".into(),
        because: "this driver cannot".into(),
    }
}

/// What came of comparing both hosts' images of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskCompared {
    /// Which, as the guest knows it.
    pub disk: String,
    /// How much was compared.
    pub compared_bytes: i64,
    /// Where they differ first; absent where they are equal.
    pub differs_at_bytes: Option<i64>,
}

/// How far the copies of a VM's disks are, all together, by the hypervisor's own counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorProgress {
    /// Where the one that is least far is.
    pub stage: MirrorStage,
    /// Copied so far, holes included; absent = not told.
    pub copied_bytes: Option<i64>,
    /// To be copied in all, as far as is known.
    pub total_bytes: Option<i64>,
}

/// Where the copy of a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MirrorStage {
    /// Some of it was never copied yet.
    Copying,
    /// All of it has been; each write of the VM is copied as well.
    Even,
    /// It has ended, and well: the disks are equal, or the VM has changed for the new one.
    Ended,
}
