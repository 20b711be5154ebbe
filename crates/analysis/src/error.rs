//! Why a record cannot be analysed.

use dunlin_record::TrialId;

/// Why a record cannot be analysed. All else that a record may lack leaves figures absent instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnalysisError {
    /// Nothing says what was asked, so no figure would have a meaning.
    #[error("cannot analyse trial {trial}: its events hold no trial-started")]
    NotStarted {
        /// Which trial.
        trial: TrialId,
    },
}
