//! All that is wrong with one text, gathered while it is read.

use super::{Problem, ProblemKind};

/// The problems found so far in one text.
#[derive(Debug)]
pub(crate) struct Findings {
    file: String,
    text: String,
    problems: Vec<(usize, Problem)>,
}

impl Findings {
    pub(crate) fn new(text: &str, file: &str) -> Self {
        Self { file: file.into(), text: text.into(), problems: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Notes a problem at an offset of the text. The cells of one case share their settings: what is wrong with
    /// several of them is noted once.
    pub(crate) fn add(&mut self, at: usize, path: impl Into<String>, kind: ProblemKind) {
        let line = self.line(at);
        let problem = Problem { file: self.file.clone(), line, path: path.into(), kind };
        if !self.problems.iter().any(|(_, known)| *known == problem) {
            self.problems.push((at, problem));
        }
    }

    /// The line of an offset, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.before(at).matches('\n').count() + 1
    }

    /// The column of an offset, from 1, and the whole line it is in.
    pub(crate) fn column_and_line(&self, at: usize) -> (usize, String) {
        let before = self.before(at);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        (before[line_start..].chars().count() + 1, line.trim().to_owned())
    }

    /// All that was found, in the order of the text.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|(at, _)| *at);
        self.problems.into_iter().map(|(_, problem)| problem).collect()
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
