//! What was asked, what happened, what came out: Dunlin's vocabulary as types, and the run folder that keeps it.
//!
//! Everything left of the record touches the world and writes [`Event`]s and series; everything right of it is pure
//! and reads them. An [`Outcome`] can be computed again from events, series and captures
//! alone.

mod achieved;
mod capture;
mod case;
mod cpu_percent;
mod driver_settings;
mod error;
mod event;
mod event_file;
mod harmless;
mod ids;
mod journal;
mod mechanism;
mod migration_state;
mod outcome;
mod place;
mod probes;
mod response;
mod run_folder;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod series;
mod storage;
mod stream;
mod switch;
mod tcp_probe;
mod transport;
mod upgrade;
mod wire;
mod workload;

pub use achieved::{Achieved, ClockSeen, HttpServed};
pub use capture::{CaptureOutcome, TrialCapture};
pub use case::{Captures, Case, Disk, Link, Links, Percent, PreCopyLimits, Strategy, Trials, VmSettings};
pub use cpu_percent::{CpuPercent, CpuShares};
pub use driver_settings::DriverSettings;
pub use error::{RecordError, Result, in_one_line};
pub use event::{
    DiskHeld, Event, EventKind, GuestStart, HypervisorIdentity, HypervisorReport, MemoryHeld, Moment, Status,
    StorageHeld,
};
pub use event_file::{EventReader, EventWriter, read_events};
pub use harmless::{harmless, harmless_json};
pub use ids::{HostId, TrialId, VmId};
pub use journal::Journal;
pub use mechanism::{Mechanism, MechanismSeen};
pub use migration_state::{MigrationState, Step};
pub use outcome::{
    AnsweredBy, CaseLabel, DiskMib, DowntimeMs, FileOutcome, Flag, GuestClock, HypervisorLabel, Iteration,
    LinkOutcome, MemoryMib, NotConverged, Outage, Outcome, PhasesMs, ProbeOutcome, StandstillMs,
    StorageBytes, StorageComparison, StorageMib, StorageNetworkBytes, StorageStep, StorageSteps, SwitchBytes,
    WireBytes, WorkloadOutcome, outcome_schema,
};
pub use place::{Place, Seen};
pub use probes::{HttpProbe, Probe, Probes, TcpPath};
pub use response::{FailureCounts, RequestFailure, ResponsePhases, Responses};
pub use run_folder::{
    Difference, ExistingVm, FolderLock, HostFingerprint, Resumption, RunFolder, RunInfo, SkippedCase,
    Software, TrialRecord, file_name,
};
pub use series::{ABSENT, Column, Series, SeriesWriter, read_series, shapes};
pub use storage::{
    Blocks, FileCarried, FileCompression, ImageFormat, StandstillStage, StorageFault, StorageFaultKind,
    StorageServer, StorageSettings, Transfer, TransferWay, Writes,
};
pub use stream::{LostNumbers, Received, StreamBreak, StreamLoss, StreamOutcome, StreamSeen};
pub use switch::{Snmp, SnmpAuth, SnmpPrivacy, Switch};
pub use tcp_probe::{
    AroundMigration, ProbeConnection, RequestResponse, SocketBuffers, StreamProbe, TcpConnections, TcpProbe,
    TcpStreamOutcome,
};
pub use transport::{ChannelCompression, Transport, TransportKind};
pub use wire::{
    Amount, Announcement, AnnouncementKind, BrokenOff, Conversation, ConversationGraph, Flow, Malformed,
    MigrationEvidence, Moved, Overhead, ProtocolShare, Retransmissions, RttMs, Service, Silence, StreamKind,
    Unlisted, WireAccount, WireGraph, WireInterface, WireMark, WireMigration, WireOutage,
};
pub use workload::{
    Cpu, DiskFile, HttpServer, MemoryRead, MemoryWrite, Pattern, Rate, TcpStream, UdpStream, Workload,
};

/// The version of the run folder's format. Raised when a reader of the old one would misread the new one.
pub const FORMAT: u32 = 1;

/// The revision of the analysis. Raised when the same record comes to other outcomes: those of an older one are made anew.
pub const ANALYSIS: u32 = 4;
