//! Tables that hold no change, and tables that do: how often the comparison says so.

mod trials;

use dunlin_record::{Flag, Outcome, Status};

use super::{CompareOptions, Comparison, Figure, FigureComparison, Verdict, compare, compare_to_baseline};
use crate::statistics::{Bootstrap, SplitMix64};
use trials::{bimodal_run, lognormal_run, outcome, real_run};

/// Verdicts of a change need no intervals, and of few permutations p-values are coarse, not wrong: quick enough for a
/// thousand tables.
fn quick(seed: u64) -> CompareOptions {
    CompareOptions {
        permutations: 299,
        bootstrap: Bootstrap { resamples: 1, seed, ..Bootstrap::default() },
        ..CompareOptions::default()
    }
}

/// A run split at random into two sides of so many trials of each case.
fn split(run: &[Vec<Outcome>], a_side: usize, random: &mut SplitMix64) -> (Vec<Outcome>, Vec<Outcome>) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for case in run {
        let mut trials: Vec<&Outcome> = case.iter().collect();
        random.choose(&mut trials, 2 * a_side);
        a.extend(trials[..a_side].iter().copied().cloned());
        b.extend(trials[a_side..2 * a_side].iter().copied().cloned());
    }
    (a, b)
}

fn is_change(figure: &FigureComparison) -> bool {
    matches!(figure.verdict, Verdict::Better | Verdict::Worse)
}

fn figures(comparison: &Comparison) -> impl Iterator<Item = &FigureComparison> {
    comparison.cases.iter().flat_map(|case| &case.figures)
}

/// The share of tables made of two halves of one run in which anything at all is called a change.
fn false_tables(run: &[Vec<Outcome>], tables: u64) -> f64 {
    let wrong = (0..tables).filter(|seed| {
        let (a, b) = split(run, 10, &mut SplitMix64::new(*seed));
        figures(&compare(&a, &b, &quick(*seed))).any(is_change)
    });
    wrong.count() as f64 / tables as f64
}

/// The share of tables in which downtimes that all grew by 30 % are found to have grown: anywhere in the table, and in
/// each case.
fn found(run: &[Vec<Outcome>], tables: u64) -> (f64, Vec<f64>) {
    let (mut in_table, mut in_case) = (0, vec![0; run.len()]);
    for seed in 0..tables {
        let (a, mut b) = split(run, 10, &mut SplitMix64::new(seed));
        b.iter_mut().for_each(|outcome| grow_downtimes(outcome, 1.3));
        let comparison = compare(&a, &b, &quick(seed));
        let is_found = |figure: &FigureComparison| {
            figure.figure.name().starts_with("downtime_ms.") && figure.verdict == Verdict::Worse
        };
        in_table += u32::from(figures(&comparison).any(is_found));
        for (found, case) in in_case.iter_mut().zip(&comparison.cases) {
            *found += u32::from(case.figures.iter().any(is_found));
        }
    }
    let share = |found: u32| f64::from(found) / tables as f64;
    (share(in_table), in_case.into_iter().map(share).collect())
}

fn grow_downtimes(outcome: &mut Outcome, factor: f64) {
    let downtime = &mut outcome.downtime_ms;
    for figure in [&mut downtime.reported, &mut downtime.paused, &mut downtime.icmp, &mut downtime.udp] {
        *figure = figure.map(|ms| ms * factor);
    }
}

#[test]
fn two_halves_of_one_run_are_seldom_called_different() {
    let runs =
        [("real", real_run(), 1000), ("lognormal", lognormal_run(), 250), ("bimodal", bimodal_run(), 250)];
    for (name, run, tables) in runs {
        let share = false_tables(&run, tables);
        assert!(share <= 0.07, "{name}: {share}");
    }
}

