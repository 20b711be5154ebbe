//! What can go wrong with a run as a whole, or with one trial of it.

use std::path::PathBuf;

use dunlin_guest::GuestError;
use dunlin_hypervisor::{HypervisorError, Obstacle};
use dunlin_probe::ProbeError;
use dunlin_record::RecordError;
use dunlin_testbed::TestbedError;

use crate::toml_file::nearest;
use crate::{Elsewhere, ScenarioError};

/// A result of a run.
pub type Result<T, E = BenchError> = std::result::Result<T, E>;

/// What can go wrong with a run as a whole, or with one trial of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The scenario cannot be used.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The testbed failed.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// A hypervisor failed.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// The record cannot be written or read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The guest's kernel or its agent failed.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// A probe could not be started.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The bench's own interface could not be captured.
    #[error(transparent)]
    Capture(#[from] dunlin_wire::WireError),
    /// A capture of a trial cannot be read back.
    #[error("cannot read {}", path.display())]
    ReadCapture {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: dunlin_wire::ReadError,
    },
    /// A trial's record makes no sense.
    #[error(transparent)]
    Analysis(#[from] dunlin_analysis::AnalysisError),
    /// An image of the user's does not fit onto its disk.
    #[error("{} is {virtual_size_mib} MiB large: vm.disk.size_mib = {size_mib} is less", image.display())]
    ImageTooLarge {
        /// The image.
        image: PathBuf,
        /// What a guest could put on it.
        virtual_size_mib: u64,
        /// The disk's size.
        size_mib: u32,
    },
    /// The guest did not come up.
    #[error("{vm} did not come up on {host}: {why}{}", last_lines(console))]
    GuestDown {
        /// Which VM.
        vm: String,
        /// On which host.
        host: String,
        /// What was waited for.
        why: String,
        /// The end of its console.
        console: String,
        /// Whether another try may end better.
        again: bool,
    },
    /// The VM runs, but a probe of it is not answered.
    #[error("no answer to the {probe} probe within {after_s} s before the migration{asked}")]
    NoService {
        /// Which probe.
        probe: String,
        /// How long was waited.
        after_s: u64,
        /// Where a VM that exists was asked, and what names another address; empty where the address is ours.
        asked: String,
    },
    /// The guest's agent does not answer, and of its probes' requests too many are not answered either.
    #[error(
        "the probes drown the guest, so that its agent does not answer: {probes}; ask less often (interval_ms)"
    )]
    Drowned {
        /// What each of them asks.
        probes: String,
        /// What the agent was waited for.
        source: GuestError,
    },
    /// A workload ended before its time.
    #[error("the guest could not {last_words}")]
    WorkloadDied {
        /// What the guest said of it.
        last_words: String,
    },
    /// A product on a host does not answer.
    #[error("{product} on {host} does not answer")]
    NoAnswer {
        /// Which product, by its driver's name.
        product: &'static str,
        /// On which host.
        host: String,
        /// What was asked of it.
        source: Box<HypervisorError>,
    },
    /// No guest kernel was fetched.
    #[error("no guest kernel is in {}", cache.display())]
    NoKernel {
        /// The cache.
        cache: PathBuf,
    },
    /// No cell of the scenario can be run here.
    #[error("no case of the scenario can be run here; the first: {title}: {because}")]
    NothingToRun {
        /// A case.
        title: String,
        /// What is missing.
        because: String,
    },
    /// The scenario asks for what its hypervisor knows in no version, or takes in no case.
    #[error("{}", told(file, mistakes))]
    Mistaken {
        /// The scenario's file.
        file: String,
        /// All that was found; never empty.
        mistakes: Vec<Mistake>,
    },
    /// A VM that exists is not where each trial finds it.
    #[error(
        "{vm} does not run on {host}, where it is to be moved from, and is not started: {said}; {elsewhere}"
    )]
    VmNotThere {
        /// Which VM.
        vm: String,
        /// On which host.
        host: String,
        /// What is said of it there.
        said: String,
        /// What the host says that it was to be moved to.
        elsewhere: Box<Elsewhere>,
    },
    /// VMs that exist cannot be moved as they and their hosts are.
    #[error("nothing was moved, because of:\n{}", in_numbers(obstacles))]
    Obstacles {
        /// All that was found; never empty.
        obstacles: Vec<VmObstacle>,
    },
    /// A VM that exists did not come back.
    #[error("{vm} is not back on {home}: {why}; {said}")]
    NotHome {
        /// Which VM.
        vm: String,
        /// Where it belongs.
        home: String,
        /// What kept it.
        why: String,
        /// What both ends say of it.
        said: String,
        /// Whether the user wanted to leave it where it is.
        by_user: bool,
    },
    /// After its migration it is not known where a VM that exists is.
    #[error("it is not known where {vm} runs, so nothing was done to it: {said}")]
    WhereUnknown {
        /// Which VM.
        vm: String,
        /// What both ends say of it.
        said: String,
    },
    /// VMs that are left where they were moved to can be moved once.
    #[error(
        "{trials} trials are asked for, and with --stay there can be one: the VMs are not brought back for the next"
    )]
    StaysOnce {
        /// How many trials there would be.
        trials: u64,
    },
    /// The run that is to be gone on with moved other VMs.
    #[error("the run in {} moved {before}, and not {now}", folder.display())]
    OtherVms {
        /// The run's folder.
        folder: PathBuf,
        /// Which VMs it moved.
        before: String,
        /// Which are asked for.
        now: String,
    },
    /// The run that is to be gone on with was made on other hosts: its trials and the new ones are of different things.
    #[error("the run in {} was made on {before}, not on {now}", folder.display())]
    OtherHosts {
        /// The run's folder.
        folder: PathBuf,
        /// On which machines it was made.
        before: String,
        /// On which it would go on.
        now: String,
    },
    /// The folder to resume holds another scenario.
    #[error(
        "{} holds a run of another scenario ({differences}); start a new run for this one",
        folder.display()
    )]
    OtherScenario {
        /// Which folder.
        folder: PathBuf,
        /// What was asked otherwise.
        differences: String,
    },
    /// The folder of a new run holds one.
    #[error("{} holds a run already", folder.display())]
    FolderTaken {
        /// Which folder.
        folder: PathBuf,
    },
    /// The user ended it.
    #[error("ended by the user")]
    Cancelled,
    /// A file could not be read or written.
    #[error("cannot {doing}")]
    Io {
        /// What was being done to what.
        doing: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// A setting that a hypervisor refuses, whatever its version, or an image that no disk can begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The cases that have it, by their titles; never empty.
    pub cases: Vec<String>,
    /// What is wrong with which setting.
    pub what: String,
}

