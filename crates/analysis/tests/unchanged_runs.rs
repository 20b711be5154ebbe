//! Runs in which nothing was changed: how often comparing them claims a change all the same, and which change is found.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

use std::path::Path;

use dunlin_analysis::{
    Bootstrap, CompareOptions, ComparedRun, Comparison, FigureComparison, PowerOptions, Verdict, compare,
    power,
};
use dunlin_record::{Case, Outcome, RunFolder, SkippedCase};

/// The share of comparisons of which any may claim a change where there is none.
const FALSE_TABLES: f64 = 0.05;

struct Recorded {
    outcomes: Vec<Outcome>,
}

/// Six real runs of one scenario.
fn recorded() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/unchanged");
    let run = |number| {
        let folder = RunFolder::open(&folder.join(format!("run-{number}"))).unwrap();
        Recorded { outcomes: folder.outcomes().unwrap() }
    };
    (1..=6).map(run).collect()
}

/// Numbers that are the same at every time: Steele, Lea and Flood's `SplitMix64`, 2014.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * end as u128) >> 64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in 0..items.len() {
            let other = place + self.below(items.len() - place);
            items.swap(place, other);
        }
    }
}

/// So many of a run's trials of each case, chosen at random, dealt to so many sides.
fn dealt(run: &[Outcome], sides: usize, each: usize, random: &mut Random) -> Vec<Vec<Outcome>> {
    let mut titles: Vec<String> = run.iter().map(|outcome| outcome.case.title()).collect();
    titles.dedup();
    let mut dealt = vec![Vec::new(); sides];
    for title in titles {
        let mut trials: Vec<&Outcome> = run.iter().filter(|outcome| outcome.case.title() == title).collect();
        random.shuffle(&mut trials);
        for (side, trials) in dealt.iter_mut().zip(trials.chunks(each)) {
            side.extend(trials.iter().copied().cloned());
        }
    }
    dealt
}

const NO_CASES: &[Case] = &[];
const NONE_SKIPPED: &[SkippedCase] = &[];

fn compared(a: &[Vec<Outcome>], b: &[Vec<Outcome>], seed: u64) -> Comparison {
    let told = |outcomes| ComparedRun { outcomes, cases: NO_CASES, skipped: NONE_SKIPPED };
    let a: Vec<ComparedRun<'_>> = a.iter().map(|run| told(run.as_slice())).collect();
    let b: Vec<ComparedRun<'_>> = b.iter().map(|run| told(run.as_slice())).collect();
    // A claim of a change needs no interval.
    let options = CompareOptions {
        permutations: 299,
        bootstrap: Bootstrap { resamples: 0, seed, ..Bootstrap::default() },
        ..CompareOptions::default()
    };
    compare(&a, &b, &options)
}

fn any(comparison: &Comparison, is_one: impl Fn(&FigureComparison) -> bool) -> bool {
    comparison.cases.iter().flat_map(|case| &case.figures).any(is_one)
}

fn is_certain(figure: &FigureComparison) -> bool {
    matches!(figure.verdict, Verdict::Better | Verdict::Worse)
}

/// All that came of the tables of one kind.
#[derive(Default)]
struct Tally {
    tables: u32,
    claims: u32,
}

impl Tally {
    fn enter(&mut self, claims: bool) {
        self.tables += 1;
        self.claims += u32::from(claims);
    }

    fn share(&self) -> f64 {
        f64::from(self.claims) / f64::from(self.tables)
    }
}