#[test]
fn a_downtime_that_grew_by_30_percent_is_found_with_10_trials_a_side() {
    let (in_table, in_case) = found(&real_run(), 100);
    assert!(in_table >= 0.8, "real: {in_table}, by case {in_case:?}");
    let (in_table, in_case) = found(&lognormal_run(), 100);
    // The last case completes two times out of three, so it has fewer values.
    assert!(in_table >= 0.95 && in_case[..3].iter().all(|found| *found >= 0.8), "{in_table}, {in_case:?}");
}

/// A case whose downtime by ICMP comes out as these values, and all other figures of which are absent.
fn icmp(case: &str, values: impl IntoIterator<Item = f64>) -> Vec<Outcome> {
    let trials = values.into_iter().enumerate().map(|(trial, ms)| {
        let mut outcome = outcome(case, trial + 1, Status::Completed);
        outcome.downtime_ms.icmp = Some(ms);
        outcome
    });
    trials.collect()
}

fn ended(case: &str, statuses: &[(Status, usize)]) -> Vec<Outcome> {
    let all = statuses.iter().flat_map(|(status, amount)| vec![*status; *amount]);
    all.enumerate().map(|(trial, status)| outcome(case, trial + 1, status)).collect()
}

fn one(comparison: &Comparison, figure: Figure) -> &FigureComparison {
    figures(comparison).find(|one| one.figure == figure).unwrap()
}

#[test]
fn a_clear_change_is_better_or_worse_by_its_direction() {
    let (low, high) =
        (icmp("c", (0..10).map(|i| f64::from(100 + i))), icmp("c", (0..10).map(|i| f64::from(120 + i))));
    let options = CompareOptions::default();
    for (a, b, verdict, sign) in [(&low, &high, Verdict::Worse, 1.0), (&high, &low, Verdict::Better, -1.0)] {
        let comparison = compare(a, b, &options);
        let figure = one(&comparison, Figure::DowntimeIcmp);
        let (change, interval) = (figure.change.unwrap(), figure.interval.unwrap());
        assert_eq!((figure.verdict, figure.more_trials, change.signum()), (verdict, None, sign));
        assert!(interval.low < change && change < interval.high, "{figure:?}");
        assert_eq!(compare(a, b, &options), comparison);
    }
}

#[test]
fn a_clear_change_that_is_too_small_to_matter_is_none() {
    let a = icmp("c", (0..10).map(|i| 100.0 + f64::from(i) / 10.0));
    let b = icmp("c", (0..10).map(|i| 102.0 + f64::from(i) / 10.0));
    let comparison = compare(&a, &b, &CompareOptions::default());
    assert_eq!(one(&comparison, Figure::DowntimeIcmp).verdict, Verdict::NoDifference);
    let strict = CompareOptions { least_change: 0.01, ..CompareOptions::default() };
    assert_eq!(one(&compare(&a, &b, &strict), Figure::DowntimeIcmp).verdict, Verdict::Worse);
}

#[test]
fn three_trials_a_side_are_not_enough_and_it_says_how_many_are() {
    let (a, b) = (icmp("c", [100.0, 101.0, 102.0]), icmp("c", [200.0, 201.0, 202.0]));
    let comparison = compare(&a, &b, &CompareOptions::default());
    let figure = one(&comparison, Figure::DowntimeIcmp);
    // Two rows, completion and downtime: five a side are the first of which 2 in 252 dealings are rare enough.
    assert_eq!((figure.verdict, figure.more_trials), (Verdict::NotEnoughData, Some(2)));
    let noisy = |shift: f64| icmp("c", (0..10).map(move |i| shift + f64::from(i * 7 % 10) * 3.0));
    let comparison = compare(&noisy(100.0), &noisy(104.0), &CompareOptions::default());
    let figure = one(&comparison, Figure::DowntimeIcmp);
    assert_eq!(figure.verdict, Verdict::NotEnoughData);
    assert!(figure.more_trials.unwrap() > 20, "{figure:?}");
}

