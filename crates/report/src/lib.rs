//! A run made readable: terminal table, JSON, CSV and one HTML page. Pure: data in, text out.

mod asked;
mod cases;
mod chart;
mod csv;
mod format;
mod grid;
mod html;
mod json;
mod layout;
mod mechanisms;
mod outliers;
mod overhead;
mod papers;
mod performance;
mod resumed;
mod standstill;
mod storage;
mod sweep;
mod table;
mod timeline_data;
mod unconverged;
mod words;
mod workload;

use dunlin_analysis::Timeline;
use dunlin_record::{Outcome, RunInfo, TrialCapture};

pub use csv::csv;
pub use format::{count, number, reading, utc};
pub use html::html;
pub use json::json;
pub use layout::{Table, wrapped};
pub use table::table;
pub use words::{FlagWords, flag_words, lacks};

/// A run, as it is rendered.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What was asked, when, where.
    pub info: &'a RunInfo,
    /// What came out, in the order of the trials.
    pub outcomes: &'a [Outcome],
    /// What can be drawn of it, matched to the outcomes by the trial's id. Only [`html`] reads them.
    pub timelines: &'a [Timeline],
    /// What captures of the migration network held, in the order of the trials. Only [`html`] reads them.
    pub captures: &'a [TrialCapture],
}
