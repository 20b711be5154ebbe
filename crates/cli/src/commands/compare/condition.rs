//! What `--fail-if` asks for: read, and held against a case.

use dunlin_analysis::{CaseComparison, Figure, FigureComparison, Verdict};

use super::page::{change_words, verdict_words};

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
    Violated(String),
    Undecided(String),
    NotMeasured,
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

    pub(super) fn finding(&self, case: &CaseComparison) -> Finding {
        let find = |figure: Figure| case.figures.iter().find(|one| one.figure == figure);
        // A migration that is never over would otherwise pass every limit on how long it takes.
        if let Some(completed) = find(Figure::Completed)
            && self.figure != Figure::Completed
            && completed.verdict == Verdict::Worse
        {
            return Finding::Violated(format!("completed {}", change_words(completed)));
        }
        match find(self.figure) {
            None => Finding::NotMeasured,
            Some(figure) => self.finding_by(figure),
        }
    }

    fn finding_by(&self, figure: &FigureComparison) -> Finding {
        match figure.verdict {
            Verdict::Worse if figure.change.is_none() && figure.change_at_least.is_some() => {
                match figure.change_at_least.filter(|change| change.abs() > self.limit) {
                    Some(_) => Finding::Violated(change_words(figure)),
                    None => Finding::Undecided(change_words(figure)),
                }
            }
            // From 0 to anything is more than any share.
            Verdict::Worse if figure.change.is_none_or(|change| change.abs() > self.limit) => {
                Finding::Violated(change_words(figure))
            }
            Verdict::Worse | Verdict::Better | Verdict::NoDifference => Finding::Holds,
            Verdict::NotEnoughData => Finding::Undecided(verdict_words(figure)),
        }
    }
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
