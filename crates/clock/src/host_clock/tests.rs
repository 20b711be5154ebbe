//! A host whose clocks are known exactly, and what the bench makes of its answers.

use proptest::prelude::*;

use super::*;
use crate::MILLISECOND_NS;

/// The clocks of a host as they are.
#[derive(Debug, Clone)]
struct Truth {
    /// What both say more than the bench's at its 0 …
    monotonic_ns: i64,
    realtime_ns: i64,
    /// … how fast they gain, one value after the other for [`PACE_NS`] each …
    paces_ppm: Vec<i64>,
    /// … and when the real-time clock was set, by how much.
    steps: Vec<(i64, i64)>,
}

const PACE_NS: i64 = 3 * SECOND_NS;

impl Truth {
    fn gained_ns(&self, t_ns: i64) -> i64 {
        let paces = self.paces_ppm.iter().cycle();
        let mut gained = 0;
        for (start_ns, ppm) in (0..).step_by(PACE_NS as usize).zip(paces) {
            let during_ns = (t_ns - start_ns).clamp(0, PACE_NS);
            if during_ns == 0 {
                break;
            }
            gained += during_ns * ppm / 1_000_000;
        }
        gained
    }

    fn monotonic(&self, t_ns: i64) -> i64 {
        t_ns + self.monotonic_ns + self.gained_ns(t_ns)
    }

    fn realtime(&self, t_ns: i64) -> i64 {
        let stepped: i64 = self.steps.iter().filter(|step| step.0 <= t_ns).map(|step| step.1).sum();
        t_ns + self.realtime_ns + self.gained_ns(t_ns) + stepped
    }

    /// An exchange whose question and answer take their time, both clocks read one after the other.
    fn exchange(&self, asked_ns: i64, there_ns: i64, back_ns: i64, apart_ns: i64) -> Exchange {
        let read_ns = asked_ns + there_ns;
        let answered_ns = read_ns + apart_ns + back_ns;
        Exchange {
            asked_ns,
            answered_ns,
            monotonic_ns: self.monotonic(read_ns),
            realtime_ns: self.realtime(read_ns + apart_ns),
            apart_ns,
        }
    }
}

fn truth(steps: impl Strategy<Value = Vec<(i64, i64)>>) -> impl Strategy<Value = Truth> {
    let some_s = -SECOND_NS..SECOND_NS;
    let days = -1_000 * 86_400 * SECOND_NS..20_000 * 86_400 * SECOND_NS;
    let offset = || prop_oneof![some_s.clone(), days.clone()];
    (offset(), offset(), prop::collection::vec(-200_i64..=200, 1..6), steps).prop_map(
        |(monotonic_ns, realtime_ns, paces_ppm, steps)| Truth { monotonic_ns, realtime_ns, paces_ppm, steps },
    )
}

/// When the next exchange follows, how long question and answer take, how far apart the clocks are read.
fn exchanges() -> impl Strategy<Value = Vec<[i64; 4]>> {
    let way = || prop_oneof![9 => 20_000..300_000_i64, 1 => 0..20 * MILLISECOND_NS];
    let one = (MILLISECOND_NS..SECOND_NS, way(), way(), 0..2_000_i64);
    prop::collection::vec(one.prop_map(|(after, there, back, apart)| [after, there, back, apart]), 1..40)
}

/// The clock as learnt, and when the last exchange ended.
fn learnt(truth: &Truth, exchanges: &[[i64; 4]], mut each: impl FnMut(&HostClock, i64)) -> (HostClock, i64) {
    let clock = HostClock::of_another();
    let mut t_ns = 10 * SECOND_NS;
    for [after, there, back, apart] in exchanges {
        let exchange = truth.exchange(t_ns + after, *there, *back, *apart);
        t_ns = exchange.answered_ns;
        clock.learn(exchange);
        each(&clock, t_ns);
    }
    (clock, t_ns)
}

