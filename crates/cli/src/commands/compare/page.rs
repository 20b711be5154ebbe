//! A comparison as people read it.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use dunlin_analysis::{
    CaseComparison, ChangedSetting, Comparison, Figure, FigureComparison, Sample, Verdict,
};
use dunlin_report::{number, reading};

use super::condition::Finding;
use super::{Against, Args, Judgement};

const ABSENT: &str = "–";

/// The table, what it rests on, and what the conditions say.
pub(super) fn text(
    args: &Args,
    comparison: &Comparison,
    changed: &[ChangedSetting],
    judged: &[Judgement],
    width: Option<u16>,
) -> String {
    let a = args.a.display();
    let mut text = match args.against() {
        Against::Run(b) => format!("A: {a}\nB: {}\n\n", b.display()),
        Against::OwnCase(title) => format!("A: {title:?} of {a}\nB: each other case of it\n\n"),
    };
    text += &grid(comparison, width);
    text += "\n\nFigures are medians over completed trials; below a figure, how many of the trials tell it, if not all. \
             The interval is the 95 % one of the change, each figure by itself.\n";
    text += &summary(comparison);
    for (cases, run) in [(&comparison.only_in_a, "A"), (&comparison.only_in_b, "B")] {
        if !cases.is_empty() {
            let _ = writeln!(text, "only in {run}: {}", cases.join(", "));
        }
    }
    if comparison.cancelled_trials > 0 {
        let _ = writeln!(text, "left out: trials that were cancelled ({})", comparison.cancelled_trials);
    }
    text += &differences(changed);
    for judgement in judged {
        text += &condition(judgement);
    }
    text
}

fn grid(comparison: &Comparison, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(["case", "figure", "A", "B", "change", "interval", "verdict"]);
    for case in &comparison.cases {
        table.add_row(row(case));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 0));
        if (2..6).contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// A case is one row whose cells have a line a figure, so that cases stand apart.
fn row(case: &CaseComparison) -> Vec<String> {
    let column = |words: &dyn Fn(&FigureComparison) -> String| {
        // A side that lacks values has a second line, which every column must leave room for.
        let cells = case.figures.iter().map(|figure| {
            let second_line = if is_incomplete(figure) && !words(figure).contains('\n') { "\n" } else { "" };
            words(figure) + second_line
        });
        cells.collect::<Vec<_>>().join("\n")
    };
    vec![
        case.title.clone(),
        column(&|figure| name(figure.figure).to_owned()),
        column(&|figure| sample(figure, &figure.a)),
        column(&|figure| sample(figure, &figure.b)),
        column(&change_words),
        column(&interval_words),
        column(&verdict_words),
    ]
}

/// The name in the record; bytes are shown as megabytes.
fn name(figure: Figure) -> &'static str {
    if figure == Figure::WireBytes { "wire_bytes.source_tx (MB)" } else { figure.name() }
}

fn is_incomplete(figure: &FigureComparison) -> bool {
    [&figure.a, &figure.b].into_iter().any(|sample| sample.values < sample.trials)
}

fn sample(figure: &FigureComparison, sample: &Sample) -> String {
    let Some(bounds) = sample.bounds() else { return ABSENT.into() };
    let Some(median) = sample.median else {
        return told_by(reading(bounds), sample);
    };
    let median = match figure.figure {
        Figure::Completed => {
            return format!("{:.0}/{}", median * sample.trials as f64, sample.trials);
        }
        Figure::WireBytes => median / 1e6,
        _ => median,
    };
    told_by(number(median), sample)
}

/// With how many of the trials tell it, if not all.
fn told_by(figure: String, sample: &Sample) -> String {
    if sample.values == sample.trials {
        figure
    } else {
        format!("{figure}\n{}/{}", sample.values, sample.trials)
    }
}

/// As in `+12.3 %`; of completion in percent of all trials.
pub(super) fn change_words(figure: &FigureComparison) -> String {
    match figure.change {
        Some(change) => percent(change) + unit(figure.figure),
        None if is_bound(figure) => match figure.change_at_least {
            Some(change) => format!("at least {}{}", percent(change), unit(figure.figure)),
            None => "a bound".into(),
        },
        None if figure.a.median == Some(0.0) && figure.b.median.is_some() => "from 0".into(),
        None => ABSENT.into(),
    }
}

