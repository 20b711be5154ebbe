//! The forms in which a table is written: a grid, or a figure a line.

use super::{Kind, Row, Table, columns, wrap};

/// Between columns.
const GAP: usize = 1;
/// Words wrap no narrower than this, if they are that wide.
const LEAST_WORDS: usize = 10;
/// Of a figure's line below whose it is, and of what it goes on with.
const INDENT: &str = "  ";
const INDENT_ON: &str = "      ";
const INDENT_KEY: &str = "    ";

impl Table {
    /// The least width of a grid of these columns.
    pub(super) fn least_width(&self, shown: &[usize]) -> usize {
        let all: usize = shown.iter().map(|index| self.least(*index)).sum();
        all + GAP * shown.len().saturating_sub(1)
    }

    /// A column's width where nothing wraps.
    fn natural(&self, index: usize) -> usize {
        self.lines(index).map(columns).max().unwrap_or(0)
    }

    /// A column's least width: that of its name and, where it may wrap, of its longest word.
    fn least(&self, index: usize) -> usize {
        let natural = self.natural(index);
        if self.columns[index].kind == Kind::Figure {
            return natural;
        }
        let longest = self.lines(index).flat_map(|line| line.split(' ')).map(columns).max();
        let name = self.columns[index].name.iter().map(|line| columns(line)).max();
        longest.max(name).unwrap_or(0).max(LEAST_WORDS.min(natural))
    }

    fn lines(&self, index: usize) -> impl Iterator<Item = &str> {
        let name = self.columns[index].name.iter();
        let cells = self.rows.iter().flat_map(move |row| match row {
            Row::Cells(cells) => cells[index].as_slice(),
            Row::Section(_) => &[],
        });
        name.chain(cells).map(String::as_str)
    }

    /// The widths of these columns in a grid: the widest that may wrap give way.
    fn widths(&self, shown: &[usize], width: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = shown.iter().map(|index| self.natural(*index)).collect();
        let least: Vec<usize> = shown.iter().map(|index| self.least(*index)).collect();
        let gaps = GAP * shown.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width {
            let wide = (0..widths.len()).filter(|place| widths[*place] > least[*place]);
            let Some(widest) = wide.max_by_key(|place| widths[*place]) else { break };
            widths[widest] -= 1;
        }
        widths
    }

    /// The columns as a grid.
    pub(super) fn grid(&self, shown: &[usize], width: usize) -> String {
        let widths = self.widths(shown, width);
        let whole: usize = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let rule = |of: &str| {
            let parts: Vec<String> = widths.iter().map(|width| of.repeat(*width)).collect();
            parts.join(&" ".repeat(GAP)) + "\n"
        };
        let names: Vec<Vec<String>> = shown.iter().map(|index| self.columns[*index].name.clone()).collect();
        let mut text = rule("─") + &self.grid_row(shown, &widths, &names) + &rule("═");
        let rows: Vec<(&Row, String)> =
            self.rows.iter().map(|row| (row, self.row_text(row, shown, &widths))).collect();
        // Where rows have several lines, nobody could tell where one ends.
        let is_cells = |row: &Row| matches!(row, Row::Cells(_));
        let is_ruled = rows.iter().any(|(row, words)| is_cells(row) && words.lines().count() > 1);
        let mut is_after_cells = false;
        for (row, words) in rows {
            match row {
                Row::Section(title) => text += &section(title, whole),
                Row::Cells(_) => {
                    if is_ruled && is_after_cells {
                        text += &rule("─");
                    }
                    text += &words;
                }
            }
            is_after_cells = is_cells(row);
        }
        if is_ruled {
            text += &rule("─");
        }
        text
    }

    fn row_text(&self, row: &Row, shown: &[usize], widths: &[usize]) -> String {
        match row {
            Row::Section(_) => String::new(),
            Row::Cells(cells) => {
                let cells: Vec<Vec<String>> = shown.iter().map(|index| cells[*index].clone()).collect();
                self.grid_row(shown, widths, &cells)
            }
        }
    }

    fn grid_row(&self, shown: &[usize], widths: &[usize], cells: &[Vec<String>]) -> String {
        let wrapped: Vec<Vec<String>> = cells
            .iter()
            .zip(widths)
            .map(|(lines, width)| lines.iter().flat_map(|line| wrap(line, *width, "")).collect())
            .collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
        let mut text = String::new();
        for place in 0..height {
            let mut line = String::new();
            for ((index, width), cell) in shown.iter().zip(widths).zip(&wrapped) {
                let words = cell.get(place).map_or("", String::as_str);
                let blanks = " ".repeat(width.saturating_sub(columns(words)));
                let is_figure = self.columns[*index].kind == Kind::Figure;
                let (before, after) = if is_figure { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
                line = line + before + words + after + &" ".repeat(GAP);
            }
            text = text + line.trim_end() + "\n";
        }
        text
    }

    /// Each figure on a line with its name, below whose it is.
    pub(super) fn figure_a_line(&self, keys: &[usize], others: &[usize], width: usize) -> String {
        let rule = "─".repeat(width.min(self.widest_line(keys, others))) + "\n";
        let mut text = rule.clone();
        for row in &self.rows {
            let cells = match row {
                Row::Section(title) => {
                    text += &section(title, columns(rule.trim_end()));
                    continue;
                }
                Row::Cells(cells) => cells,
            };
            let said = |index: usize| {
                let lines: Vec<&str> =
                    cells[index].iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
                lines.join(", ")
            };
            let whose: Vec<String> = keys.iter().map(|index| said(*index)).collect();
            push(&mut text, &whose.join(", "), width, INDENT_KEY);
            for index in others {
                let words = said(*index);
                if !words.is_empty() {
                    let line = format!("{INDENT}{}: {words}", self.columns[*index].name.join(" "));
                    push(&mut text, &line, width, INDENT_ON);
                }
            }
        }
        text + &rule
    }

    fn widest_line(&self, keys: &[usize], others: &[usize]) -> usize {
        let name = |index: &usize| columns(&self.columns[*index].name.join(" "));
        let figures = others.iter().map(|index| INDENT.len() + name(index) + 2 + self.natural(*index));
        figures.chain(keys.iter().map(|index| self.natural(*index))).max().unwrap_or(0)
    }
}

/// A title within a line.
fn section(title: &str, width: usize) -> String {
    let mut text = String::new();
    let mut lines = wrap(title, width.saturating_sub(6).max(1), "");
    let last = lines.pop().unwrap_or_default();
    for line in lines {
        text = text + "── " + &line + "\n";
    }
    let rest = width.saturating_sub(columns(&last) + 4).max(2);
    text + "── " + &last + " " + &"─".repeat(rest) + "\n"
}

fn push(text: &mut String, line: &str, width: usize, indent: &str) {
    // What a line begins with is no word.
    let start = line.len() - line.trim_start().len();
    let (blanks, words) = line.split_at(start);
    let mut lines = wrap(words, width.saturating_sub(start), indent);
    if let Some(first) = lines.first_mut() {
        first.insert_str(0, blanks);
    }
    *text += &(lines.join("\n") + "\n");
}
