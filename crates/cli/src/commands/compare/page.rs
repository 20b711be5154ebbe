//! A comparison as people read it.

use std::fmt::Write as _;

use dunlin_analysis::{ChangedSetting, Comparison, Figure, FigureComparison, Sample, Verdict};
use dunlin_report::{Table, number, wrapped};

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
    let head = match args.against() {
        Against::Run(b) => format!("A: {a}\nB: {}\n\n", b.display()),
        Against::OwnCase(title) => format!("A: {title:?} of {a}\nB: each other case of it\n\n"),
    };
    let mut text = String::from(
        "Figures are medians over completed trials; below a figure, how many of the trials tell it, if not all. \
             The interval is the 95 % one of the change, each figure by itself.\n",
    );
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
    let head = wrapped(head.trim_end(), width, "  ");
    format!("{head}\n{}\n{}", grid(comparison, width), wrapped(text.trim_end(), width, "  "))
}

fn grid(comparison: &Comparison, width: Option<u16>) -> String {
    let mut table = Table::new()
        .key("figure")
        .figure("A")
        .figure("B")
        .figure("change")
        .words("interval")
        .words("verdict");
    for case in &comparison.cases {
        table.section(&case.title);
        for figure in &case.figures {
            table.row([
                name(figure.figure).to_owned(),
                sample(figure, &figure.a),
                sample(figure, &figure.b),
                change_words(figure),
                interval_words(figure),
                verdict_words(figure),
            ]);
        }
    }
    table.text(width)
}

/// The name in the record; bytes are shown as megabytes.
fn name(figure: Figure) -> &'static str {
    if figure == Figure::WireBytes { "wire_bytes.source_tx (MB)" } else { figure.name() }
}

fn sample(figure: &FigureComparison, sample: &Sample) -> String {
    let Some(median) = sample.median else { return ABSENT.into() };
    let median = match figure.figure {
        Figure::Completed => {
            return format!("{:.0}/{}", median * sample.trials as f64, sample.trials);
        }
        Figure::WireBytes => median / 1e6,
        _ => median,
    };
    if sample.values == sample.trials {
        number(median)
    } else {
        format!("{}\n{}/{}", number(median), sample.values, sample.trials)
    }
}

/// As in `+12.3 %`; of completion in percent of all trials.
pub(super) fn change_words(figure: &FigureComparison) -> String {
    match figure.change {
        Some(change) => percent(change) + unit(figure.figure),
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