fn holds(moment: Option<Moment>, t_ns: i64) -> bool {
    moment.is_some_and(|moment| (moment.t_ns - t_ns).abs() <= moment.error_ns)
}

fn is(mapping: Mapping, offset_ns: i64) -> bool {
    (mapping.offset_ns - offset_ns).abs() <= mapping.error_ns
}

proptest! {
    #[test]
    fn the_truth_is_always_within_the_error(
        truth in truth(Just(Vec::new())), exchanges in exchanges(), at in prop::collection::vec(0.0..1.0, 1..20),
    ) {
        let (clock, end_ns) = learnt(&truth, &exchanges, |clock, t_ns| {
            let soon_ns = t_ns + SECOND_NS / 3;
            assert!(holds(clock.monotonic(truth.monotonic(soon_ns)), soon_ns));
            assert!(holds(clock.realtime(truth.realtime(soon_ns)), soon_ns));
        });
        for share in at {
            let t_ns = 5 * SECOND_NS + ((end_ns - 4 * SECOND_NS) as f64 * share) as i64;
            prop_assert!(holds(clock.monotonic(truth.monotonic(t_ns)), t_ns));
            prop_assert!(holds(clock.realtime(truth.realtime(t_ns)), t_ns));
            prop_assert!(holds(clock.realtime_seen(truth.realtime(t_ns), t_ns + MILLISECOND_NS), t_ns));
            let standing = clock.standing(t_ns).unwrap();
            prop_assert!(is(standing.monotonic, t_ns - truth.monotonic(t_ns)));
            prop_assert!(is(standing.realtime, t_ns - truth.realtime(t_ns)));
            let during = clock.monotonic_during(t_ns, end_ns).unwrap();
            prop_assert!(is(during, t_ns - truth.monotonic(t_ns)) && is(during, end_ns - truth.monotonic(end_ns)));
        }
    }

    #[test]
    fn a_clock_that_is_set_is_still_within_its_error(
        truth in truth(steps()), exchanges in exchanges(), at in prop::collection::vec(0.0..1.0, 1..20),
    ) {
        let (clock, end_ns) = learnt(&truth, &exchanges, |_, _| {});
        for share in at {
            let t_ns = 11 * SECOND_NS + ((end_ns - 11 * SECOND_NS).max(0) as f64 * share) as i64;
            prop_assume!(is_covered(&truth, &exchanges, t_ns));
            prop_assert!(holds(clock.realtime(truth.realtime(t_ns)), t_ns));
            prop_assert!(holds(clock.monotonic(truth.monotonic(t_ns)), t_ns));
        }
    }

    #[test]
    fn foreign_answers_never_panic(
        answers in prop::collection::vec(any::<[i64; 5]>(), 0..20), stamps in any::<[i64; 4]>(),
    ) {
        let clock = HostClock::of_another();
        for [asked_ns, answered_ns, monotonic_ns, realtime_ns, apart_ns] in answers {
            clock.learn(Exchange { asked_ns, answered_ns, monotonic_ns, realtime_ns, apart_ns });
            for stamp in stamps {
                let _ = (clock.monotonic(stamp), clock.realtime(stamp), clock.realtime_seen(stamp, stamps[0]));
                let _ = (clock.standing(stamp), clock.monotonic_during(stamps[1], stamp));
            }
        }
    }
}

/// Two steps far enough apart that an exchange lies between.
fn steps() -> impl Strategy<Value = Vec<(i64, i64)>> {
    // By more than the slowest exchanges leave open.
    let by = || (100 * MILLISECOND_NS..3_600 * SECOND_NS, any::<bool>());
    let by = || by().prop_map(|(by, back)| if back { -by } else { by });
    ((11 * SECOND_NS..14 * SECOND_NS, by()), (16 * SECOND_NS..20 * SECOND_NS, by()))
        .prop_map(|(first, second)| vec![first, second])
}

