//! Tables and paragraphs of the terminal, as wide as it is.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

/// Below this many columns the figures cannot stand whole; they then wrap as well as they can.
const LEAST_WIDTH: u16 = 90;

/// A table, of which the columns from `first_figure` on hold figures. Wraps at `width` columns.
pub(crate) fn grid(
    header: Vec<String>,
    rows: impl Iterator<Item = Vec<String>>,
    first_figure: usize,
    width: Option<u16>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(header.into_iter().map(Cell::new_owned));
    for row in rows {
        table.add_row(row.into_iter().map(Cell::new_owned));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        // The style has a blank between columns already: eleven of them have to fit into 100.
        column.set_padding((0, 0));
        if index >= first_figure {
            column.set_cell_alignment(CellAlignment::Right);
            if width.is_none_or(|width| width >= LEAST_WIDTH) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }
    table.trim_fmt()
}

/// The text in lines of at most `width` columns, all but the first indented.
pub(crate) fn wrapped(text: &str, width: Option<u16>, indent: &str) -> String {
    let width = width.map_or(usize::MAX, usize::from);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(indent.to_owned());
        }
        let Some(line) = lines.last_mut() else { continue };
        if !line.trim().is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_wraps_between_words_and_indents_what_follows() {
        assert_eq!(wrapped("one two three", Some(8), "  "), "one two\n  three\n");
        assert_eq!(wrapped("one two three", None, "  "), "one two three\n");
        assert_eq!(wrapped("verylongword x", Some(4), ""), "verylongword\nx\n");
    }
}
