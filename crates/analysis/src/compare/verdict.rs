//! What to make of a difference, and how many more trials or runs would tell.

use super::drift::Drift;
use super::{CompareOptions, Figure, Judged, Verdict};
use crate::statistics::Interval;

/// By how many standard errors a difference must stand out of a table of a few dozen figures, over those by which an
/// interval is wide to each side: about 3 over 2.
const CORRECTION_COST: f64 = 1.5;
/// With fewer values a side nothing is ruled out: the widest interval of a median there is, from the least value to the
/// greatest, misses it with a probability of 2 x 0.5^n, which is above 5 % up to n = 5. What a bootstrap makes of so few is
/// narrower still, and is not told.
pub(super) const LEAST_VALUES: usize = 6;
/// Beyond this an estimate says nothing.
const MOST_TRIALS: usize = 1000;

/// All that is known of one figure of one case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence {
    pub(super) figure: Figure,
    /// How many values A and B have.
    pub(super) values: (usize, usize),
    pub(super) medians: Option<(f64, f64)>,
    pub(super) change: Option<f64>,
    pub(super) interval: Option<Interval>,
    /// In which steps the figure is told, as a share of it.
    pub(super) step: Option<f64>,
    pub(super) judged: Judged,
    /// The rows of the whole table.
    pub(super) rows: usize,
    pub(super) drift: Option<Drift>,
    /// Whether the trials of both sides were made in turn.
    pub(super) in_turn: bool,
}

pub(super) fn verdict(evidence: &Evidence, options: &CompareOptions) -> Verdict {
    // Drift between runs is known only from several of them; trials made in turn share it.
    let knows_drift = evidence.in_turn || evidence.drift.is_some();
    if let Some(is_better) = shown(evidence, options) {
        return match (is_better, knows_drift) {
            (true, true) => Verdict::Better,
            (false, true) => Verdict::Worse,
            (true, false) => Verdict::SeemsBetter,
            (false, false) => Verdict::SeemsWorse,
        };
    }
    let (a, b) = evidence.values;
    let margin = options.least_change;
    let is_ruled_out = |interval: Interval| -margin <= interval.low && interval.high <= margin;
    let is_enough = a.min(b) >= LEAST_VALUES && can_show(a, b, evidence.rows, options);
    let is_enough = is_enough && !is_coarse(evidence, options);
    match (is_enough && evidence.interval.is_some_and(is_ruled_out), knows_drift) {
        (true, true) => Verdict::NoDifference,
        (true, false) => Verdict::SeemsTheSame,
        (false, _) => Verdict::NotEnoughData,
    }
}

/// Whether a change is for the better, if there is one beyond chance that matters.
fn shown(evidence: &Evidence, options: &CompareOptions) -> Option<bool> {
    let (before, after) = evidence.medians?;
    // From 0 to anything is more than any share.
    let matters = evidence.change.is_none_or(|change| change.abs() >= options.least_change);
    let is_more = after > before;
    // Of a distribution with two humps the median may go one way and most of the values the other.
    let agrees = after != before && is_more == (evidence.judged.statistic > 0.0);
    let is_shown = evidence.judged.p_value <= options.false_tables && matters && agrees;
    is_shown.then_some(is_more == evidence.figure.more_is_better())
}

/// Whether the figure is told in steps greater than the least change worth telling, which then hides in one.
pub(super) fn is_coarse(evidence: &Evidence, options: &CompareOptions) -> bool {
    evidence.step.is_some_and(|step| step > options.least_change)
}

/// Whether so many trials could show any difference at all: of the ways to deal them, the two that part A from B wholly
/// must be rare enough in a table of so many rows.
fn can_show(a: usize, b: usize, rows: usize, options: &CompareOptions) -> bool {
    let ways = (1..=a).fold(1.0, |ways, chosen| ways * (b + chosen) as f64 / chosen as f64);
    a > 0 && b > 0 && 2.0 / ways <= options.false_tables / rows as f64
}

/// Roughly how many more trials a side would decide: an interval narrows by the square root of their number.
pub(super) fn more_trials(evidence: &Evidence, options: &CompareOptions) -> Option<u32> {
    let now = evidence.values.0.min(evidence.values.1);
    let least = (1..).find(|trials| can_show(*trials, *trials, evidence.rows, options))? as f64;
    let wanted = match (evidence.change, evidence.interval) {
        (Some(change), Some(interval)) => {
            let half_width = (interval.high - interval.low) / 2.0;
            let margin = options.least_change;
            let matters = change.abs() >= margin;
            if evidence.figure == Figure::Completed && !matters {
                // The interval of a share near 0 or 1 narrows faster than by the square root.
                trials_for_shares(evidence.medians?, margin)? as f64
            } else {
                let least = if matters { 0.0 } else { LEAST_VALUES as f64 };
                (now as f64 * (half_width / needed(change, margin)).powi(2)).max(least)
            }
        }
        // Nothing is known of how it varies.
        _ if now == 0 => return None,
        _ => 0.0,
    };
    let more = wanted.max(least).ceil() - now as f64;
    (more <= MOST_TRIALS as f64).then(|| more.max(1.0) as u32)
}

