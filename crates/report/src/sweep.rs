//! Sweeps: the cases of one name that differ in one numeric dial, and the law that their convergence obeys.

use dunlin_record::{Case, Outcome, Rate, Strategy, VmId};
use serde_json::Value;

use crate::cases::{CaseRow, Spread};

/// Fewer values than this are a comparison, which the bars show, and no sweep.
const POINTS_MIN: usize = 3;

const MIB: f64 = 1_048_576.0;

/// Cases of one name, by the one numeric dial in which they differ.
pub(crate) struct Sweep<'a> {
    /// The cases' name, with the values of their other dials.
    pub(crate) title: String,
    /// The dial's name, as in `working_set_mib`.
    pub(crate) dial: String,
    /// By rising value of the dial.
    pub(crate) points: Vec<Point<'a>>,
}

/// One case of a sweep.
pub(crate) struct Point<'a> {
    /// The dial's value.
    pub(crate) value: f64,
    pub(crate) row: &'a CaseRow<'a>,
}

/// By which working set pre-copy ends or does not: what the link carries in the downtime limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Law {
    pub(crate) downtime_limit_ms: f64,
    /// Goodput of the link, or the cap that the case sets below it.
    pub(crate) mib_s: f64,
}

impl Law {
    /// The greatest working set, written at full speed, that pre-copy still ends with.
    pub(crate) fn working_set_mib(&self) -> f64 {
        self.downtime_limit_ms / 1000.0 * self.mib_s
    }
}

/// The sweeps among a report's rows, in their order.
pub(crate) fn sweeps<'a>(rows: &'a [CaseRow<'a>]) -> Vec<Sweep<'a>> {
    let mut sweeps: Vec<(Key<'a>, Sweep<'a>)> = Vec::new();
    for row in rows {
        let Some((key, value)) = place(row) else { continue };
        let point = Point { value, row };
        match sweeps.iter_mut().find(|(other, _)| *other == key) {
            Some((_, sweep)) => sweep.points.push(point),
            None => sweeps.push((
                key.clone(),
                Sweep { title: key.title(), dial: key.dial.to_owned(), points: vec![point] },
            )),
        }
    }
    let mut sweeps: Vec<Sweep> = sweeps.into_iter().map(|(_, sweep)| sweep).collect();
    sweeps.retain(|sweep| sweep.points.len() >= POINTS_MIN);
    for sweep in &mut sweeps {
        sweep.points.sort_by(|a, b| a.value.total_cmp(&b.value));
    }
    sweeps
}

/// What the cases of a sweep have in common.
#[derive(Clone, PartialEq)]
struct Key<'a> {
    name: &'a str,
    vm: Option<&'a VmId>,
    dial: &'a str,
    /// The dials that are no numbers.
    others: Vec<(&'a str, &'a Value)>,
}

impl Key<'_> {
    fn title(&self) -> String {
        let mut title = self.name.to_owned();
        for (_, value) in &self.others {
            title.push(' ');
            title.push_str(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        title
    }
}

/// The sweep a case belongs to and its place in it; nothing for one with no numeric dial, or several.
fn place<'a>(row: &'a CaseRow<'a>) -> Option<(Key<'a>, f64)> {
    let first = row.outcomes.first()?;
    let label = &first.case;
    let mut numeric = label.dials.iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
    let ((dial, value), None) = (numeric.next()?, numeric.next()) else { return None };
    let others = label.dials.iter().filter(|(name, _)| *name != dial);
    let others = others.map(|(name, value)| (name.as_str(), value)).collect();
    Some((Key { name: &label.name, vm: Some(&first.vm), dial, others }, value))
}

impl Sweep<'_> {
    /// The law of this sweep, if it is one over working sets that are written at full speed and moved by pre-copy.
    pub(crate) fn law(&self) -> Option<Law> {
        let case = self.points.iter().find_map(|point| point.row.case)?;
        let workload = case.workload.as_ref()?;
        let at_full_speed = workload.dirtied_mib().is_some() && workload.rate() == Some(Rate::Full);
        if self.dial != "working_set_mib" || !at_full_speed || case.strategy != Strategy::PreCopy {
            return None;
        }
        let outcomes = self.points.iter().flat_map(|point| &point.row.outcomes);
        law(case, outcomes.copied())
    }
}

fn law<'a>(case: &Case, outcomes: impl Iterator<Item = &'a Outcome>) -> Option<Law> {
    let limits = case.limits?;
    let goodput_mbit = Spread::of(outcomes.filter_map(|outcome| outcome.link.goodput_mbit))?.median;
    let goodput_mib_s = goodput_mbit * 1e6 / 8.0 / MIB;
    let cap_mib_s = limits.bandwidth_bytes_s.map(|bytes_s| bytes_s / MIB);
    Some(Law {
        downtime_limit_ms: limits.downtime_ms?,
        mib_s: cap_mib_s.map_or(goodput_mib_s, |cap| cap.min(goodput_mib_s)),
    })
}
