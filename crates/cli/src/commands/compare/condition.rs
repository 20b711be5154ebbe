//! What `--fail-if` asks for: read, and held against each case.

use dunlin_analysis::{CaseComparison, Comparison, Figure, FigureComparison, Lacking, SideName, Verdict};

use super::page::{change_words, interval_words, undecided_words};
use crate::failure::{Exit, Failure, Result};

/// A figure that may not get worse by more than a limit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    /// As the user wrote it.
    pub(super) text: String,
    pub(super) figure: Figure,
    /// 0.1 is 10 %.
    pub(super) limit: f64,
}

/// What a condition says of a case.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Finding {
    Holds,
    /// It does, were it no drift between the two runs that hides a change.
    SeemsToHold,
    Violated(String),
    /// It would be, were it no drift between the two runs.
    Suspected(String),
    Undecided(String),
    NotMeasured,
    /// A side tells nothing of the case.
    Lacking(String),
}

impl Finding {
    /// Its name in JSON, and why, where there is something to say.
    pub(super) fn parts(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Holds => ("holds", None),
            Self::SeemsToHold => ("holds", Some("seems so: drift between runs is not known")),
            Self::Violated(why) => ("violated", Some(why)),
            Self::Suspected(why) => ("suspected", Some(why)),
            Self::Undecided(why) => ("undecided", Some(why)),
            Self::NotMeasured => ("not-measured", None),
            Self::Lacking(why) => ("lacking", Some(why)),
        }
    }

    pub(super) fn violated(&self) -> Option<&str> {
        if let Self::Violated(why) = self { Some(why) } else { None }
    }

    pub(super) fn suspected(&self) -> Option<&str> {
        if let Self::Suspected(why) = self { Some(why) } else { None }
    }

    fn is_decided(&self) -> bool {
        matches!(self, Self::Holds | Self::Violated(_) | Self::Suspected(_))
    }
}

/// A condition, with what it says of each case.
pub(super) struct Judgement {
    pub(super) condition: Condition,
    pub(super) findings: Vec<(String, Finding)>,
}

impl Judgement {
    /// What is wrong by findings of that kind, if anything is.
    pub(super) fn complaint(&self, is_one: fn(&Finding) -> Option<&str>) -> Option<String> {
        let of_case = |(case, finding): &(String, Finding)| Some(format!("{case} ({})", is_one(finding)?));
        let wrong: Vec<String> = self.findings.iter().filter_map(of_case).collect();
        (!wrong.is_empty()).then(|| format!("{}: {}", self.condition.text, wrong.join(", ")))
    }

    /// Whether it could be decided for no case.
    pub(super) fn is_undecided(&self) -> bool {
        !self.findings.iter().any(|(_, finding)| finding.is_decided())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let cases = self.findings.iter().map(|(case, finding)| {
            let (finding, because) = finding.parts();
            serde_json::json!({ "case": case, "finding": finding, "because": because })
        });
        serde_json::json!({ "condition": self.condition.text, "cases": cases.collect::<Vec<_>>() })
    }
}

/// Holds the conditions against every case, those that a side lacks too.
pub(super) fn judge(conditions: Vec<Condition>, comparison: &Comparison) -> Result<Vec<Judgement>> {
    let judge = |condition: Condition| {
        let mut findings: Vec<(String, Finding)> = comparison
            .cases
            .iter()
            .map(|case| (case.title.clone(), condition.finding(case, &comparison.lacking)))
            .collect();
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
        findings.extend(uncompared(comparison));
        Ok(Judgement { condition, findings })
    };
    conditions.into_iter().map(judge).collect()
}

/// The cases of which a side tells nothing at all.
fn uncompared(comparison: &Comparison) -> Vec<(String, Finding)> {
    let is_compared = |title: &str| comparison.cases.iter().any(|case| case.case.title() == title);
    let mut all: Vec<(String, Finding)> = Vec::new();
    for lack in comparison.lacking.iter().filter(|lack| lack.all && !is_compared(&lack.case)) {
        let why = lack_words(lack);
        match all.iter_mut().find(|(title, _)| *title == lack.case) {
            Some((_, Finding::Lacking(before))) => *before += &format!("; {why}"),
            _ => all.push((lack.case.clone(), Finding::Lacking(why))),
        }
    }
    // A VM of a case that the other side has without it.
    for (titles, side) in [(&comparison.only_in_a, "A"), (&comparison.only_in_b, "B")] {
        for title in titles {
            if !all.iter().any(|(known, _)| known == title) {
                all.push((title.clone(), Finding::Lacking(format!("only in {side}"))));
            }
        }
    }
    all
}

/// As in `B: skipped: needs KVM`, or `A, 1 run: not run`.
pub(super) fn lack_words(lack: &Lacking) -> String {
    let side = match lack.side {
        SideName::A => "A",
        SideName::B => "B",
    };
    match (lack.all, lack.runs) {
        (true, _) => format!("{side}: {}", lack.because),
        (false, 1) => format!("{side}, 1 run: {}", lack.because),
        (false, runs) => format!("{side}, {runs} runs: {}", lack.because),
    }
}