#[test]
fn fewer_than_six_values_rule_nothing_out_but_may_show_a_change() {
    let few = |ms: f64, values: usize| icmp("c", std::iter::repeat_n(ms, values));
    for (a, b, verdict, more_trials) in [
        (few(100.0, 5), few(100.0, 5), Verdict::NotEnoughData, Some(1)),
        (few(100.0, 20), few(100.0, 5), Verdict::NotEnoughData, Some(1)),
        (few(100.0, 6), few(100.0, 6), Verdict::NoDifference, None),
        (few(100.0, 5), few(200.0, 5), Verdict::Worse, None),
    ] {
        let comparison = compare(&a, &b, &CompareOptions::default());
        let figure = one(&comparison, Figure::DowntimeIcmp);
        assert_eq!(
            (figure.verdict, figure.more_trials),
            (verdict, more_trials),
            "{} to {}",
            a.len(),
            b.len()
        );
    }
}

#[test]
fn no_longer_completing_is_worse_and_takes_no_figure_along() {
    let a = icmp("c", (0..8).map(|i| f64::from(100 + i)));
    let b = ended("c", &[(Status::NotConverged, 5), (Status::Failed, 3)]);
    let comparison = compare(&a, &b, &CompareOptions::default());
    let completed = one(&comparison, Figure::Completed);
    assert_eq!((completed.verdict, completed.change), (Verdict::Worse, Some(-1.0)));
    let icmp = one(&comparison, Figure::DowntimeIcmp);
    assert_eq!((icmp.verdict, icmp.change, icmp.more_trials), (Verdict::NotEnoughData, None, None));
    assert_eq!((icmp.b.trials, icmp.b.values, icmp.b.median), (8, 0, None));
}

#[test]
fn ten_completions_of_ten_on_both_sides_are_no_difference() {
    let trials = ended("c", &[(Status::Completed, 10)]);
    let comparison = compare(&trials, &trials, &CompareOptions::default());
    assert_eq!(one(&comparison, Figure::Completed).verdict, Verdict::NoDifference);
    assert_eq!(figures(&comparison).count(), 1);
}

#[test]
fn a_migration_that_damaged_the_guest_s_memory_did_not_complete() {
    let a = ended("c", &[(Status::Completed, 8)]);
    let mut b = a.clone();
    b.iter_mut().for_each(|outcome| outcome.flags.push(Flag::CorruptMemory));
    let comparison = compare(&a, &b, &CompareOptions::default());
    assert_eq!(one(&comparison, Figure::Completed).verdict, Verdict::Worse);
}

#[test]
fn from_nothing_to_something_is_worse_without_a_relative_change() {
    let (a, b) = (icmp("c", [0.0; 8]), icmp("c", [30.0; 8]));
    let comparison = compare(&a, &b, &CompareOptions::default());
    let figure = one(&comparison, Figure::DowntimeIcmp);
    assert_eq!((figure.verdict, figure.change, figure.interval), (Verdict::Worse, None, None));
}

#[test]
fn cases_are_matched_by_name_dials_and_vm_and_cancelled_trials_left_out() {
    let with = |case: &str, size: u32, vm: &str| {
        let mut outcome = outcome(case, 1, Status::Completed);
        outcome.case.dials.insert("working_set_mib".into(), size.into());
        outcome.vm = dunlin_record::VmId::new(vm);
        outcome
    };
    let a =
        [with("x", 1, "vm0"), with("x", 2, "vm0"), with("x", 2, "vm1"), outcome("x", 1, Status::Cancelled)];
    let b = [with("x", 2, "vm0"), with("y", 2, "vm0")];
    let comparison = compare(&a, &b, &CompareOptions::default());
    let titles: Vec<&str> = comparison.cases.iter().map(|case| case.title.as_str()).collect();
    assert_eq!(titles, ["x 2 vm0"]);
    assert_eq!(
        (comparison.only_in_a, comparison.only_in_b),
        (vec!["x 1 vm0".into(), "x 2 vm1".into()], vec!["y 2 vm0".into()])
    );
    assert_eq!(comparison.cancelled_trials, 1);
}

