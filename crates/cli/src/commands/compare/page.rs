//! A comparison as people read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dunlin_analysis::{Comparison, Figure, FigureComparison, Sample, Verdict};
use dunlin_record::Flag;
use dunlin_report::{Table, flag_words, number, reading, wrapped};

use super::condition::{Judgement, lack_words};
use super::knows_drift;
use super::sides::{ChangedBetween, Compared, Sides, listed};
use super::suggestion::Suggestion;

const ABSENT: &str = "–";

/// The table, what it rests on, what the conditions say and what to do next, in lines of at most `width` columns.
pub(super) fn text(
    sides: &Sides,
    compared: &Compared,
    judged: &[Judgement],
    suggestion: &Suggestion,
    width: Option<u16>,
) -> String {
    let comparison = &compared.comparison;
    let a = listed(&sides.paths_of_a());
    let head = match sides.baseline() {
        None => format!("A: {a}\nB: {}", listed(&sides.paths_of_b())),
        Some(title) => format!("A: {title:?} of {a}\nB: each other case of it"),
    };
    let mut notes = legend(sides, comparison);
    notes += &summary(comparison);
    notes += &flag_legend(comparison);
    notes += &lacking(comparison);
    notes += &why_lacking(&compared.lacks);
    notes += &differences(&compared.changed);
    for judgement in judged {
        notes += &condition(judgement);
    }
    let mut text = [wrapped(&head, width, "  "), "\n".into(), grid(comparison, width), "\n".into()].concat();
    text += &wrapped(notes.trim_end(), width, "  ");
    if let Some(words) = &suggestion.words {
        text += &wrapped(&format!("\n{words}"), width, "  ");
        // A command that is wrapped can no longer be copied.
        suggestion.commands.iter().for_each(|command| text += &format!("  {command}\n"));
    }
    text
}

fn grid(comparison: &Comparison, width: Option<u16>) -> String {
    let knows_drift = knows_drift(comparison);
    let mut table = Table::new().key("figure").figure("A").figure("B").figure("change");
    if knows_drift {
        table = table.figure("drift");
    }
    table = table.words("interval").words("verdict").words("flags");
    for case in &comparison.cases {
        table.section(&case.title);
        for figure in &case.figures {
            let mut cells = vec![
                name(figure.figure).to_owned(),
                sample(figure, &figure.a),
                sample(figure, &figure.b),
                change_words(figure),
            ];
            if knows_drift {
                cells.push(drift_words(figure));
            }
            cells.extend([interval_words(figure), verdict_words(figure), flags(figure)]);
            table.row(cells);
        }
    }
    table.text(width)
}

/// The name in the record; bytes are shown as megabytes.
fn name(figure: Figure) -> &'static str {
    if figure == Figure::WireBytes { "wire_bytes.source_tx (MB)" } else { figure.name() }
}

