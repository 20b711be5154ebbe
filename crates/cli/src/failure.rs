//! Errors for people: what went wrong, why, what to do about it, and an exit code that scripts can rely on.

use std::error::Error;
use std::fmt::Write as _;

/// A result of a subcommand.
pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Exit codes, as documented in `dunlin --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something went wrong that has no code of its own.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The scenario, folder or argument given cannot be used.
    BadInput = 3,
    /// This machine lacks something; the hint says what mends it.
    Machine = 4,
    /// The run ended, but a trial of it failed.
    TrialsFailed = 5,
    /// `calibrate` measured, and the figures are not true enough.
    NotCalibrated = 6,
    /// `calibrate` could not tell: the machine was too noisy.
    Inconclusive = 7,
    /// `compare`: a condition of `--fail-if` is violated.
    Violated = 8,
    /// `compare`: a condition seems violated, but drift between two runs may be why.
    Suspected = 9,
    /// `compare`: a condition could be decided for no case, and a decision is required.
    Undecided = 10,
    /// The user ended it.
    Interrupted = 130,
}

/// An error for people.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// An error with all its causes.
    pub(crate) fn new(exit: Exit, error: &dyn Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            // Errors that pass on their cause's words would say everything twice.
            if !message.ends_with(&text) {
                let _ = write!(message, "\n  because: {text}");
            }
            cause = inner.source();
        }
        Self { exit, message, hint: None }
    }

    /// An error that is nothing but words.
    pub(crate) fn says(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what to do after that.
    pub(crate) fn then(self, next: &str) -> Self {
        let hint = self.hint.as_ref().map_or_else(|| next.to_owned(), |hint| format!("{hint}; then {next}"));
        self.hint(hint)
    }

    /// With a hint where there is none yet.
    pub(crate) fn or_hint(self, hint: impl Into<String>) -> Self {
        if self.hint.is_some() { self } else { self.hint(hint) }
    }

    /// As printed on standard error.
    pub(crate) fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("error: {}\n hint: {hint}\n", self.message),
            None => format!("error: {}\n", self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot boil the kettle")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_that_stops_nothing_is_one_line() {
        let error = Outer(std::io::Error::other("no water"));
        assert_eq!(dunlin_record::in_one_line(&error), "cannot boil the kettle: no water");
    }

    #[test]
    fn an_error_is_printed_with_its_causes_and_a_hint() {
        let failure = Failure::new(Exit::Machine, &Outer(std::io::Error::other("no water"))).hint("fill it");
        assert_eq!(failure.text(), "error: cannot boil the kettle\n  because: no water\n hint: fill it\n");
    }
}