/// Whether there is an exchange after the last step before a moment's end, or none has to tell of it.
fn is_covered(truth: &Truth, exchanges: &[[i64; 4]], t_ns: i64) -> bool {
    let mut asked_ns = 10 * SECOND_NS;
    let mut all = Vec::new();
    for [after, there, back, apart] in exchanges {
        all.push(asked_ns + after);
        asked_ns += after + there + back + apart;
    }
    truth.steps.iter().all(|(step_ns, _)| {
        *step_ns > t_ns && all.first().is_some_and(|first| first < step_ns)
            || all.iter().any(|asked_ns| asked_ns > step_ns)
                && all.first().is_some_and(|first| first < step_ns)
    })
}

const TRUTH: Truth =
    Truth { monotonic_ns: 7, realtime_ns: 9 * SECOND_NS, paces_ppm: Vec::new(), steps: Vec::new() };

fn twice_a_second(truth: &Truth, from_s: i64, to_s: i64, clock: &HostClock) {
    for half in 2 * from_s..2 * to_s {
        clock.learn(truth.exchange(half * SECOND_NS / 2, 100_000, 100_000, 100));
    }
}

#[test]
fn with_an_exchange_each_half_second_the_error_is_below_a_millisecond() {
    let truth = Truth { paces_ppm: vec![0], ..TRUTH };
    let clock = HostClock::of_another();
    assert_eq!((clock.monotonic(7), clock.realtime(7), clock.standing(7)), (None, None, None));
    twice_a_second(&truth, 1, 10, &clock);
    let error = |t_ns| clock.monotonic(truth.monotonic(t_ns)).unwrap().error_ns;
    assert!(error(5 * SECOND_NS) <= 101_000, "{}", error(5 * SECOND_NS));
    let between = error(5 * SECOND_NS + SECOND_NS / 4);
    assert!((300_000..400_000).contains(&between), "{between}");
    assert!(error(10 * SECOND_NS) <= 700_000, "right before the next");
}

#[test]
fn hours_of_exchanges_are_kept_within_bounds_and_old_stamps_are_still_found() {
    let truth =
        Truth { paces_ppm: vec![150, -80], steps: vec![(3_000 * SECOND_NS, 40 * SECOND_NS)], ..TRUTH };
    let clock = HostClock::of_another();
    twice_a_second(&truth, 0, 8_000, &clock);
    for t_ns in [60, 2_999, 3_001, 7_999].map(|s| s * SECOND_NS + 123_456_789) {
        let moment = clock.realtime(truth.realtime(t_ns));
        assert!(holds(moment, t_ns) && moment.unwrap().error_ns < 20 * MILLISECOND_NS, "{moment:?} {t_ns}");
    }
    assert!(clock.monotonic(truth.monotonic(7_999 * SECOND_NS)).unwrap().error_ns < MILLISECOND_NS);
}

#[test]
fn since_a_step_only_later_exchanges_count_and_in_the_gap_both_do() {
    let set = |by_ns| {
        let truth = Truth { paces_ppm: vec![0], steps: vec![(5_300_000_000, by_ns)], ..TRUTH };
        let clock = HostClock::of_another();
        twice_a_second(&truth, 1, 20, &clock);
        (truth, clock)
    };
    let (truth, clock) = set(20 * MILLISECOND_NS);
    let at = |t_ns: i64| clock.realtime(truth.realtime(t_ns)).unwrap();
    assert!(at(4_900_000_000).error_ns < MILLISECOND_NS && at(6_100_000_000).error_ns < MILLISECOND_NS);
    let gap = at(5_200_000_000);
    assert!((10 * MILLISECOND_NS..11 * MILLISECOND_NS).contains(&gap.error_ns), "{gap:?}");
    // A step as long as the gap cannot be mistaken: only one of the two fits.
    let (truth, clock) = set(3_600 * SECOND_NS);
    assert!(clock.realtime(truth.realtime(5_200_000_000)).unwrap().error_ns < MILLISECOND_NS);
    // What it showed twice is told as that, or as the last time where it was seen soon.
    let (truth, clock) = set(-2 * SECOND_NS);
    let stamp = truth.realtime(6_100_000_000);
    let (twice, seen) = (clock.realtime(stamp), clock.realtime_seen(stamp, 6_101_000_000));
    assert!(twice.unwrap().error_ns > 900 * MILLISECOND_NS, "{twice:?}");
    assert!(holds(seen, 6_100_000_000) && seen.unwrap().error_ns < MILLISECOND_NS, "{seen:?}");
    let seen = clock.realtime_seen(stamp, 4_101_000_000);
    assert!(holds(seen, 4_100_000_000), "nothing is seen before it happens: {seen:?}");
    assert_eq!(clock.realtime_seen(truth.realtime(15 * SECOND_NS), 9 * SECOND_NS), None);
}

