//! Tables that hold no change, and tables that do: how often the comparison says so.

mod trials;

use dunlin_record::{Flag, Outcome, Status};

use super::{
    CompareOptions, ComparedRun, Comparison, Figure, FigureComparison, SideName, Verdict,
    compare as compare_runs, compare_to_baseline,
};
use crate::statistics::{Bootstrap, SplitMix64};
use trials::{bimodal_run, lognormal_run, outcome, real_run};

/// One run a side.
fn compare(a: &[Outcome], b: &[Outcome], options: &CompareOptions) -> Comparison {
    compare_runs(&[of(a)], &[of(b)], options)
}

fn of(outcomes: &[Outcome]) -> ComparedRun<'_> {
    ComparedRun { outcomes, ..ComparedRun::default() }
}

/// Several runs a side.
fn compare_several(a: &[Vec<Outcome>], b: &[Vec<Outcome>]) -> Comparison {
    let (a, b): (Vec<_>, Vec<_>) =
        (a.iter().map(|run| of(run)).collect(), b.iter().map(|run| of(run)).collect());
    compare_runs(&a, &b, &CompareOptions::default())
}

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
    figure.verdict.is_change()
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
            figure.figure.name().starts_with("downtime_ms.") && figure.verdict.is_worse()
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
fn a_clear_change_between_two_runs_seems_better_or_worse_by_its_direction() {
    let (low, high) =
        (icmp("c", (0..10).map(|i| f64::from(100 + i))), icmp("c", (0..10).map(|i| f64::from(120 + i))));
    let options = CompareOptions::default();
    for (a, b, verdict, sign) in
        [(&low, &high, Verdict::SeemsWorse, 1.0), (&high, &low, Verdict::SeemsBetter, -1.0)]
    {
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
    assert_eq!(one(&comparison, Figure::DowntimeIcmp).verdict, Verdict::SeemsTheSame);
    let strict = CompareOptions { least_change: 0.01, ..CompareOptions::default() };
    assert_eq!(one(&compare(&a, &b, &strict), Figure::DowntimeIcmp).verdict, Verdict::SeemsWorse);
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
        (few(100.0, 6), few(100.0, 6), Verdict::SeemsTheSame, None),
        (few(100.0, 5), few(200.0, 5), Verdict::SeemsWorse, None),
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
    assert_eq!((completed.verdict, completed.change), (Verdict::SeemsWorse, Some(-1.0)));
    let icmp = one(&comparison, Figure::DowntimeIcmp);
    assert_eq!((icmp.verdict, icmp.change, icmp.more_trials), (Verdict::NotEnoughData, None, None));
    assert_eq!((icmp.b.trials, icmp.b.values, icmp.b.median), (8, 0, None));
}

#[test]
fn as_often_completed_is_no_difference_only_where_the_interval_rules_one_out() {
    for (trials, verdict, more_trials) in [
        (10, Verdict::NotEnoughData, Some(63)),
        (72, Verdict::NotEnoughData, Some(1)),
        (73, Verdict::SeemsTheSame, None),
    ] {
        let trials = ended("c", &[(Status::Completed, trials)]);
        let comparison = compare(&trials, &trials, &CompareOptions::default());
        let completed = one(&comparison, Figure::Completed);
        assert_eq!((completed.verdict, completed.more_trials), (verdict, more_trials), "{completed:?}");
        assert_eq!(figures(&comparison).count(), 1);
    }
}

#[test]
fn so_few_values_have_no_interval() {
    let few = |amount: usize| icmp("c", (0..amount).map(|trial| 100.0 + trial as f64));
    for (amount, of_downtime, of_completion) in
        [(1, false, false), (2, false, true), (5, false, true), (6, true, true)]
    {
        let comparison = compare(&few(amount), &few(amount), &CompareOptions::default());
        let has = |figure| one(&comparison, figure).interval.is_some();
        assert_eq!(
            (has(Figure::DowntimeIcmp), has(Figure::Completed)),
            (of_downtime, of_completion),
            "{amount}"
        );
    }
}

/// A run of ten trials about this downtime.
fn run_about(ms: f64) -> Vec<Outcome> {
    icmp("c", (0..10).map(|trial| ms * (0.99 + 0.002 * f64::from(trial * 7 % 10))))
}

#[test]
fn several_runs_a_side_tell_drift_from_change() {
    let about = |downtimes: &[f64]| downtimes.iter().map(|ms| run_about(*ms)).collect::<Vec<_>>();
    let verdict = |a: &[f64], b: &[f64]| {
        let comparison = compare_several(&about(a), &about(b));
        one(&comparison, Figure::DowntimeIcmp).clone()
    };
    // Every pair of these runs differs by more than chance within them.
    let drifts = verdict(&[100.0, 130.0, 115.0], &[120.0, 140.0, 110.0]);
    assert_eq!(drifts.verdict, Verdict::NotEnoughData, "{drifts:?}");
    assert!(drifts.drift.unwrap() > 0.1 && drifts.more_runs.unwrap() > 3, "{drifts:?}");
    assert_eq!((drifts.more_trials, drifts.a.runs, drifts.a.trials), (None, 3, 30));
    let pair = compare(&run_about(100.0), &run_about(120.0), &CompareOptions::default());
    let pair = one(&pair, Figure::DowntimeIcmp);
    assert_eq!((pair.verdict, pair.drift), (Verdict::SeemsWorse, None), "{pair:?}");
    let steady = verdict(&[100.0, 101.0, 102.0], &[120.0, 121.0, 122.0]);
    assert_eq!(steady.verdict, Verdict::Worse, "{steady:?}");
    let better = verdict(&[120.0, 121.0, 122.0], &[100.0, 101.0]);
    assert_eq!((better.verdict, better.b.runs), (Verdict::Better, 2), "{better:?}");
    let same = verdict(&[100.0, 101.0, 100.5], &[101.0, 100.0, 100.5]);
    assert_eq!(same.verdict, Verdict::NoDifference, "{same:?}");
    // Many earlier runs tell the drift that one new run has too.
    let one_more = verdict(&[100.0, 101.0, 102.0, 99.0, 100.0, 101.0], &[130.0]);
    assert_eq!(one_more.verdict, Verdict::Worse, "{one_more:?}");
}

#[test]
fn what_a_side_lacks_is_told_with_why() {
    let mut cases = vec![crate::fixture::case(); 4];
    for (case, name) in cases.iter_mut().zip(["here", "skipped", "late", "broken"]) {
        case.name = name.into();
    }
    let skipped = [dunlin_record::SkippedCase {
        title: "skipped".into(),
        because: "needs userfaultfd,\nrefused".into(),
    }];
    let mut a = ended("here", &[(Status::Completed, 3)]);
    a.extend(ended("skipped", &[(Status::Completed, 3)]));
    a.extend(ended("broken", &[(Status::Completed, 3)]));
    a.extend(ended("extra", &[(Status::Completed, 1)]));
    let mut b = ended("here", &[(Status::Completed, 3)]);
    b.extend(ended("broken", &[(Status::Failed, 2)]));
    let run = |outcomes, skipped| ComparedRun { outcomes, cases: &cases, skipped };
    let comparison = compare_runs(
        &[run(a.as_slice(), &[]), run(a.as_slice(), &[])],
        &[run(b.as_slice(), &skipped), run(a.as_slice(), &[])],
        &CompareOptions::default(),
    );
    let told: Vec<_> = comparison
        .lacking
        .iter()
        .map(|one| (one.case.as_str(), one.side, one.runs, one.all, one.because.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("skipped", SideName::B, 1, false, "skipped: needs userfaultfd, refused"),
            ("late", SideName::A, 2, true, "not run"),
            ("late", SideName::B, 2, true, "not run"),
            ("broken", SideName::B, 1, false, "none of its 2 trials completed"),
            ("extra", SideName::B, 1, false, "not asked for"),
        ]
    );
}

#[test]
fn flags_of_each_side_are_counted_beside_its_figures() {
    let a = run_about(100.0);
    let mut b = a.clone();
    b[0].flags = vec![Flag::HostSaturated, Flag::EmulatedCpu];
    b[1].flags = vec![Flag::HostSaturated];
    let comparison = compare(&a, &b, &CompareOptions::default());
    let icmp = one(&comparison, Figure::DowntimeIcmp);
    assert!(icmp.a.flags.is_empty());
    assert_eq!(Vec::from_iter(icmp.b.flags.clone()), [(Flag::HostSaturated, 2), (Flag::EmulatedCpu, 1)]);
}

#[test]
fn a_migration_that_damaged_the_guest_s_memory_did_not_complete() {
    let a = ended("c", &[(Status::Completed, 8)]);
    let mut b = a.clone();
    b.iter_mut().for_each(|outcome| outcome.flags.push(Flag::CorruptMemory));
    let comparison = compare(&a, &b, &CompareOptions::default());
    assert_eq!(one(&comparison, Figure::Completed).verdict, Verdict::SeemsWorse);
}

#[test]
fn from_nothing_to_something_is_worse_without_a_relative_change() {
    let (a, b) = (icmp("c", [0.0; 8]), icmp("c", [30.0; 8]));
    let comparison = compare(&a, &b, &CompareOptions::default());
    let figure = one(&comparison, Figure::DowntimeIcmp);
    assert_eq!((figure.verdict, figure.change, figure.interval), (Verdict::SeemsWorse, None, None));
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
fn no_difference_is_said_only_of_figures_told_finely_enough() {
    let told = |middle: f64, step: f64| {
        let values = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0].map(|steps| middle + steps * step);
        [icmp("c", values), icmp("c", values), icmp("c", values)]
    };
    let verdict = |middle, step, runs: usize| {
        let comparison = compare_several(&told(middle, step)[..runs], &told(middle, step)[..runs]);
        let figure = one(&comparison, Figure::DowntimeIcmp);
        (figure.verdict, figure.more_trials, figure.drift.map(|drift| (drift * 1e4).round()))
    };
    // 1 ms of 10 is more than 5 %, 1 ms of 100 is less: the drift is 1 % over the root of 12 there.
    assert_eq!(verdict(10.0, 1.0, 3), (Verdict::NotEnoughData, None, Some(289.0)));
    assert_eq!(verdict(100.0, 1.0, 3), (Verdict::NoDifference, None, Some(29.0)));
    assert_eq!(verdict(10.0, 1.0, 1), (Verdict::NotEnoughData, None, None));
    assert_eq!(verdict(100.0, 1.0, 1), (Verdict::SeemsTheSame, None, None));
}

#[test]
fn of_runs_of_unequal_length_the_completed_trials_are_counted() {
    let a =
        [ended("c", &[(Status::Completed, 1), (Status::Failed, 1)]), ended("c", &[(Status::Completed, 10)])];
    let comparison = compare_several(&a, &a);
    let completed = &one(&comparison, Figure::Completed).a;
    assert_eq!((completed.completed, completed.trials, completed.median), (Some(11), 12, Some(0.75)));
    let comparison = compare(&run_about(100.0), &run_about(100.0), &CompareOptions::default());
    assert_eq!(one(&comparison, Figure::DowntimeIcmp).a.completed, None);
}

#[test]
fn how_many_more_trials_would_do_is_not_told_of_values_of_which_some_are_bounds() {
    let mut a = icmp("c", (0..8).map(|i| f64::from(100 + i * i)));
    let more = |a: &[Outcome]| {
        let comparison = compare(a, a, &CompareOptions::default());
        let figure = one(&comparison, Figure::DowntimeIcmp);
        (figure.verdict, figure.interval.is_some(), figure.more_trials.is_some())
    };
    assert_eq!(more(&a), (Verdict::NotEnoughData, true, true));
    a[0].downtime_at_most_ms.icmp = a[0].downtime_ms.icmp.take();
    assert_eq!(more(&a), (Verdict::NotEnoughData, false, false));
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
    let comparison = compare_to_baseline(&of(&run), "idle", &options).unwrap();
    let verdicts: Vec<(&str, Verdict)> = comparison
        .cases
        .iter()
        .flat_map(|case| case.figures.iter().map(|figure| (case.title.as_str(), figure)))
        .filter(|(_, figure)| figure.figure == Figure::DowntimeIcmp)
        .map(|(title, figure)| (title, figure.verdict))
        .collect();
    assert_eq!(verdicts, [("cpu", Verdict::NoDifference), ("dirty", Verdict::Worse)]);
    assert_eq!(compare_to_baseline(&of(&run), "none of it", &options), None);
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
        (values(), bounds(), Verdict::SeemsBetter, (2.0 - 104.5) / 104.5),
        (bounds(), values(), Verdict::SeemsWorse, (104.5 - 2.0) / 2.0),
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

#[test]
fn of_several_runs_the_median_lies_between_the_means_of_the_bounds_of_theirs_and_drift_is_not_known() {
    let bounds = [2.0, 4.0, 6.0].map(|ms| at_most("c", [ms; 10]));
    let values = [100.0, 101.0, 102.0].map(run_about);
    let comparison = compare_several(&bounds, &values);
    let figure = one(&comparison, Figure::DowntimeIcmp);
    assert_eq!((figure.a.median, figure.a.median_at_most, figure.a.values), (None, Some(4.0), 30));
    assert!((figure.b.median.unwrap() - 101.0).abs() < 1.0 && figure.b.deviation.is_some(), "{figure:?}");
    assert_eq!((figure.verdict, figure.change, figure.drift), (Verdict::SeemsWorse, None, None));
    assert!(figure.change_at_least.unwrap() > 20.0 && figure.interval.is_none(), "{figure:?}");
    // What is told whole has its drift beside it.
    assert!(one(&comparison, Figure::Completed).drift.is_some());
    let comparison = compare_several(&bounds, &bounds);
    let figure = one(&comparison, Figure::DowntimeIcmp);
    assert_eq!(figure.verdict, Verdict::NotEnoughData);
    assert_eq!((figure.more_trials, figure.more_runs), (None, None));

    let mut unfinished = icmp("c", [100.0; 3]);
    for outcome in &mut unfinished {
        outcome.downtime_at_least_ms.icmp = outcome.downtime_ms.icmp.take();
    }
    let comparison = compare_several(&[icmp("c", [40.0; 3]), unfinished], &values);
    let of_a = &one(&comparison, Figure::DowntimeIcmp).a;
    assert_eq!((of_a.median, of_a.median_at_least, of_a.median_at_most), (None, Some(70.0), None));
}

#[test]
fn a_bound_of_a_case_that_was_run_in_turn_shows_a_change_for_certain() {
    let mut run = at_most("idle", [2.0; 10]);
    run.extend(icmp("dirty", (0..10).map(|i| f64::from(100 + i))));
    let comparison = compare_to_baseline(&of(&run), "idle", &CompareOptions::default()).unwrap();
    let figure = one(&comparison, Figure::DowntimeIcmp);
    assert_eq!((figure.verdict, figure.change_at_least), (Verdict::Worse, Some((104.5 - 2.0) / 2.0)));
}

#[test]
fn one_bound_among_many_values_does_not_make_drift_unknown() {
    let drifting = || [100.0, 130.0, 115.0].map(run_about);
    let (a, mut b) = (drifting(), [120.0, 140.0, 110.0].map(run_about));
    let outcome = &mut b[0][0];
    outcome.downtime_at_most_ms.icmp = outcome.downtime_ms.icmp.take();
    let comparison = compare_several(&a, &b);
    let figure = one(&comparison, Figure::DowntimeIcmp);
    assert_eq!(figure.verdict, Verdict::NotEnoughData, "{figure:?}");
    assert!(figure.drift.unwrap() > 0.1 && figure.interval.is_some() && figure.b.deviation.is_none());
    assert_eq!((figure.b.values, figure.b.median.is_some()), (30, true));
}
