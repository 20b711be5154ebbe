//! What a scripted world is made of: faults, settings, the states of its job, the messages between its ends.

use std::collections::VecDeque;

use dunlin_hypervisor::Side;
use dunlin_record::{StorageSettings, Strategy};

use super::Command;
use super::product::DaemonTurn;

/// What a script has happen, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::fake) enum Fault {
    Kill(Side),
    /// Stopped by a signal, for so long.
    Freeze(Side, i64),
    CutLink,
    /// The guest resets itself.
    Reset,
    /// The user wants it to end.
    Interrupt,
    /// Nothing can be recorded any more.
    FullDisk,
    /// The migration fails by itself, as for a device that cannot be saved.
    FailAtSource,
    /// That all has arrived is told by the destination, but never heard by the source.
    LoseLastWord,
    /// Somebody else asks for the switch to post-copy.
    SwitchByOthers,
    /// The daemon of a product dies on a side, or stands still, for so long.
    DaemonDies(Side, i64),
    DaemonHangs(Side, i64),
    /// The client's command loses its connection to a product's daemon.
    LoseClient,
    /// Somebody else cancels the migration, or stops the VM at its source.
    CancelByOthers,
    StopByOthers,
    /// A copy of a disk breaks off, as where the other host has no room.
    FailCopy,
}

/// What the hypervisor is like, and what is migrated.
#[derive(Debug, Clone)]
pub(in crate::fake) struct Setting {
    pub(in crate::fake) strategy: Strategy,
    pub(in crate::fake) runs_at_first: bool,
    /// Whether post-copy may be cancelled, which runs the source again (QEMU 7.2).
    pub(in crate::fake) cancels_post_copy: bool,
    /// After how many passes what is left fits; absent = never.
    pub(in crate::fake) converges_after: Option<u32>,
    /// Whether it waits before its switch-over until it is told to go on.
    pub(in crate::fake) waits: bool,
    /// Whether its disks move with it; then it waits too.
    pub(in crate::fake) disks: bool,
    /// How they are copied.
    pub(in crate::fake) how: StorageSettings,
    /// Whether the guest writes them faster than they are copied.
    pub(in crate::fake) outruns: bool,
    /// Whether its writes can be made to wait for the copies once these have begun (QEMU 7.2 cannot).
    pub(in crate::fake) keeps_step: bool,
    /// Whether both hosts' images differ when they are compared.
    pub(in crate::fake) differs: bool,
    /// What the switch to post-copy takes to begin after it was asked for.
    pub(in crate::fake) switch_ns: i64,
    /// How long post-copy takes after its switch.
    pub(in crate::fake) post_copy_ns: i64,
    /// Whether it tells of its switch-over (QEMU 7.2 does not).
    pub(in crate::fake) tells_switch_over: bool,
    /// Whether a managed product is one with a daemon on each side (`product.rs`). The rest is of such a one.
    pub(in crate::fake) daemons: bool,
    /// Whether it shows at the destination what has not been let run there yet.
    pub(in crate::fake) shows_incoming: bool,
    /// Whether it tells of a job that has ended to who asks, not only to the client that began it.
    pub(in crate::fake) remembers: bool,
    /// Whether a destination's daemon ends what has not arrived once the source's is gone.
    pub(in crate::fake) ends_what_is_left: bool,
    /// How much later events come than they happen, for each end.
    pub(in crate::fake) events_late_ns: [i64; 2],
}

/// What may be wrong with an act at an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fake) enum ActFault {
    Refused,
    /// It is done, but its answer is lost.
    Unanswered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fake) enum Job {
    None,
    Setup,
    PreCopy,
    Waiting,
    SwitchOver,
    /// The device state is saved, after which post-copy begins.
    Switching,
    /// It is sent; that all went well is still to be seen.
    Switched,
    PostCopy,
    PostCopyPaused,
    Completed,
    Failed,
    Cancelled,
}

impl Job {
    /// Whether the VM is stopped for it at the source, which goes on with it where the migration fails.
    pub(super) fn switches_over(self) -> bool {
        matches!(self, Self::Waiting | Self::SwitchOver | Self::Switching | Self::Switched)
    }
}

/// How the copies of the VM's disks stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fake) enum Copies {
    None,
    Copying,
    Even,
    Finishing,
    /// The VM changes for them, where it is.
    Changing,
    Ended,
    /// The VM has them, and the old ones are let go of.
    LetGo,
    /// The source has let go of them, the destination's server has not.
    Released,
    HandedOver,
    Failed,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Message {
    /// All of the VM; whether it is to run.
    Whole {
        running: bool,
    },
    /// It may run, the pages follow.
    Run,
    Pages,
    /// The destination has it all.
    Done,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Happening {
    Fault(Fault),
    Thaw(Side),
    Daemon(DaemonTurn),
    Step(Job, u32),
    Copied(Copies),
    /// The VM has its new disk of this number.
    Changed(usize),
    Switches,
    /// The source goes on with a VM that it had stopped for a migration that failed.
    RunsAgain,
    Arrives(Side, Message),
    Loaded(Message),
    /// An end notices that the other one, or the way there, is gone.
    Broken(Side),
    /// A command that nobody waits for any more.
    Late(Side, Command),
}

impl Happening {
    /// Whether after it the destination has all that it needs to run the VM.
    pub(super) fn makes_it_whole(&self) -> bool {
        matches!(
            self,
            Self::Arrives(Side::Destination, Message::Whole { .. } | Message::Run)
                | Self::Loaded(Message::Whole { .. } | Message::Run)
        )
    }
}

/// An end's truth.
#[derive(Debug, Clone)]
pub(in crate::fake) struct End {
    pub(in crate::fake) alive: bool,
    pub(in crate::fake) ended_by_us: bool,
    pub(in crate::fake) running: bool,
    pub(super) frozen: u32,
    pub(super) backlog: VecDeque<Happening>,
    /// Acts asked so far, and what is wrong with which.
    pub(super) acts: u32,
    pub(super) act_fault: Option<(u32, ActFault)>,
}
