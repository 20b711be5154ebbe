//! One column of a series over time: counters that only grow, and gauges.

use dunlin_record::{ABSENT, Series};

/// One column over time, in order, without what was not measured.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    points: Vec<(i64, i64)>,
}

impl Samples {
    /// A column of a series that has its times in `t_ns`; empty where there is no such series or column.
    pub(crate) fn of(series: Option<&Series>, column: &str) -> Self {
        Self::read(series, column).unwrap_or_default()
    }

    /// Points of time and value, in order.
    pub(crate) fn from_points(points: Vec<(i64, i64)>) -> Self {
        Self { points }
    }

    /// A counter's value at a moment, interpolated between the samples around it; absent outside of all samples.
    pub(crate) fn at(&self, t_ns: i64) -> Option<i64> {
        let (before, after) = self.points.split_at(self.points.partition_point(|point| point.0 <= t_ns));
        let &(before_ns, value) = before.last()?;
        if before_ns == t_ns {
            return Some(value);
        }
        let &(after_ns, next) = after.first()?;
        let share = t_ns.saturating_sub(before_ns) as f64 / after_ns.saturating_sub(before_ns) as f64;
        Some(value.saturating_add((next.saturating_sub(value) as f64 * share).round() as i64))
    }

    /// The counter and another together, at the times of this one; outside of its samples the other stands still.
    pub(crate) fn plus(self, other: &Self) -> Self {
        self.joined(other, i64::saturating_add)
    }

    /// The counter less a part of it that was counted apart, likewise.
    pub(crate) fn minus(self, part: &Self) -> Self {
        self.joined(part, i64::saturating_sub)
    }

    fn joined(mut self, other: &Self, join: fn(i64, i64) -> i64) -> Self {
        let (Some(first), Some(last)) = (other.points.first(), other.points.last()) else { return self };
        for (t_ns, value) in &mut self.points {
            *value = join(*value, other.at((*t_ns).clamp(first.0, last.0)).unwrap_or(last.1));
        }
        self
    }

    /// By how much a counter grew from one moment to another, interpolated.
    pub(crate) fn growth(&self, from_ns: i64, to_ns: i64) -> Option<i64> {
        let growth = self.at(to_ns)?.saturating_sub(self.at(from_ns)?);
        (growth >= 0).then_some(growth)
    }

    /// By how much a counter grew between the samples that enclose both moments; if sampling ended before `to_ns`,
    /// up to the last sample.
    pub(crate) fn growth_over(&self, from_ns: i64, to_ns: i64) -> Option<i64> {
        let first = self.points.partition_point(|point| point.0 <= from_ns).checked_sub(1)?;
        let end = self.points.partition_point(|point| point.0 < to_ns).min(self.points.len() - 1);
        let growth = self.points[end].1.saturating_sub(self.points[first].1);
        (end > first && growth >= 0).then_some(growth)
    }

    /// The last value in `from_ns..=to_ns`.
    pub(crate) fn last_in(&self, from_ns: i64, to_ns: i64) -> Option<i64> {
        self.last_point_in(from_ns, to_ns).map(|point| point.1)
    }

    /// The last sample in `from_ns..=to_ns`: when, and what.
    pub(crate) fn last_point_in(&self, from_ns: i64, to_ns: i64) -> Option<(i64, i64)> {
        let until = &self.points[..self.points.partition_point(|point| point.0 <= to_ns)];
        until.last().filter(|point| point.0 >= from_ns).copied()
    }

    /// Times of the first and the last sample.
    pub(crate) fn extent(&self) -> Option<(i64, i64)> {
        Some((self.points.first()?.0, self.points.last()?.0))
    }

    /// The samples in order of time.
    pub(crate) fn points(&self) -> &[(i64, i64)] {
        &self.points
    }

    fn read(series: Option<&Series>, column: &str) -> Option<Self> {
        let series = series?;
        let index_of = |name: &str| series.columns.iter().position(|column| column.name == name);
        let (time, value) = (index_of("t_ns")?, index_of(column)?);
        let mut points: Vec<_> = series
            .rows()
            .map(|row| (row[time], row[value]))
            .filter(|(t_ns, value)| *t_ns != ABSENT && *value != ABSENT)
            .collect();
        points.sort_unstable();
        Some(Self { points })
    }
}

#[cfg(test)]
mod tests {
    use dunlin_record::shapes;

    use super::*;

    fn busy(rows: &[[i64; 3]]) -> Samples {
        Samples::of(Some(&Series::from_rows(shapes::CPU, rows)), "busy_ns")
    }

    #[test]
    fn a_counter_is_interpolated_between_samples_and_absent_outside() {
        let samples = busy(&[[20, 300, 0], [10, 100, 0], [15, ABSENT, 0], [30, 300, 0]]);
        let expected =
            [(9, None), (10, Some(100)), (12, Some(140)), (20, Some(300)), (25, Some(300)), (31, None)];
        for (t_ns, value) in expected {
            assert_eq!(samples.at(t_ns), value, "at {t_ns}");
        }
        assert_eq!(samples.growth(12, 20), Some(160));
        assert_eq!(samples.growth(20, 12), None);
        assert_eq!(samples.growth(5, 12), None);
    }

    #[test]
    fn two_counters_together_are_told_at_the_times_of_the_first() {
        let together = busy(&[[5, 1, 0], [15, 2, 0], [40, 3, 0]]).plus(&busy(&[[10, 100, 0], [20, 200, 0]]));
        assert_eq!(together.points(), [(5, 101), (15, 152), (40, 203)]);
        assert_eq!(busy(&[[5, 1, 0]]).plus(&busy(&[])).points(), [(5, 1)]);
    }

    #[test]
    fn growth_over_a_time_takes_the_samples_that_enclose_it() {
        let samples = busy(&[[10, 1, 0], [20, 4, 0], [30, 9, 0]]);
        assert_eq!(samples.growth_over(12, 18), Some(3));
        assert_eq!(samples.growth_over(10, 20), Some(3));
        assert_eq!(samples.growth_over(12, 21), Some(8));
        assert_eq!(samples.growth_over(12, 99), Some(8));
        assert_eq!(samples.growth_over(9, 20), None, "nothing says what it was at the begin");
        assert_eq!(samples.growth_over(31, 99), None, "no sample after the begin");
        assert_eq!(busy(&[]).growth_over(0, 1), None);
    }

    #[test]
    fn the_last_value_in_a_time_is_not_one_before_it() {
        let samples = busy(&[[10, 1, 0], [20, 4, 0]]);
        assert_eq!(samples.last_in(11, 30), Some(4));
        assert_eq!(samples.last_in(11, 19), None);
        assert_eq!(samples.last_in(10, 10), Some(1));
    }

    #[test]
    fn a_column_that_is_not_there_has_no_samples() {
        assert!(Samples::of(None, "busy_ns").points().is_empty());
        let other = Series::from_rows(shapes::PROBE_ANSWERS, &[[1, 2]]);
        assert!(Samples::of(Some(&other), "arrived_ns").points().is_empty());
    }
}
