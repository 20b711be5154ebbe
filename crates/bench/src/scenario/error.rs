//! Why a scenario cannot be run.

use std::io;
use std::path::PathBuf;

use crate::toml_file::{Findings, Problem, in_lines};

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The file could not be read.
    #[error("cannot read the scenario {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file says what cannot be.
    #[error("{}", in_lines(problems))]
    Invalid {
        /// All that was found, in the order of the file; never empty.
        problems: Vec<Problem>,
    },
}

impl From<Findings> for ScenarioError {
    fn from(findings: Findings) -> Self {
        Self::Invalid { problems: findings.into_problems() }
    }
}