#[test]
fn wild_trials_are_marked_and_counted() {
    let a = icmp("c", [100.0, 101.0, 99.0, 100.5, 99.5, 100.2, 5000.0]);
    let comparison = compare(&a, &a, &CompareOptions::default());
    let sample = &one(&comparison, Figure::DowntimeIcmp).a;
    assert_eq!((sample.outliers, sample.values, sample.median), (1, 7, Some(100.2)));
}

#[test]
fn the_cases_of_a_run_are_held_against_one_of_them() {
    let mut run = icmp("idle", [100.0; 8]);
    run.extend(icmp("cpu", [100.0; 8]));
    run.extend(icmp("dirty", [200.0; 8]));
    let options = CompareOptions::default();
    let comparison = compare_to_baseline(&run, "idle", &options).unwrap();
    let verdicts: Vec<(&str, Verdict)> = comparison
        .cases
        .iter()
        .flat_map(|case| case.figures.iter().map(|figure| (case.title.as_str(), figure)))
        .filter(|(_, figure)| figure.figure == Figure::DowntimeIcmp)
        .map(|(title, figure)| (title, figure.verdict))
        .collect();
    assert_eq!(verdicts, [("cpu", Verdict::NoDifference), ("dirty", Verdict::Worse)]);
    assert_eq!(compare_to_baseline(&run, "none of it", &options), None);
}

/// A case whose downtime by ICMP is at most so long in every trial.
fn at_most(case: &str, values: impl IntoIterator<Item = f64>) -> Vec<Outcome> {
    let mut outcomes = icmp(case, values);
    for outcome in &mut outcomes {
        outcome.downtime_at_most_ms.icmp = outcome.downtime_ms.icmp.take();
    }
    outcomes
}

#[test]
fn two_sides_of_bounds_cannot_be_told_apart_and_more_trials_do_not_help() {
    // Told as values, all were 0 and so there was "no difference".
    let comparison = compare(&at_most("c", [40.0; 10]), &at_most("c", [2.0; 10]), &CompareOptions::default());
    let figure = one(&comparison, Figure::DowntimeIcmp);
    assert_eq!((figure.verdict, figure.more_trials), (Verdict::NotEnoughData, None));
    assert_eq!((figure.a.median, figure.a.median_at_most, figure.a.values), (None, Some(40.0), 10));
    assert_eq!((figure.change, figure.change_at_least, figure.interval), (None, None, None));
}

#[test]
fn a_bound_that_lies_beyond_all_values_shows_a_change() {
    let values = || icmp("c", (0..10).map(|i| f64::from(100 + i)));
    let bounds = || at_most("c", [2.0; 10]);
    for (a, b, verdict, least) in [
        (values(), bounds(), Verdict::Better, (2.0 - 104.5) / 104.5),
        (bounds(), values(), Verdict::Worse, (104.5 - 2.0) / 2.0),
    ] {
        let comparison = compare(&a, &b, &CompareOptions::default());
        let figure = one(&comparison, Figure::DowntimeIcmp);
        assert_eq!((figure.verdict, figure.change, figure.change_at_least), (verdict, None, Some(least)));
    }
}

#[test]
fn a_bound_among_values_leaves_the_median_a_value() {
    let mut a = icmp("c", [30.0, 40.0, 50.0]);
    a[0].downtime_at_most_ms.icmp = a[0].downtime_ms.icmp.take();
    let comparison = compare(&a, &a, &CompareOptions::default());
    let figure = one(&comparison, Figure::DowntimeIcmp);
    assert_eq!((figure.a.median, figure.a.is_bound(), figure.a.deviation), (Some(40.0), false, None));
    assert_eq!((figure.change, figure.interval), (Some(0.0), None));
}
