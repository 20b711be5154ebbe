//! What can go wrong with the record.

use std::io;
use std::path::PathBuf;

/// A result of reading or writing the record.
pub type Result<T, E = RecordError> = std::result::Result<T, E>;

/// What can go wrong with the record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A file or folder of the run could not be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done, as in "write".
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the run does not hold what it should.
    #[error("{}:{line}: not a valid {what}", path.display())]
    Json {
        /// What the line should have been.
        what: &'static str,
        /// In which file.
        path: PathBuf,
        /// In which line, from 1.
        line: usize,
        /// Why it is not.
        source: serde_json::Error,
    },
    /// The file was written by a version of Dunlin whose format this one does not know.
    #[error("{} has format {found}, this dunlin reads up to {known}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// The format it names.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The same of a line of a file.
    #[error("{}, line {line} has format {found}, this dunlin reads up to {known}", path.display())]
    LineFormat {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// The format it names.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Another process writes in the run's folder.
    #[error("{} is being written by another run of dunlin", path.display())]
    Busy {
        /// Which folder.
        path: PathBuf,
    },
    /// The folder is not a run.
    #[error("{} is not a run folder: it has no run.json", path.display())]
    NotARun {
        /// Which folder.
        path: PathBuf,
    },
    /// A series file ends before its header does, as after a kill or on a full disk.
    #[error("{} breaks off in its header", path.display())]
    BreaksOff {
        /// Which file.
        path: PathBuf,
    },
    /// A series file's header or rows are not what they should be.
    #[error("{}: {why}", path.display())]
    Series {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl RecordError {
    /// Wraps an I/O error with what was being done to what.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

/// An error with all its causes in one line, as a trial's record keeps it.
#[must_use]
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        // Errors that pass on their cause's words would say everything twice.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}
