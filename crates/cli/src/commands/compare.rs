//! `dunlin compare`: what changed from one run to another, or from one case of a run to its others.

mod condition;
mod junit;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dunlin_analysis::{
    CaseComparison, ChangedSetting, CompareOptions, Comparison, changed_settings, compare,
    compare_to_baseline,
};

use super::report::Loaded;
use crate::failure::{Exit, Failure, Result};
use crate::terminal;
use condition::{Condition, Finding};

/// Say what changed from one run to another, and whether that can be told from chance.
///
/// Cases are matched by name and dials; with --baseline, one run's cases are held against one of them. A change is called better or worse only where it is at least 5 % (or the least
/// limit of --fail-if, if smaller) and stands out of chance, corrected for all figures of the table: of 100 pairs of runs
/// without any change, at most 5 show one. "No difference" means that a change of that size is ruled out, for which it
/// takes 6 values a side (of fewer, not even the widest interval holds the median with 95 %); all else is "not enough
/// data". Settings in which equally named cases differ are named.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The run before: its folder
    a: PathBuf,
    /// The run after: its folder
    #[arg(required_unless_present = "baseline", conflicts_with = "baseline")]
    b: Option<PathBuf>,
    /// Hold every other case of A against its case of this title, as in "idle", instead of against another run
    #[arg(long, value_name = "CASE")]
    baseline: Option<String>,
    /// End with exit code 8 if a figure got worse by more than a limit, as in "downtime_ms.icmp > 10%"
    ///
    /// The condition is violated by a case whose verdict on the figure is "worse" and whose median changed for the worse
    /// by more than the limit; also by a case that completes less often than before (verdict "worse" on "completed"),
    /// whatever the figure. Not enough data is no violation, and is told. Figures: completed (its limit is in percent
    /// of all trials), total_time_ms, downtime_ms.reported, .paused, .icmp, .udp, .tcp, .http, wire_bytes.source_tx.
    #[arg(long, value_name = "FIGURE > N%")]
    fail_if: Vec<String>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Write a test case for each case and condition, as JUnit's XML
    #[arg(long, value_name = "FILE", requires = "fail_if")]
    junit: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result {
    let conditions = args.fail_if.iter().map(|text| Condition::parse(text)).collect::<Result<Vec<_>, _>>();
    let conditions = conditions.map_err(|message| Failure::says(Exit::BadInput, message))?;
    let Compared { comparison, changed_settings, lacks } = compared(args, &options(&conditions))?;
    let judged = judge(conditions, &comparison)?;
    if let Some(file) = &args.junit {
        std::fs::write(file, junit::xml(&judged)).map_err(|error| {
            Failure::says(Exit::Failed, format!("cannot write {}: {error}", file.display()))
        })?;
    }
    if args.json {
        terminal::print_json(&json(args, &comparison, &changed_settings, &lacks, &judged)?)?;
    } else {
        let mut text = page::text(args, &comparison, &changed_settings, &judged, terminal::width());
        text += &page::lacking(&lacks);
        terminal::print(&text)?;
    }
    let violated: Vec<String> = judged.iter().filter_map(Judgement::complaint).collect();
    if violated.is_empty() { Ok(()) } else { Err(Failure::says(Exit::Violated, violated.join("\n       "))) }
}

/// A change that a condition asks for must be one that can be told.
fn options(conditions: &[Condition]) -> CompareOptions {
    let standard = CompareOptions::default();
    let limits = conditions.iter().map(|condition| condition.limit);
    CompareOptions { least_change: limits.fold(standard.least_change, f64::min), ..standard }
}

/// What A is held against.
enum Against<'a> {
    Run(&'a Path),
    OwnCase(&'a str),
}

impl Args {
    fn against(&self) -> Against<'_> {
        // clap sees to it that there is one of them.
        let own_case = || Against::OwnCase(self.baseline.as_deref().unwrap_or_default());
        self.b.as_deref().map_or_else(own_case, Against::Run)
    }
}