fn sample(figure: &FigureComparison, sample: &Sample) -> String {
    let Some(bounds) = sample.bounds() else { return ABSENT.into() };
    let Some(median) = sample.median else {
        return told_by(reading(bounds), sample);
    };
    if let Some(completed) = sample.completed {
        return format!("{completed}/{}", sample.trials);
    }
    let median = if figure.figure == Figure::WireBytes { median / 1e6 } else { median };
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

fn drift_words(figure: &FigureComparison) -> String {
    // Without a change in percent the drift is none either.
    let drift = figure.drift.filter(|_| figure.change.is_some());
    drift.map_or_else(|| ABSENT.into(), |drift| format!("±{:.1}{}", drift * 100.0, unit(figure.figure)))
}

pub(super) fn interval_words(figure: &FigureComparison) -> String {
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

/// As in `not enough data, ~4 more`.
fn verdict_words(figure: &FigureComparison) -> String {
    let word = word(figure.verdict);
    match (figure.more_runs, figure.more_trials) {
        _ if figure.verdict == Verdict::NotEnoughData && is_bound(figure) => "cannot tell".into(),
        (Some(more), _) => format!("{word}, ~{more} more runs"),
        (None, Some(more)) => format!("{word}, ~{more} more"),
        (None, None) => word.into(),
    }
}

/// The same where it stands alone: as in `cannot tell: A ≤ 40.0, B ≤ 2.00`.
pub(super) fn undecided_words(figure: &FigureComparison) -> String {
    let words = verdict_words(figure);
    if !is_bound(figure) {
        return words;
    }
    let side = |sample: &Sample| sample.bounds().map_or_else(|| ABSENT.into(), reading);
    format!("{words}: A {}, B {}", side(&figure.a), side(&figure.b))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NoDifference => "no difference",
        Verdict::SeemsBetter => "seems better",
        Verdict::SeemsWorse => "seems worse",
        Verdict::SeemsTheSame => "seems the same",
        Verdict::NotEnoughData => "not enough data",
    }
}

/// The letters of either side's flags, as in `E`, or `A E, B SE` where they differ.
fn flags(figure: &FigureComparison) -> String {
    let letters =
        |flags: &BTreeMap<Flag, usize>| flags.keys().map(|flag| flag_words(*flag).letter).collect::<String>();
    let (a, b) = (letters(&figure.a.flags), letters(&figure.b.flags));
    if a == b {
        return a;
    }
    let side = |name: &str, letters: String| (!letters.is_empty()).then(|| format!("{name} {letters}"));
    [side("A", a), side("B", b)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn legend(sides: &Sides, comparison: &Comparison) -> String {
    let several = knows_drift(comparison);
    let mut text = String::from("Figures are medians over completed trials");
    text += if several { ", of several runs the mean of theirs; " } else { "; " };
    text += "below a figure, how many of the trials tell it, if not all. The interval is the 95 % one of the change, each \
             figure by itself; fewer than 6 values a side have none.\n";
    if several {
        text += "Drift is the standard deviation between runs of one side: a change must stand out of it.\n";
    }
    let figures = || comparison.cases.iter().flat_map(|case| &case.figures);
    if sides.are_single_runs() {
        text += "\"Seems\": with one run a side, drift between runs cannot be told from change.\n";
    } else if figures().any(|figure| figure.verdict.only_seems()) {
        text += "\"Seems\": where figures are bounds, a case is in one run a side or on another link, drift cannot be told from \
                 change.\n";
    }
    text
}

fn summary(comparison: &Comparison) -> String {
    let figures = || comparison.cases.iter().flat_map(|case| &case.figures);
    let always = [Verdict::Worse, Verdict::Better, Verdict::NoDifference, Verdict::NotEnoughData];
    let seems = [Verdict::SeemsWorse, Verdict::SeemsBetter, Verdict::SeemsTheSame];
    let count = |verdict: Verdict| figures().filter(|figure| figure.verdict == verdict).count();
    let is_shown = |verdict: &Verdict| always.contains(verdict) || count(*verdict) > 0;
    let all = always[..3].iter().chain(&seems).chain(&always[3..]).copied();
    let counts: Vec<String> =
        all.filter(is_shown).map(|verdict| format!("{} {}", count(verdict), word(verdict))).collect();
    let mut text = format!("\n{}\n", counts.join(", "));
    if figures().any(|figure| figure.more_trials.is_some()) {
        text += "~N more: roughly how many more trials each run would need.\n";
    }
    if figures().any(|figure| figure.more_runs.is_some()) {
        text += "~N more runs: roughly how many more runs of each side it would take.\n";
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

fn flag_legend(comparison: &Comparison) -> String {
    let figures = comparison.cases.iter().flat_map(|case| &case.figures);
    let met: BTreeSet<Flag> =
        figures.flat_map(|figure| figure.a.flags.keys().chain(figure.b.flags.keys()).copied()).collect();
    let line = |flag: Flag| {
        let words = flag_words(flag);
        format!("{} {}: {}\n", words.letter, words.name, words.meaning)
    };
    met.into_iter().map(line).collect()
}

/// What a side does not have, and so cannot be compared.
fn lacking(comparison: &Comparison) -> String {
    let mut text = String::new();
    let known = |title: &String| comparison.lacking.iter().any(|lack| lack.case == *title);
    for (cases, side) in [(&comparison.only_in_a, "A"), (&comparison.only_in_b, "B")] {
        let unknown: Vec<&str> = cases.iter().filter(|title| !known(title)).map(String::as_str).collect();
        if !unknown.is_empty() {
            let _ = writeln!(text, "only in {side}: {}", unknown.join(", "));
        }
    }
    for lack in &comparison.lacking {
        let _ = writeln!(text, "lacking: {}: {}", lack.case, lack_words(lack));
    }
    if comparison.cancelled_trials > 0 {
        let _ = writeln!(text, "left out: trials that were cancelled ({})", comparison.cancelled_trials);
    }
    text
}

/// As in `warning: not the same in before and after: vm.memory_mib 512 / 1024 (idle, dirty 16)`.
fn differences(changed: &[ChangedBetween]) -> String {
    let mut text = String::new();
    for ChangedBetween { before, after, settings } in changed {
        let mut by_setting: Vec<(String, Vec<&str>)> = Vec::new();
        for one in settings {
            let word =
                |value: &Option<serde_json::Value>| value.as_ref().map_or(ABSENT.into(), ToString::to_string);
            let words = format!("{} {} / {}", one.setting, word(&one.a), word(&one.b));
            match by_setting.iter_mut().find(|(known, _)| *known == words) {
                Some((_, cases)) => cases.push(&one.case),
                None => by_setting.push((words, vec![&one.case])),
            }
        }
        for (words, cases) in by_setting {
            let _ = writeln!(
                text,
                "warning: not the same in {} and {}: {words} ({})",
                before.display(),
                after.display(),
                cases.join(", ")
            );
        }
    }
    text
}

/// Why trials lack figures, by side.
fn why_lacking(lacks: &[(&'static str, Vec<String>)]) -> String {
    let mut text = String::new();
    for (side, lines) in lacks {
        for line in lines {
            let _ = writeln!(text, "figures lacking in {side}: {line}");
        }
    }
    text
}

fn condition(judgement: &Judgement) -> String {
    let mut text = String::new();
    let condition = &judgement.condition.text;
    for (case, finding) in &judgement.findings {
        let words = match finding.parts() {
            ("violated", Some(why)) => format!("VIOLATED ({why})"),
            ("suspected", Some(why)) => format!("SEEMS VIOLATED ({why})"),
            ("not-measured", _) => "not measured".to_owned(),
            (kind, Some(why)) => format!("{kind} ({why})"),
            (kind, None) => kind.to_owned(),
        };
        let _ = writeln!(text, "{condition}: {case}: {words}");
    }
    text
}
