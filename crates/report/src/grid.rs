//! A table of medians that stands on the terminal and on the page alike.

use dunlin_record::Outcome;

use crate::cases::CaseRow;
use crate::format::ABSENT;
use crate::layout::{Table, wrapped};

/// A table for the terminal or the page.
pub(crate) struct Grid {
    /// Its title.
    pub(crate) title: &'static str,
    /// How many of its columns, from the first, say whose figures a row has …
    pub(crate) keys: usize,
    /// … and how many, with these, are words; the others are figures.
    pub(crate) words: usize,
    /// Of each column: lines one below the other.
    pub(crate) header: Vec<&'static str>,
    /// Of each cell likewise.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Grid {
    /// It as text below its title. Wraps at `width` columns.
    pub(crate) fn text(&self, width: Option<u16>) -> String {
        let mut table = self.header.iter().enumerate().fold(Table::new(), |table, (index, name)| {
            if index < self.keys {
                table.key(name)
            } else if index < self.words {
                table.words(name)
            } else {
                table.figure(name)
            }
        });
        self.rows.iter().for_each(|row| table.row(row));
        format!("\n{}{}", wrapped(&format!("{}:", self.title), width, ""), table.text(width))
    }
}

/// Median over a case's completed trials, below it the spread.
pub(crate) fn spread(row: &CaseRow, of: impl Fn(&Outcome) -> Option<f64>) -> String {
    row.spread(of).map_or_else(|| ABSENT.into(), |spread| spread.lines().join("\n"))
}
