//! `dunlin compare`: what changed from some runs to others, or from one case of a run to its others.

mod condition;
mod junit;
mod page;
mod power;
mod sides;
mod suggestion;

use std::collections::BTreeMap;
use std::path::PathBuf;

use dunlin_analysis::{CompareOptions, Comparison};

use crate::failure::{Exit, Failure, Result};
use crate::terminal;
use condition::{Condition, Finding, Judgement, judge};
use sides::{Compared, Sides};
use suggestion::Suggestion;

/// Say what changed from some runs to others, and whether that can be told from chance and drift.
///
/// Cases are matched by name and dials; with --baseline, one run's cases are held against one of them. A change is called
/// better or worse only where it is at least 5 % (or the least limit of --fail-if, if smaller), stands out of chance and of
/// the drift between runs, corrected for all figures of the table: of 100 comparisons without any change, at most 5 show
/// one. "No difference" means that a change of that size is ruled out, for which it takes 6 values a side (of fewer, not even
/// the widest interval holds the median with 95 %); all else is "not enough data".
///
/// Runs of the same thing drift apart, which a single run does not show. So of one run a side all that is said is that B
/// "seems" better, worse or the same. Several runs of a side tell the drift: `dunlin compare A1 A2 A3 -- B1 B2 B3`. The
/// cases of one run, held against one of them by --baseline, were made in turn and share it.
///
/// Settings in which equally named cases differ are named, as are cases that a side lacks and the flags of either side.
#[derive(clap::Args)]
#[command(
    override_usage = "dunlin compare [OPTIONS] <A> <B>\n       dunlin compare [OPTIONS] <A>... -- <B>...\n       dunlin compare [OPTIONS] <A> --baseline <CASE>\n       dunlin compare [OPTIONS] --power <RUN>..."
)]
pub(crate) struct Args {
    /// The runs before: their folders; without `--`, the run before and the run after
    #[arg(required = true, value_name = "A")]
    runs: Vec<PathBuf>,
    /// The runs after: their folders
    #[arg(last = true, value_name = "B", conflicts_with_all = ["baseline", "power"])]
    after: Vec<PathBuf>,
    /// Hold every other case of A against its case of this title, as in "idle", instead of against another run
    #[arg(long, value_name = "CASE", conflicts_with = "power")]
    baseline: Option<String>,
    /// Say which change would be found with how many trials, or runs, as much as these runs vary
    ///
    /// The comparison itself is tried on tables drawn out of the recorded trials, one side of which is made worse. Of one run
    /// it is told by trials, drift left out; of several runs of the same scenario by runs a side, drift and all.
    #[arg(long, conflicts_with_all = ["fail_if", "junit"])]
    power: bool,
    /// End with exit code 8 if a figure got worse by more than a limit, as in "downtime_ms.icmp > 10%"
    ///
    /// The condition is violated by a case whose verdict on the figure is "worse" and whose median changed for the worse
    /// by more than the limit; also by a case that completes less often than before (verdict "worse" on "completed"),
    /// whatever the figure. Where the verdict is "seems worse", the exit code is 9. Not enough data is no violation, and is
    /// told, as are cases that a side lacks; see --require-decision. Figures: completed (its limit is in percent
    /// of all trials), total_time_ms, downtime_ms.reported, .paused, .icmp, .udp, .tcp, .http, wire_bytes.source_tx.
    #[arg(long, value_name = "FIGURE > N%")]
    fail_if: Vec<String>,
    /// End with exit code 10 if a condition of --fail-if could be decided for no case at all
    ///
    /// What only seems the same, as drift between runs is not known, is not decided: it takes several runs of a side.
    #[arg(long, requires = "fail_if")]
    require_decision: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Write a test case for each case and condition, as JUnit's XML
    #[arg(long, value_name = "FILE", requires = "fail_if")]
    junit: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result {
    if args.power {
        return power::run(&args.runs, args.json);
    }
    let conditions = args.fail_if.iter().map(|text| Condition::parse(text)).collect::<Result<Vec<_>, _>>();
    let conditions = conditions.map_err(|message| Failure::says(Exit::BadInput, message))?;
    let sides = Sides::of(args)?;
    let compared = sides.compare(&options(&conditions))?;
    let judged = judge(conditions, &compared.comparison)?;
    if let Some(file) = &args.junit {
        std::fs::write(file, junit::xml(&judged)).map_err(|error| {
            Failure::says(Exit::Failed, format!("cannot write {}: {error}", file.display()))
        })?;
    }
    let suggestion = Suggestion::of(&sides, &compared.comparison, &judged);
    if args.json {
        terminal::print_json(&json(&sides, &compared, &judged, &suggestion)?)?;
    } else {
        terminal::print(&page::text(&sides, &compared, &judged, &suggestion, terminal::width()))?;
    }
    verdict(args, &sides, &judged)
}

/// A change that a condition asks for must be one that can be told.
fn options(conditions: &[Condition]) -> CompareOptions {
    let standard = CompareOptions::default();
    let limits = conditions.iter().map(|condition| condition.limit);
    CompareOptions { least_change: limits.fold(standard.least_change, f64::min), ..standard }
}

/// The exit code, by what is gravest.
fn verdict(args: &Args, sides: &Sides, judged: &[Judgement]) -> Result {
    let complaints = |is_one: fn(&Finding) -> Option<&str>| -> Option<String> {
        let all: Vec<String> = judged.iter().filter_map(|judgement| judgement.complaint(is_one)).collect();
        (!all.is_empty()).then(|| all.join("\n       "))
    };
    if let Some(violated) = complaints(Finding::violated) {
        return Err(Failure::says(Exit::Violated, violated));
    }
    if let Some(suspected) = complaints(Finding::suspected) {
        let hint = if sides.are_single_runs() {
            "one run a side cannot tell a change from drift between runs: compare several of each"
        } else {
            "what only seems so rests on bounds, on one run a side or on cases of other links, which tell no drift"
        };
        return Err(Failure::says(Exit::Suspected, suspected).hint(hint));
    }
    let undecided: Vec<&str> = judged
        .iter()
        .filter(|judgement| judgement.is_undecided())
        .map(|judgement| judgement.condition.text.as_str())
        .collect();
    if undecided.is_empty() {
        return Ok(());
    }
    let message = format!("decided for no case: {}", undecided.join(", "));
    if args.require_decision {
        return Err(Failure::says(Exit::Undecided, message));
    }
    terminal::say(&format!("warning: {message}; that is a failure only with --require-decision"));
    Ok(())
}

fn json(sides: &Sides, compared: &Compared, judged: &[Judgement], suggestion: &Suggestion) -> Result<String> {
    let changed: Vec<serde_json::Value> = compared
        .changed
        .iter()
        .flat_map(|pair| {
            pair.settings.iter().map(|one| {
                let mut object = serde_json::json!(one);
                object["between"] = serde_json::json!([pair.before, pair.after]);
                object
            })
        })
        .collect();
    let mut document = serde_json::json!({
        "a": sides.paths_of_a(), "b": sides.paths_of_b(), "baseline": sides.baseline(), "changed_settings": changed,
        "comparison": compared.comparison, "conditions": judged.iter().map(Judgement::json).collect::<Vec<_>>(),
        "to_decide": suggestion.commands,
    });
    let lacks: BTreeMap<_, _> =
        compared.lacks.iter().filter(|(_, lines)| !lines.is_empty()).cloned().collect();
    if !lacks.is_empty() {
        document["lacks"] = serde_json::json!(lacks);
    }
    as_text(&document)
}

fn as_text(document: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(document)
        .map(|text| text + "\n")
        .map_err(|error| Failure::says(Exit::Failed, format!("cannot write the result as JSON: {error}")))
}

/// Whether a comparison knows of drift between runs.
fn knows_drift(comparison: &Comparison) -> bool {
    comparison.cases.iter().flat_map(|case| &case.figures).any(|figure| figure.drift.is_some())
}
