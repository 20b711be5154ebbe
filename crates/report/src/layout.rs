//! Paragraphs and tables of the terminal, as wide as it is: no figure ever stands beside another's name.
//!
//! A table that is too wide gives way in three steps: words wrap between words; then its columns stand in several grids one
//! below the other, each with the columns that say whose figures they are; then each figure has a line with its name. What
//! cannot be had without breaking a word or a number is wider than asked for.

mod forms;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use dunlin_record::harmless;
use unicode_width::UnicodeWidthStr;

/// More grids than this one below the other are harder to read than a figure a line.
const MOST_GRIDS: usize = 3;

/// A table for the terminal.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

/// What a column holds, which says how it may give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Whose figures a row has: in every grid, in front.
    Key,
    /// May wrap between words.
    Words,
    /// Never wraps; stands to the right.
    Figure,
}

#[derive(Debug, Clone)]
struct Column {
    kind: Kind,
    name: Vec<String>,
}

#[derive(Debug, Clone)]
enum Row {
    /// What the rows below it have in common.
    Section(String),
    /// Of each column the lines.
    Cells(Vec<Vec<String>>),
}

impl Table {
    /// A table without columns and rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column that says whose figures a row has. It stands before all others. A name may have several lines.
    #[must_use]
    pub fn key(self, name: &str) -> Self {
        self.column(Kind::Key, name)
    }

    /// Adds a column of words.
    #[must_use]
    pub fn words(self, name: &str) -> Self {
        self.column(Kind::Words, name)
    }

    /// Adds a column of figures.
    #[must_use]
    pub fn figure(self, name: &str) -> Self {
        self.column(Kind::Figure, name)
    }

    fn column(mut self, kind: Kind, name: &str) -> Self {
        self.columns.push(Column { kind, name: lines_of(name) });
        self
    }

    /// Adds a row: a cell a column, each of which may have several lines. Lacking cells are empty.
    pub fn row<Cell: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let mut cells: Vec<Vec<String>> = cells.into_iter().map(|cell| lines_of(cell.as_ref())).collect();
        cells.resize(self.columns.len(), vec![String::new()]);
        self.rows.push(Row::Cells(cells));
    }

    /// Adds a title for the rows that follow.
    pub fn section(&mut self, title: &str) {
        self.rows.push(Row::Section(lines_of(title).join(" ")));
    }

    /// The table in at most `width` columns; without one it is as wide as it needs to be. Every line ends, the last too.
    #[must_use]
    pub fn text(&self, width: Option<u16>) -> String {
        let width = width.map_or(usize::MAX, usize::from);
        let keys: Vec<usize> = self.of_kind(|kind| kind == Kind::Key);
        let others: Vec<usize> = self.of_kind(|kind| kind != Kind::Key);
        match self.grids(&keys, &others, width) {
            Some(grids) => {
                let grid = |columns: &Vec<usize>| self.grid(columns, width);
                grids.iter().map(grid).collect::<Vec<_>>().join("\n")
            }
            None => self.figure_a_line(&keys, &others, width),
        }
    }

    fn of_kind(&self, is_wanted: impl Fn(Kind) -> bool) -> Vec<usize> {
        (0..self.columns.len()).filter(|index| is_wanted(self.columns[*index].kind)).collect()
    }

    /// The columns of each grid; nothing where it takes too many of them.
    fn grids(&self, keys: &[usize], others: &[usize], width: usize) -> Option<Vec<Vec<usize>>> {
        let with_keys = |columns: &[usize]| [keys, columns].concat();
        let fits = |columns: &[usize]| self.least_width(&with_keys(columns)) <= width;
        let mut grids: Vec<Vec<usize>> = Vec::new();
        for column in others {
            match grids.last_mut() {
                Some(grid) if fits(&[grid.as_slice(), &[*column]].concat()) => grid.push(*column),
                _ if fits(&[*column]) => grids.push(vec![*column]),
                _ => return None,
            }
        }
        // One figure alone below all the others takes one of these for company.
        if let [.., before, last] = grids.as_mut_slice()
            && before.len() > 2
            && last.len() == 1
            && before.last().is_some_and(|column| fits(&[*column, last[0]]))
        {
            last.splice(0..0, before.pop());
        }
        let is_readable =
            grids.len() <= 1 || (grids.len() <= MOST_GRIDS && grids.iter().all(|grid| grid.len() > 1));
        is_readable.then(|| grids.iter().map(|grid| with_keys(grid)).collect())
    }
}

/// The text in lines of at most `width` columns, all but the first indented. Each of its own lines is wrapped by itself.
#[must_use]
pub fn wrapped(text: &str, width: Option<u16>, indent: &str) -> String {
    let width = width.map_or(usize::MAX, usize::from);
    let lines = text.split('\n').map(|line| wrap(line, width, indent).join("\n") + "\n");
    lines.collect()
}

/// A line wrapped between words.
fn wrap(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut is_empty = true;
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if !is_empty && columns(line) + 1 + columns(word) > width {
            lines.push(format!("{indent}{word}"));
        } else {
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
        }
        is_empty = false;
    }
    lines
}

/// A cell's lines. What would steer a terminal is shown here already, as that makes it wider.
fn lines_of(text: &str) -> Vec<String> {
    let text: Cow<'_, str> = harmless(text);
    text.split('\n').map(|line| line.replace('\t', " ")).collect()
}

/// How many columns of the terminal a text takes.
fn columns(text: &str) -> usize {
    text.width()
}