/// What came of holding A against the other side.
struct Compared {
    comparison: Comparison,
    /// Where equally named cases of two runs were not the same; beside a baseline they are not meant to be.
    changed_settings: Vec<ChangedSetting>,
    /// Why trials of each side lack figures.
    lacks: Vec<(&'static str, Vec<String>)>,
}

fn compared(args: &Args, options: &CompareOptions) -> Result<Compared> {
    let a = Loaded::open(&args.a)?;
    let compared = match args.against() {
        Against::Run(b) => {
            let b = Loaded::open(b)?;
            Compared {
                comparison: compare(a.outcomes(), b.outcomes(), options),
                changed_settings: changed_settings(a.cases(), b.cases()),
                lacks: vec![
                    ("A", dunlin_report::lacks(a.outcomes())),
                    ("B", dunlin_report::lacks(b.outcomes())),
                ],
            }
        }
        Against::OwnCase(title) => Compared {
            comparison: compare_to_baseline(a.outcomes(), title, options)
                .ok_or_else(|| no_such_case(args, title, &a))?,
            changed_settings: Vec::new(),
            lacks: vec![("A and B", dunlin_report::lacks(a.outcomes()))],
        },
    };
    if compared.comparison.cases.is_empty() {
        return Err(nothing_in_common(args));
    }
    Ok(compared)
}

fn nothing_in_common(args: &Args) -> Failure {
    let a = args.a.display();
    match args.against() {
        Against::Run(b) => {
            let message = format!("{a} and {} have no case in common", b.display());
            Failure::says(Exit::BadInput, message).hint("compare two runs of one scenario")
        }
        Against::OwnCase(title) => {
            Failure::says(Exit::BadInput, format!("{a} has no case other than {title:?}"))
        }
    }
}

fn no_such_case(args: &Args, baseline: &str, run: &Loaded) -> Failure {
    let titles: BTreeSet<String> = run.outcomes().iter().map(|outcome| outcome.case.title()).collect();
    let titles = Vec::from_iter(titles).join(", ");
    let message = format!("--baseline: {} has no case {baseline:?}", args.a.display());
    Failure::says(Exit::BadInput, message).hint(format!("its cases: {titles}"))
}

/// A condition, with what it says of each case.
struct Judgement {
    condition: Condition,
    findings: Vec<(String, Finding)>,
}

impl Judgement {
    /// What is wrong, if anything is.
    fn complaint(&self) -> Option<String> {
        let of_case = |(case, finding): &(String, Finding)| match finding {
            Finding::Violated(why) => Some(format!("{case} ({why})")),
            Finding::Holds | Finding::Undecided(_) | Finding::NotMeasured => None,
        };
        let violated: Vec<String> = self.findings.iter().filter_map(of_case).collect();
        (!violated.is_empty()).then(|| format!("{}: {}", self.condition.text, violated.join(", ")))
    }
}

fn judge(conditions: Vec<Condition>, comparison: &Comparison) -> Result<Vec<Judgement>> {
    let judge = |condition: Condition| {
        let finding = |case| condition.finding(case);
        let findings: Vec<_> =
            comparison.cases.iter().map(|case| (case.title.clone(), finding(case))).collect();
        // A condition that can never be violated would let everything pass.
        let is_measured =
            |case: &CaseComparison| case.figures.iter().any(|figure| figure.figure == condition.figure);
        if !comparison.cases.iter().any(is_measured) {
            let message = format!(
                "--fail-if {:?}: no case of both sides has {}",
                condition.text,
                condition.figure.name()
            );
            return Err(Failure::says(Exit::BadInput, message));
        }
        Ok(Judgement { condition, findings })
    };
    conditions.into_iter().map(judge).collect()
}

fn json(
    args: &Args,
    comparison: &Comparison,
    changed: &[ChangedSetting],
    lacks: &[(&'static str, Vec<String>)],
    judged: &[Judgement],
) -> Result<String> {
    let conditions: Vec<serde_json::Value> = judged.iter().map(condition_json).collect();
    let mut document = serde_json::json!({
        "a": args.a, "b": args.b, "baseline": args.baseline, "changed_settings": changed,
        "comparison": comparison, "conditions": conditions,
    });
    let lacks: BTreeMap<_, _> = lacks.iter().filter(|(_, lines)| !lines.is_empty()).cloned().collect();
    if !lacks.is_empty() {
        document["lacks"] = serde_json::json!(lacks);
    }
    serde_json::to_string_pretty(&document)
        .map(|text| text + "\n")
        .map_err(|error| Failure::says(Exit::Failed, format!("cannot write the result as JSON: {error}")))
}

fn condition_json(judgement: &Judgement) -> serde_json::Value {
    let cases = judgement.findings.iter().map(|(case, finding)| {
        let (finding, because) = match finding {
            Finding::Holds => ("holds", None),
            Finding::Violated(why) => ("violated", Some(why)),
            Finding::Undecided(why) => ("undecided", Some(why)),
            Finding::NotMeasured => ("not-measured", None),
        };
        serde_json::json!({ "case": case, "finding": finding, "because": because })
    });
    serde_json::json!({ "condition": judgement.condition.text, "cases": cases.collect::<Vec<_>>() })
}
