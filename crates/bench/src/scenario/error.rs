//! What can be wrong with a scenario, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

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
    #[error("{}", join(problems))]
    Invalid {
        /// All that was found, in the order of the file; never empty.
        problems: Vec<Problem>,
    },
}

/// A line each; a long list is cut short, for one mistake in a large matrix can show in every cell.
fn join(problems: &[Problem]) -> String {
    const SHOWN_MAX: usize = 20;
    let mut lines: Vec<String> = problems.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if problems.len() > SHOWN_MAX {
        lines.push(format!("and {} more", problems.len() - SHOWN_MAX));
    }
    lines.join("\n")
}

/// One thing wrong with a scenario, shown as `demo.toml:14: vm.memory_mib: expected …, found …`.
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

/// What is wrong at a place of a scenario.
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

fn hint(suggestion: Option<&str>, known: &[String]) -> String {
    match suggestion {
        Some(suggestion) => format!("did you mean \"{suggestion}\"?"),
        None => format!("expected one of: {}", known.join(", ")),
    }
}

fn others(known: &[String]) -> String {
    if known.is_empty() { "which has no keys of its own".into() } else { hint(None, known) }
}

/// The problems found so far in one text.
#[derive(Debug)]
pub(super) struct Findings {
    file: String,
    text: String,
    problems: Vec<(usize, Problem)>,
}

impl Findings {
    pub(super) fn new(text: &str, file: &str) -> Self {
        Self { file: file.into(), text: text.into(), problems: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Notes a problem at an offset of the text. The cells of one case share their settings: what is wrong with
    /// several of them is noted once.
    pub(super) fn add(&mut self, at: usize, path: impl Into<String>, kind: ProblemKind) {
        let line = self.before(at).matches('\n').count() + 1;
        let problem = Problem { file: self.file.clone(), line, path: path.into(), kind };
        if !self.problems.iter().any(|(_, known)| *known == problem) {
            self.problems.push((at, problem));
        }
    }

    /// The column of an offset, from 1, and the whole line it is in.
    pub(super) fn column_and_line(&self, at: usize) -> (usize, String) {
        let before = self.before(at);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        (before[line_start..].chars().count() + 1, line.trim().to_owned())
    }

    pub(super) fn into_error(mut self) -> ScenarioError {
        self.problems.sort_by_key(|(at, _)| *at);
        ScenarioError::Invalid { problems: self.problems.into_iter().map(|(_, problem)| problem).collect() }
    }

    /// The text up to an offset; parsers may point past the end or into a character.
    fn before(&self, at: usize) -> &str {
        let mut end = at.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        &self.text[..end]
    }
}
