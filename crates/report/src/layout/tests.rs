use dunlin_test_support::{ReadBack, read_back};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[test]
fn text_wraps_between_words_and_indents_what_follows() {
    assert_eq!(wrapped("one two three", Some(8), "  "), "one two\n  three\n");
    assert_eq!(wrapped("one two three", None, "  "), "one two three\n");
    assert_eq!(wrapped("verylongword x", Some(4), ""), "verylongword\nx\n");
    assert_eq!(wrapped("one two\nthree", Some(5), " "), "one\n two\nthree\n");
}

fn example() -> Table {
    let mut table =
        Table::new().key("case\nstrategy").figure("total\nms").figure("downtime\nms").words("verdict");
    table.section("first");
    table.row(["idle\npre-copy", "706\n699–719", "126", "no difference"]);
    table.row(["dirty 16\nhybrid", "1402", "–", "not enough data, ~12 more"]);
    table.section("second");
    table.row(["idle\npre-copy", "1", "2", "worse"]);
    table
}

#[test]
fn a_table_gives_way_step_by_step() {
    let texts = [60, 45, 34, 20].map(|width| format!("{width}\n{}", example().text(Some(width))));
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn no_figure_stands_alone_below_all_the_others() {
    let mut table = Table::new().key("case").figure("aaaa").figure("bbbb").figure("cccc").figure("dddd");
    table.row(["x", "1", "2", "3", "4"]);
    let grids = |width| {
        let text = table.text(Some(width));
        let names = text.lines().filter(|line| line.starts_with("case"));
        names.map(|line| line.split_whitespace().count() - 1).collect::<Vec<_>>()
    };
    assert_eq!((grids(24), grids(23), grids(18)), (vec![4], vec![2, 2], vec![2, 2]));
}

#[test]
fn foreign_words_take_the_columns_that_they_are_shown_in() {
    let mut table = Table::new().key("case").figure("ms");
    table.row(["\u{1b}[2J日本", "1"]);
    table.row(["x\ty", "12"]);
    assert_eq!(
        table.text(None),
        "───────────── ──\ncase          ms\n═════════════ ══\n\\u{1b}[2J日本  1\nx y           12\n"
    );
}

/// A cell's words; each is unlike those of all other cells.
#[derive(Debug, Clone)]
struct Made {
    kinds: Vec<Kind>,
    keys: usize,
    rows: Vec<Vec<Vec<usize>>>,
    sections: Vec<bool>,
}

fn made() -> impl Strategy<Value = Made> {
    let column = prop_oneof![Just(Kind::Words), Just(Kind::Figure), Just(Kind::Figure)];
    (1..3_usize, vec(column, 1..12), 1..5_usize).prop_flat_map(|(keys, kinds, rows)| {
        // The lengths of a cell's words: 0 begins a line.
        let cell = vec(0..9_usize, 1..4);
        let all = keys + kinds.len();
        (vec(vec(cell, all), rows), vec(any::<bool>(), rows)).prop_map(move |(rows, sections)| Made {
            kinds: [vec![Kind::Key; keys], kinds.clone()].concat(),
            keys,
            rows,
            sections,
        })
    })
}

fn cell(row: usize, column: usize, lengths: &[usize]) -> String {
    let word = |(place, length): (usize, &usize)| {
        let parted = match (place, length) {
            (0, _) => "",
            (_, 0) => "\n",
            _ => " ",
        };
        format!("{parted}r{row}c{column}w{place}{}", "x".repeat(*length))
    };
    lengths.iter().enumerate().map(word).collect()
}

fn name(column: usize) -> String {
    format!("name{column}\n{}", "of".repeat(column % 4))
}

proptest! {
    // Each is written at every width.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_figure_is_read_back_beside_its_own_name_at_every_width(made in made()) {
        let columns = made.kinds.iter().enumerate();
        let mut table = columns.fold(Table::new(), |table, (index, kind)| table.column(*kind, &name(index)));
        let (mut expected, mut section) = (Vec::new(), String::new());
        for (row, cells) in made.rows.iter().enumerate() {
            if made.sections[row] {
                section = format!("title of {row}");
                table.section(&section);
            }
            let cells: Vec<String> = cells.iter().enumerate().map(|(column, lengths)| cell(row, column, lengths)).collect();
            let of = cells[..made.keys].join(" ");
            let figures = cells.iter().enumerate().skip(made.keys);
            expected.extend(figures.map(|(column, value)| ReadBack::new(&section, &of, &name(column), value)));
            table.row(&cells);
        }
        expected.sort();
        let longest = 24;
        for width in 8..160_u16 {
            let text = table.text(Some(width));
            let mut found = read_back(&text, made.keys);
            found.sort();
            prop_assert_eq!(&found, &expected, "at {} columns:\n{}", width, text);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            prop_assert!(widest <= usize::from(width).max(longest), "{} columns at {}:\n{}", widest, width, text);
        }
    }
}
