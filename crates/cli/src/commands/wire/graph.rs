//! The IO graph on the terminal: bytes over time as bars, with the file's comments below.

use std::fmt::Write as _;

use dunlin_record::{Conversation, WireAccount, WireMark};
use dunlin_report::number;

/// Where standard output is no terminal.
const USUAL_WIDTH: usize = 100;
const HEIGHT: usize = 8;
/// Eighths of a line.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Room for the axis: the greatest rate and a line.
const AXIS: usize = 10;
/// More letters than that nobody tells apart.
const MOST_MARKS: usize = 26;
/// A comment whose time is further from the packets is of no moment of theirs. dumpcap stamps its counters in microseconds
/// whatever the interface's resolution, so they lie decades off.
const MOST_OUTSIDE_MS: f64 = 86_400_000.0;

/// All packets of a file.
pub(super) fn of_file(account: &WireAccount, width: Option<u16>) -> String {
    let graph = &account.graph;
    let ticks = graph.tick.iter().copied().zip(graph.wire_bytes.iter().copied());
    plot(graph.tick_ms, ticks, account, width)
}

/// Both directions of a conversation.
pub(super) fn of_conversation(
    account: &WireAccount,
    conversation: &Conversation,
    width: Option<u16>,
) -> String {
    let graph = &conversation.graph;
    let both = graph.a_wire_bytes.iter().zip(&graph.b_wire_bytes).map(|(a, b)| a + b);
    plot(graph.tick_ms, graph.tick.iter().copied().zip(both), account, width)
}

fn plot(
    tick_ms: f64,
    ticks: impl Iterator<Item = (i64, u64)> + Clone,
    account: &WireAccount,
    width: Option<u16>,
) -> String {
    let (Some(first), Some(last)) =
        (ticks.clone().map(|(tick, _)| tick).min(), ticks.clone().map(|(tick, _)| tick).max())
    else {
        return String::new();
    };
    let room = width.map_or(USUAL_WIDTH, usize::from).saturating_sub(AXIS).max(20);
    // Each column stands for the same number of ticks, so that columns can be compared.
    let ticks_a_column = (last - first + 1).cast_unsigned().div_ceil(room as u64).max(1);
    let columns = (last - first + 1).cast_unsigned().div_ceil(ticks_a_column) as usize;
    let mut bytes = vec![0_u64; columns];
    for (tick, amount) in ticks {
        bytes[((tick - first).cast_unsigned() / ticks_a_column) as usize] += amount;
    }
    let column_ms = tick_ms * ticks_a_column as f64;
    let mbit_s: Vec<f64> = bytes.iter().map(|bytes| *bytes as f64 * 8.0 / 1000.0 / column_ms).collect();
    let start_ms = first as f64 * tick_ms;
    let mut text = format!("Mbit/s on the wire, a column is {} ms", number(column_ms));
    if ticks_a_column > 1 {
        let _ = write!(text, " ({ticks_a_column} ticks)");
    }
    text.push('\n');
    text += &bars(&mbit_s);
    text += &axis(start_ms, start_ms + column_ms * columns as f64, columns);
    text + &marks(&account.marks, start_ms, column_ms, columns)
}

fn bars(values: &[f64]) -> String {
    let greatest = values.iter().copied().fold(0.0, f64::max);
    let eighths: Vec<usize> = values
        .iter()
        .map(|value| {
            let height = if greatest > 0.0 { value / greatest * (HEIGHT * 8) as f64 } else { 0.0 };
            // What is there is seen, however little.
            if *value > 0.0 { (height.round() as usize).max(1) } else { 0 }
        })
        .collect();
    let mut text = String::new();
    for line in (0..HEIGHT).rev() {
        let label = if line + 1 == HEIGHT { number(greatest) } else { String::new() };
        let bars: String =
            eighths.iter().map(|eighths| BARS[eighths.saturating_sub(line * 8).min(8)]).collect();
        let _ = writeln!(text, "{label:>8} │{}", bars.trim_end());
    }
    text
}

fn axis(start_ms: f64, end_ms: f64, columns: usize) -> String {
    let (start, end) = (number(start_ms), format!("{} ms", number(end_ms)));
    let gap = (columns + 1).saturating_sub(start.chars().count() + end.chars().count()).max(1);
    format!("{:>8} └{}\n{:>9}{start}{:gap$}{end}\n", "0", "─".repeat(columns), "", "")
}

/// A letter below the column of each comment, and what the letters say. What was before the first packet or after the last
/// has the first or last column.
fn marks(marks: &[WireMark], start_ms: f64, column_ms: f64, columns: usize) -> String {
    let mut line = vec![' '; columns];
    let mut legend = String::new();
    let (first, last) = (start_ms - MOST_OUTSIDE_MS, start_ms + column_ms * columns as f64 + MOST_OUTSIDE_MS);
    let told = marks.iter().filter(|mark| (first..=last).contains(&mark.at_ms));
    for (letter, mark) in ('a'..='z').zip(told.clone()) {
        let column = ((mark.at_ms - start_ms) / column_ms).floor().max(0.0) as usize;
        if let Some(place) = line.get_mut(column.min(columns.saturating_sub(1))) {
            *place = letter;
        }
        let _ = writeln!(legend, "{letter} {:>9} ms  {}", number(mark.at_ms), one_line(&mark.text));
    }
    if legend.is_empty() {
        return legend;
    }
    let more = told.count().saturating_sub(MOST_MARKS);
    if more > 0 {
        let _ = writeln!(legend, "and {more} more comments: --json has them all");
    }
    let line: String = line.into_iter().collect();
    format!("{:>10}{}\n{legend}", "", line.trim_end())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use dunlin_record::WireGraph;

    use super::*;

    fn account(tick: Vec<i64>, wire_bytes: Vec<u64>) -> WireAccount {
        let packets = vec![1; tick.len()];
        WireAccount {
            graph: WireGraph { tick_ms: 10.0, tick, packets, wire_bytes },
            ..WireAccount::default()
        }
    }

    #[test]
    fn bytes_are_bars_with_the_comments_below() {
        let mut account = account((0..20).collect(), (0..20).map(|tick| tick * 1000).collect());
        let mark = |at_ms, text: &str| WireMark { at_ms, text: text.into() };
        account.marks = vec![mark(0.0, "setup"), mark(105.0, "pass 1\nof many"), mark(999.0, "outside")];
        insta::assert_snapshot!(of_file(&account, Some(60)));
    }

    #[test]
    fn many_ticks_share_a_column_and_gaps_are_empty() {
        let account = account(vec![0, 1, 99], vec![10_000, 0, 1]);
        let text = of_file(&account, Some(60));
        assert!(text.starts_with("Mbit/s on the wire, a column is 20.0 ms (2 ticks)\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(text.contains(&format!("│█{}▁\n", " ".repeat(48))), "{text}");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(of_file(&account(vec![], vec![]), None), "");
    }
}
