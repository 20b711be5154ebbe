//! One thing wrong with a file, where it stands, and how it is told.

use std::fmt;

use super::Node;

/// One thing wrong with a file, shown as `demo.toml:14: vm.memory_mib: expected …, found …`.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The file's name as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The setting, as in `vm.memory_mib`; empty where the text is no TOML.
    pub path: String,
    /// What is wrong.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, path, kind } = self;
        match kind {
            ProblemKind::Syntax { column, .. } => write!(f, "{file}:{line}:{column}: {kind}"),
            _ => write!(f, "{file}:{line}: {path}: {kind}"),
        }
    }
}

/// What is wrong at a place of a file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The text is no TOML.
    #[error("not valid TOML: {message}\n    {source_line}")]
    Syntax {
        /// The column, from 1.
        column: usize,
        /// What the parser says.
        message: String,
        /// The line of text.
        source_line: String,
    },
    /// A key that means nothing here.
    #[error("unknown key, {}", hint(suggestion.as_deref(), known))]
    UnknownKey {
        /// The known key that looks most like it.
        suggestion: Option<String>,
        /// The keys known here.
        known: Vec<String>,
    },
    /// A key that means something only with another `kind`.
    #[error("unknown key for kind \"{kind}\", {}", others(known))]
    KeyOfOtherKind {
        /// The table's kind.
        kind: String,
        /// The keys this kind has besides `kind`.
        known: Vec<String>,
    },
    /// A key that has to be there is not.
    #[error("missing, expected {expected}")]
    Missing {
        /// What should be there.
        expected: String,
    },
    /// A value of the wrong type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What should be there.
        expected: String,
        /// What is there, short.
        found: String,
    },
    /// A value of the right type that cannot be.
    #[error("expected {expected}, found {found}")]
    Impossible {
        /// What could be there.
        expected: String,
        /// What is there, short.
        found: String,
    },
    /// Settings of two drivers in one case, and no word which is meant.
    #[error(
        "settings of another driver beside \"{beside}\", expected one driver's, or driver = … that says which"
    )]
    TwoDrivers {
        /// The other driver.
        beside: String,
    },
    /// Settings of a driver in a case that names another.
    #[error("settings of a driver that this case does not have, expected {expected}")]
    OtherDriver {
        /// Those it has.
        expected: String,
    },
    /// Two cells of the matrix have the same name and the same dials.
    #[error("two cases would be titled \"{title}\", expected each name and each list value once")]
    DuplicateTitle {
        /// The title.
        title: String,
    },
    /// The lists multiply to more cases than can be meant.
    #[error("the lists multiply to too many cases, expected at most {limit} in the scenario")]
    TooManyCases {
        /// The most there may be.
        limit: usize,
    },
    /// A value the record's types refuse although its key was checked.
    #[error("not accepted: {message}")]
    Refused {
        /// What they say.
        message: String,
    },
}

/// What has to be there is not.
pub(crate) fn missing(expected: &str) -> ProblemKind {
    ProblemKind::Missing { expected: expected.into() }
}

/// A value is of the wrong type.
pub(crate) fn wrong_type(expected: impl Into<String>, node: &Node) -> ProblemKind {
    ProblemKind::WrongType { expected: expected.into(), found: node.to_string() }
}

/// A value is of the right type, but cannot be.
pub(crate) fn impossible(expected: impl Into<String>, node: &Node) -> ProblemKind {
    ProblemKind::Impossible { expected: expected.into(), found: node.to_string() }
}

fn hint(suggestion: Option<&str>, known: &[String]) -> String {
    match suggestion {
        Some(suggestion) => format!("did you mean \"{suggestion}\"?"),
        None => format!("expected one of: {}", known.join(", ")),
    }
}

fn others(known: &[String]) -> String {
    if known.is_empty() { "which has no keys of its own".into() } else { hint(None, known) }
}

/// A line each; a long list is cut short, for one mistake in a large matrix can show in every cell.
pub(crate) fn in_lines(problems: &[Problem]) -> String {
    const SHOWN_MAX: usize = 20;
    let mut lines: Vec<String> = problems.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if problems.len() > SHOWN_MAX {
        lines.push(format!("and {} more", problems.len() - SHOWN_MAX));
    }
    lines.join("\n")
}