impl Condition {
    /// Reads `FIGURE > N%`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: String| format!("--fail-if {text:?}: {what}");
        let (name, limit) = text
            .split_once('>')
            .ok_or_else(|| wrong("expected FIGURE > N%, as in downtime_ms.icmp > 10%".into()))?;
        let name = name.trim();
        let figure = Figure::named(name).ok_or_else(|| {
            let known = Figure::ALL.map(Figure::name).join(", ");
            wrong(format!("there is no figure {name:?}; there are {known}"))
        })?;
        let limit = limit
            .trim()
            .strip_suffix('%')
            .and_then(|number| number.trim().parse().ok())
            .filter(|percent: &f64| percent.is_finite() && *percent >= 0.0)
            .ok_or_else(|| wrong("after > comes a number of percent, as in 10%".into()))?;
        Ok(Self { text: text.to_owned(), figure, limit: limit / 100.0 })
    }

    fn finding(&self, case: &CaseComparison, lacking: &[Lacking]) -> Finding {
        let find = |figure: Figure| case.figures.iter().find(|one| one.figure == figure);
        // A migration that is never over would otherwise pass every limit on how long it takes.
        if let Some(completed) = find(Figure::Completed)
            && self.figure != Figure::Completed
            && completed.verdict.is_worse()
        {
            return worse(completed, format!("completed {}", change_words(completed)));
        }
        match find(self.figure).map(|figure| self.finding_by(figure)) {
            None => Finding::NotMeasured,
            Some(Finding::Undecided(why)) => {
                let title = case.case.title();
                let lacks = lacking.iter().filter(|lack| lack.case == title).map(lack_words);
                Finding::Undecided([why].into_iter().chain(lacks).collect::<Vec<_>>().join("; "))
            }
            Some(finding) => finding,
        }
    }

    fn finding_by(&self, figure: &FigureComparison) -> Finding {
        match figure.verdict {
            // Of bounds the change may be more than the least that there was.
            verdict
                if verdict.is_worse()
                    && figure.change.is_none()
                    && figure.change_at_least.is_some_and(|least| least.abs() <= self.limit) =>
            {
                Finding::Undecided(change_words(figure))
            }
            // From 0 to anything is more than any share.
            verdict if verdict.is_worse() && figure.change.is_none_or(|change| change.abs() > self.limit) => {
                worse(figure, change_words(figure))
            }
            verdict
                if matches!(verdict, Verdict::Better | Verdict::SeemsBetter) || self.is_ruled_out(figure) =>
            {
                if figure.knows_drift {
                    Finding::Holds
                } else {
                    Finding::SeemsToHold
                }
            }
            // By less than the limit, as far as it is known.
            verdict if verdict.is_worse() => {
                Finding::Undecided(format!("{}, interval {}", change_words(figure), interval_words(figure)))
            }
            _ => Finding::Undecided(undecided_words(figure)),
        }
    }

    /// Whether a change for the worse beyond the limit is ruled out, whatever else is not known.
    fn is_ruled_out(&self, figure: &FigureComparison) -> bool {
        let worst = figure.interval.map(|interval| match self.figure {
            Figure::Completed => -interval.low,
            _ => interval.high,
        });
        worst.is_some_and(|worst| worst <= self.limit)
    }
}

fn worse(figure: &FigureComparison, why: String) -> Finding {
    if figure.verdict == Verdict::Worse { Finding::Violated(why) } else { Finding::Suspected(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_a_figure_and_a_limit_in_percent() {
        for text in ["downtime_ms.icmp > 10%", "downtime_ms.icmp>10 %", " downtime_ms.icmp  >  10.0% "] {
            let condition = Condition::parse(text).unwrap();
            assert_eq!((condition.figure, condition.limit), (Figure::DowntimeIcmp, 0.1), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_condition_is_said() {
        let cases = [
            ("downtime_ms.icmp", "expected FIGURE > N%, as in downtime_ms.icmp > 10%"),
            ("downtime_ms.icmp < 10%", "expected FIGURE > N%, as in downtime_ms.icmp > 10%"),
            ("downtime > 10%", "there is no figure \"downtime\"; there are completed, total_time_ms, "),
            ("total_time_ms > 10", "after > comes a number of percent, as in 10%"),
            ("total_time_ms > -1%", "after > comes a number of percent, as in 10%"),
            ("total_time_ms > NaN%", "after > comes a number of percent, as in 10%"),
        ];
        for (text, expected) in cases {
            let message = Condition::parse(text).unwrap_err();
            assert!(message.starts_with(&format!("--fail-if {text:?}: {expected}")), "{message}");
        }
    }
}
