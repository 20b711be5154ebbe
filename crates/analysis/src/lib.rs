//! From a trial's record to its outcome and its time line: pure, no VM, no socket, no clock.

mod answers;
mod boundaries;
mod captured;
mod compare;
mod cpu_percent;
mod error;
mod fitness;
mod flags;
mod floors;
mod guest_clock;
mod host_clocks;
mod iterations;
mod mechanisms;
mod moments;
mod not_converged;
mod observers;
mod outages;
mod outcome;
mod phases;
mod precision;
mod probe_log;
mod responses;
mod round_trips;
mod samples;
mod stalls;
mod standstill;
mod statistics;
mod storage;
mod stories;
mod streams;
mod switch;
mod tcp_streams;
mod time_shares;
mod timeline;
mod transactions;
mod trial;
mod units;
mod wire;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod properties;

pub use answers::Answerer;
pub use boundaries::{Boundary, boundaries};
pub use compare::{
    CaseComparison, ChangedSetting, CompareOptions, ComparedRun, Comparison, Figure, FigureComparison,
    FoundWith, Lacking, Power, PowerOptions, PowerRow, Sample, SideName, Verdict, changed_settings,
    changed_settings_and_amounts, compare, compare_to_baseline, power,
};
pub use error::AnalysisError;
pub use outcome::outcomes;
pub use phases::Span;
pub use precision::{Precision, precise_enough, precision};
pub use statistics::{
    Bootstrap, Interval, Reading, change_interval, deviation, median, median_interval, outliers, quantile,
};
pub use stories::{Fate, ProbeStory, StoryRun};
pub use time_shares::{TimeShares, time_shares};
pub use timeline::{Mark, ProbeTrack, RateTrack, Request, Timeline, WireTick, timeline};
pub use wire::MigrationOnWire;