fn interval_words(figure: &FigureComparison) -> String {
    figure.interval.map_or_else(
        || ABSENT.into(),
        |interval| format!("{} … {}{}", percent(interval.low), percent(interval.high), unit(figure.figure)),
    )
}

fn is_bound(figure: &FigureComparison) -> bool {
    figure.a.is_bound() || figure.b.is_bound()
}

fn unit(figure: Figure) -> &'static str {
    if figure == Figure::Completed { " points" } else { " %" }
}

fn percent(share: f64) -> String {
    // Adding 0 keeps what rounds to nothing from being "-0.0".
    format!("{:+.1}", (share * 1000.0).round() / 10.0 + 0.0)
}

/// As in `not enough data: 4 more trials a side?`.
pub(super) fn verdict_words(figure: &FigureComparison) -> String {
    match (figure.verdict, figure.more_trials) {
        (Verdict::NotEnoughData, _) if is_bound(figure) => "cannot tell".into(),
        (Verdict::NotEnoughData, Some(more)) => format!("{}, ~{more} more", word(figure.verdict)),
        (verdict, _) => word(verdict).into(),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NoDifference => "no difference",
        Verdict::NotEnoughData => "not enough data",
    }
}

fn summary(comparison: &Comparison) -> String {
    let figures = || comparison.cases.iter().flat_map(|case| &case.figures);
    let all = [Verdict::Worse, Verdict::Better, Verdict::NoDifference, Verdict::NotEnoughData];
    let counts = all.map(|verdict| {
        let amount = figures().filter(|figure| figure.verdict == verdict).count();
        format!("{amount} {}", word(verdict))
    });
    let mut text = format!("\n{}\n", counts.join(", "));
    if figures().any(|figure| figure.more_trials.is_some()) {
        text += "~N more: roughly how many more trials each run would need.\n";
    }
    if figures().any(is_bound) {
        text += "≤ and ≥ are bounds: no more is known of a median. Where they touch the other side no number of trials tells a \
                 change; a probe that is answered more evenly, or asks more often, does.\n";
    }
    let outliers: usize = figures().map(|figure| figure.a.outliers + figure.b.outliers).sum();
    if outliers > 0 {
        let _ = writeln!(
            text,
            "outliers: {outliers} values lie further than three deviations from their median; they count like the others"
        );
    }
    text
}

/// As in `warning: not the same in A and B: vm.memory_mib 512 / 1024 (idle, dirty 16)`.
fn differences(changed: &[ChangedSetting]) -> String {
    let mut by_setting: Vec<(String, Vec<&str>)> = Vec::new();
    for one in changed {
        let word =
            |value: &Option<serde_json::Value>| value.as_ref().map_or(ABSENT.into(), ToString::to_string);
        let words = format!("{} {} / {}", one.setting, word(&one.a), word(&one.b));
        match by_setting.iter_mut().find(|(known, _)| *known == words) {
            Some((_, cases)) => cases.push(&one.case),
            None => by_setting.push((words, vec![&one.case])),
        }
    }
    let mut text = String::new();
    for (words, cases) in by_setting {
        let _ = writeln!(text, "warning: not the same in A and B: {words} ({})", cases.join(", "));
    }
    text
}

/// Why trials lack figures, by side.
pub(super) fn lacking(lacks: &[(&'static str, Vec<String>)]) -> String {
    let mut text = String::new();
    for (side, lines) in lacks {
        for line in lines {
            let _ = writeln!(text, "lacking in {side}: {line}");
        }
    }
    text
}

fn condition(judgement: &Judgement) -> String {
    let mut text = String::new();
    let condition = &judgement.condition.text;
    for (case, finding) in &judgement.findings {
        let words = match finding {
            Finding::Holds => "holds".to_owned(),
            Finding::Violated(why) => format!("VIOLATED ({why})"),
            Finding::Undecided(why) => format!("undecided ({why})"),
            Finding::NotMeasured => "not measured".to_owned(),
        };
        let _ = writeln!(text, "{condition}: {case}: {words}");
    }
    text
}