/// Roughly how many more runs a side would decide, where runs lie too far apart.
pub(super) fn more_runs(evidence: &Evidence, options: &CompareOptions) -> Option<u32> {
    let (drift, change) = evidence.drift.zip(evidence.change)?;
    let matters = change.abs() >= options.least_change;
    let (reach, share) = if matters {
        (change.abs().ln_1p(), options.false_tables / evidence.rows as f64)
    } else {
        (needed(change, options.least_change), options.false_tables)
    };
    let more = drift.runs_for(reach, share)?.saturating_sub(drift.fewest_runs());
    u32::try_from(more).ok().filter(|more| *more > 0)
}

/// How wide to each side an interval may be that decides.
fn needed(change: f64, margin: f64) -> f64 {
    if change.abs() >= margin {
        change.abs() / CORRECTION_COST
    } else {
        // What lies just within the margin would never be told from it.
        (margin - change.abs()).max(margin / 2.0)
    }
}

/// How many trials a side of these shares rule out a difference beyond the margin.
fn trials_for_shares((a, b): (f64, f64), margin: f64) -> Option<usize> {
    let reach = margin.max((b - a).abs() + margin / 2.0);
    (1..=MOST_TRIALS).find(|trials| {
        let interval = difference_interval((a, *trials), (b, *trials));
        -reach <= interval.low && interval.high <= reach
    })
}

/// The interval of the difference of two shares, `b` less `a`, of values that are 0 or 1: Newcombe, "Interval Estimation
/// for the Difference Between Independent Proportions" (1998), method 10. Where every trial of both sides completed, a
/// bootstrap would find no width at all.
pub(super) fn completion_interval(a: &[f64], b: &[f64]) -> Option<Interval> {
    Some(difference_interval((share(a)?, a.len()), (share(b)?, b.len())))
}

/// Of each side its share, and of how many trials.
fn difference_interval((share_a, trials_a): (f64, usize), (share_b, trials_b): (f64, usize)) -> Interval {
    let (within_a, within_b) = (wilson(share_a, trials_a), wilson(share_b, trials_b));
    let difference = share_b - share_a;
    Interval {
        low: difference - (share_b - within_b.low).hypot(within_a.high - share_a),
        high: difference + (within_b.high - share_b).hypot(share_a - within_a.low),
    }
}

fn share(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The score interval of a share at 95 % (Wilson, "Probable Inference", 1927).
fn wilson(share: f64, trials: usize) -> Interval {
    const NORMAL_QUANTILE: f64 = 1.96;
    let (trials, z) = (trials as f64, NORMAL_QUANTILE);
    let middle = share + z * z / (2.0 * trials);
    let reach = z * (share * (1.0 - share) / trials + z * z / (4.0 * trials * trials)).sqrt();
    let scale = 1.0 + z * z / trials;
    Interval { low: ((middle - reach) / scale).max(0.0), high: ((middle + reach) / scale).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_differ_by_newcombes_interval() {
        // Newcombe 1998, table II, method 10: 56/70 less 48/80, and 10/10 less 0/20, and 10/10 less 0/10.
        let trials = |completed: usize, all: usize| -> Vec<f64> {
            (0..all).map(|trial| f64::from(u8::from(trial < completed))).collect()
        };
        let cases = [
            (trials(48, 80), trials(56, 70), 0.0524, 0.3339),
            (trials(0, 20), trials(10, 10), 0.6791, 1.0),
            (trials(0, 10), trials(10, 10), 0.6075, 1.0),
        ];
        for (a, b, low, high) in cases {
            let interval = completion_interval(&a, &b).unwrap();
            assert!((interval.low - low).abs() < 1e-4 && (interval.high - high).abs() < 1e-4, "{interval:?}");
        }
        assert_eq!(completion_interval(&[], &[1.0]), None);
    }

    #[test]
    fn all_of_many_trials_must_complete_before_fewer_completions_are_ruled_out() {
        // Wilson's interval of n of n reaches down to n / (n + 3.84): 5 % are ruled out from 73 on.
        assert_eq!(trials_for_shares((1.0, 1.0), 0.05), Some(73));
        assert_eq!(trials_for_shares((1.0, 1.0), 0.3), Some(9));
    }

    #[test]
    fn few_trials_can_show_nothing_in_a_large_table() {
        let options = CompareOptions::default();
        // 2 of 20 ways are more than 5 %, 2 of 70 are not; in a table of 28 it takes 7 a side (2 of 3432).
        let cases =
            [(3, 1, false), (4, 1, true), (4, 28, false), (6, 28, false), (7, 28, true), (0, 1, false)];
        for (trials, rows, expected) in cases {
            assert_eq!(can_show(trials, trials, rows, &options), expected, "{trials} trials, {rows} rows");
        }
        assert!(!can_show(1000, 0, 1, &options));
    }
}