#[test]
fn runs_without_a_change_are_called_changed_in_at_most_one_of_twenty_comparisons() {
    let recorded = recorded();
    let mut random = Random(10);
    let (mut halves, mut paired, mut all, mut pairs) =
        (Tally::default(), Tally::default(), Tally::default(), Tally::default());
    // Halves of one run, between which nothing drifts much: here even what only seems to be a change counts.
    for seed in 0..800 {
        let run = &recorded[random.below(6)].outcomes;
        let sides = dealt(run, 2, 5, &mut random);
        let comparison = compared(&sides[..1], &sides[1..], seed);
        let claims = any(&comparison, |figure| figure.verdict.is_change());
        halves.enter(claims);
        all.enter(claims);
    }
    // Runs paired anew, from one against one to three against three, of six to ten of their trials.
    for seed in 0..1200 {
        let mut order: Vec<usize> = (0..6).collect();
        random.shuffle(&mut order);
        let (in_a, in_b) = [(1, 1), (1, 3), (2, 2), (2, 4), (3, 3), (1, 5)][seed as usize % 6];
        let each = 6 + random.below(5);
        let mut chosen = |runs: &[usize]| -> Vec<Vec<Outcome>> {
            runs.iter().flat_map(|run| dealt(&recorded[*run].outcomes, 1, each, &mut random)).collect()
        };
        let (a, b) = (chosen(&order[..in_a]), chosen(&order[in_a..in_a + in_b]));
        let comparison = compared(&a, &b, seed);
        let claims = any(&comparison, is_certain);
        if (in_a, in_b) == (1, 1) {
            assert!(!claims, "of one run a side nothing is certain");
            pairs.enter(any(&comparison, |figure| figure.verdict.is_change()));
        }
        paired.enter(claims);
        all.enter(claims);
    }
    println!(
        "{} tables: {:.3} claim a change; halves {:.3}, paired anew {:.3}; of one run a side {:.3} seem to have one",
        all.tables,
        all.share(),
        halves.share(),
        paired.share(),
        pairs.share()
    );
    assert_eq!(all.tables, 2000);
    for (kind, tally) in [("halves", &halves), ("paired anew", &paired), ("all", &all)] {
        assert!(tally.share() <= FALSE_TABLES, "{kind}: {}", tally.share());
    }
}

/// Drift that is made up, between runs whose trials are real: it is greater than all that changes within a run.
#[test]
fn great_drift_is_not_taken_for_a_change() {
    let recorded = recorded();
    let mut random = Random(20);
    let (mut certain, mut seeming) = (Tally::default(), Tally::default());
    for seed in 0..200 {
        let drifting = |random: &mut Random| {
            // From 0.6 to 1.4, about normal.
            let drift = 0.6 + (0..4).map(|_| random.below(1000) as f64 / 1000.0).sum::<f64>() / 5.0;
            let mut run = dealt(&recorded[0].outcomes, 1, 10, random).remove(0);
            for outcome in &mut run {
                let downtime = &mut outcome.downtime_ms;
                let figures =
                    [&mut downtime.reported, &mut downtime.paused, &mut downtime.icmp, &mut downtime.udp];
                for figure in figures.into_iter().chain([&mut outcome.total_time_ms]) {
                    *figure = figure.map(|ms| ms * drift);
                }
            }
            run
        };
        let runs: Vec<Vec<Outcome>> = (0..6).map(|_| drifting(&mut random)).collect();
        certain.enter(any(&compared(&runs[..3], &runs[3..], seed), is_certain));
        seeming.enter(any(&compared(&runs[..1], &runs[1..2], seed), |figure| figure.verdict.is_change()));
    }
    assert!(certain.share() <= FALSE_TABLES, "{}", certain.share());
    assert!(seeming.share() >= certain.share(), "{} of one run a side", seeming.share());
}

#[test]
fn more_trials_and_runs_find_smaller_changes() {
    let recorded = recorded();
    let runs: Vec<ComparedRun<'_>> = recorded
        .iter()
        .map(|run| ComparedRun { outcomes: &run.outcomes, ..ComparedRun::default() })
        .collect();
    let quick = |runs: usize| PowerOptions {
        tables: 30,
        changes: vec![0.05, 0.2, 0.5, 1.0, 2.0, 4.0],
        amounts: if runs > 1 { vec![2, 6] } else { vec![3, 10, 30] },
        ..PowerOptions::for_runs(runs)
    };
    for runs in [&runs[..1], &runs[..]] {
        let power = power(runs, &quick(runs.len()));
        assert_eq!(power.runs, runs.len());
        assert_eq!(power.rows.len(), 3 * 6, "three cases of six figures");
        for row in &power.rows {
            let found: Vec<f64> = row.found.iter().map(|with| with.found.unwrap_or(f64::INFINITY)).collect();
            assert!(found.is_sorted_by(|fewer, more| more <= fewer), "{row:?}");
        }
        let wire = power.rows.iter().filter(|row| row.figure.name() == "wire_bytes.source_tx");
        for row in wire {
            let most = row.found.last().unwrap().found;
            assert!(most.is_some_and(|change| change <= 0.2), "bytes hardly vary: {row:?}");
        }
        for with in &power.false_tables {
            assert!(with.found.unwrap() <= 0.17, "{with:?}");
        }
    }
}