impl Mistake {
    /// What a driver says is wrong with a case, with the word that may have been meant, or what is wrong with the image that its
    /// disk begins with; nothing where it is another thing.
    pub(crate) fn of(case: &str, error: &BenchError) -> Option<Self> {
        if let BenchError::ImageTooLarge { .. } | BenchError::Guest(GuestError::Image { .. }) = error {
            return Some(Self { cases: vec![case.to_owned()], what: format!("vm.disk.image: {error}") });
        }
        let BenchError::Hypervisor(HypervisorError::WrongSetting { word, known, .. }) = error else {
            return None;
        };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let meant = word.as_ref().and_then(|word| nearest(word, &known));
        let meant = meant.map(|meant| format!(", did you mean {meant:?}?")).unwrap_or_default();
        Some(Self { cases: vec![case.to_owned()], what: format!("{error}{meant}") })
    }
}

/// Something that speaks against moving a VM that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmObstacle {
    /// Which VM.
    pub vm: String,
    /// What it is, and what would mend it.
    pub obstacle: Obstacle,
}

/// Each with its number and what mends it.
fn in_numbers(obstacles: &[VmObstacle]) -> String {
    let line = |(number, VmObstacle { vm, obstacle }): (usize, &VmObstacle)| {
        format!("{number}. {vm}: {}\n   mend it by: {}", obstacle.what, obstacle.mend)
    };
    (1..).zip(obstacles).map(line).collect::<Vec<_>>().join("\n")
}

/// A line each.
fn told(file: &str, mistakes: &[Mistake]) -> String {
    let line = |mistake: &Mistake| {
        let more = match mistake.cases.len() {
            0 | 1 => String::new(),
            cases => format!(" and {} more", cases - 1),
        };
        let first = mistake.cases.first().map(String::as_str).unwrap_or_default();
        format!("{file}: case {first:?}{more}: {}", mistake.what)
    };
    mistakes.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl BenchError {
    /// Whether nothing more can be kept, so that going on would be in vain.
    pub(crate) fn ends_the_run(&self) -> bool {
        let is_lost = matches!(
            self,
            Self::Record(_) | Self::VmNotThere { .. } | Self::NotHome { .. } | Self::WhereUnknown { .. }
        );
        is_lost || self.is_disk_full()
    }

    /// Whether a guest did not come up, and would not the next time.
    pub(crate) fn is_guest_hopeless(&self) -> bool {
        matches!(self, Self::GuestDown { again: false, .. })
    }

    /// Whether a disk was full, wherever in the chain of causes that stands.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let first: &(dyn std::error::Error + 'static) = self;
        let mut causes = std::iter::successors(Some(first), |error| error.source());
        causes.any(|error| {
            error.downcast_ref::<std::io::Error>().is_some_and(|error| {
                matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            })
        })
    }

    /// Whether something was asked that cannot be had here, so that other cases may go on.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::Hypervisor(error) => error.is_unsupported(),
            other => matches!(
                other,
                Self::Testbed(TestbedError::Unsupported { .. }) | Self::Guest(GuestError::NoProgram { .. })
            ),
        }
    }
}

fn last_lines(console: &str) -> String {
    if console.is_empty() {
        "; its console is empty".into()
    } else {
        format!("; the last lines of its console:\n{console}")
    }
}