#[test]
fn a_slew_faster_than_allowed_is_in_the_error() {
    let truth = Truth { paces_ppm: vec![20_000], ..TRUTH };
    let clock = HostClock::of_another();
    for half in 2..40 {
        let asked_ns = half * SECOND_NS / 2;
        clock.learn(truth.exchange(asked_ns, 50_000, 50_000, 0));
        let soon_ns = asked_ns + 400 * MILLISECOND_NS;
        assert!(half < 3 || holds(clock.monotonic(truth.monotonic(soon_ns)), soon_ns));
    }
    for t_ns in (2_000..19_000).step_by(37).map(|ms| ms * MILLISECOND_NS) {
        assert!(holds(clock.monotonic(truth.monotonic(t_ns)), t_ns), "{t_ns}");
    }
}

#[test]
fn the_benchs_own_clock_is_the_benchs_and_its_wall_clock_is_mapped() {
    let clock = HostClock::own();
    clock.learn(TRUTH.exchange(1, 2, 3, 4));
    assert!(clock.is_own());
    assert_eq!(clock.monotonic(12), Some(Moment { t_ns: 12, error_ns: 0 }));
    let (before_ns, epoch_ns, after_ns) = (now_ns(), crate::epoch_ns(), now_ns());
    let moment = clock.clone().realtime(epoch_ns).unwrap();
    assert!(
        moment.t_ns + moment.error_ns >= before_ns && moment.t_ns - moment.error_ns <= after_ns,
        "{moment:?}"
    );
    assert!(moment.error_ns < MILLISECOND_NS, "{moment:?}");
    let standing = clock.standing(now_ns()).unwrap();
    assert_eq!((standing.monotonic, clock.monotonic_during(1, 2)), (SAME, Some(SAME)));
    assert_eq!(standing.realtime.error_ns, moment.error_ns, "it is the one reading");
}

#[test]
fn a_stamp_before_the_benchs_own_wall_clock_was_set_is_mapped_by_what_held_then() {
    let clock = HostClock::own();
    let reading = |t_s: i64, ahead_s: i64| Reading {
        asked_ns: t_s * SECOND_NS - 50,
        answered_ns: t_s * SECOND_NS + 50,
        said_ns: (t_s + ahead_s) * SECOND_NS,
        apart_ns: 0,
        contradicts: false,
    };
    let now_s = now_ns() / SECOND_NS;
    for (t_s, ahead_s) in [(now_s - 9, 100), (now_s - 8, 100), (now_s - 5, 160), (now_s, 160)] {
        clock.known().realtime.learn(reading(t_s, ahead_s));
    }
    for (t_s, ahead_s) in [(now_s - 9, 100), (now_s - 7, 100), (now_s - 6, 160), (now_s - 2, 160)] {
        let t_ns = t_s * SECOND_NS + 77;
        let moment = clock.realtime(t_ns + ahead_s * SECOND_NS);
        assert_eq!(moment, Some(Moment { t_ns, error_ns: 50 }));
    }
}
