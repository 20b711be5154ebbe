//! What a managed switch counted at its port to the source, and whether that can be believed.

use dunlin_record::{ABSENT, Flag, Series, SwitchBytes};

use crate::moments::Moments;
use crate::samples::Samples;
use crate::trial::Trial;
use crate::units::{figure, ms_between};

/// How far the counters of a switch and of a host's interface may be apart besides what frames explain.
const AGREEMENT_SHARE: f64 = 0.01;
/// The same in bytes, for what neighbours say to each other meanwhile.
const AGREEMENT_BYTES: f64 = 65_536.0;
/// By how much a switch counts a frame longer than the host does: its check sequence (4 bytes; RFC 3635, section
/// 3.2.6), a VLAN tag (4), and what fills a bare acknowledgement of 54 bytes up to the least frame (6).
const FRAME_EXTRA_BYTES: f64 = 14.0;
/// A link without a rate, in Mbit/s: faster than any port that has but 32-bit counters.
const UNLIMITED_MBIT: f64 = 100_000.0;
/// `sysUpTime` starts anew after so many hundredths of a second: 497 days.
const UPTIME_END_CS: i64 = 1 << 32;

/// The bytes at the switch's port to the source, and why they are not known or not to be trusted; neither where nobody
/// asked.
pub(crate) fn switch_bytes(trial: &Trial, moments: &Moments) -> (Option<SwitchBytes>, Option<Flag>) {
    if trial.case.switch.snmp.is_none() {
        return (None, None);
    }
    let series = trial.record.series.get(&format!("switch-{}-migration", trial.source));
    let Some(window) = series.and_then(|series| Window::of(&questions(series), moments)) else {
        return (None, Some(Flag::SwitchSilent));
    };
    let Some((source_tx, source_rx)) = window.counted(trial) else {
        return (None, Some(Flag::SwitchCountersReset));
    };
    let host = HostCounters::over(trial, &window);
    let agree = host.as_ref().is_none_or(|host| host.agree_with(source_tx, source_rx));
    let bytes = SwitchBytes {
        source_tx,
        source_rx,
        granularity_ms: window.granularity_ms(moments),
        difference_percent: host
            .and_then(|host| figure(source_tx.saturating_sub(host.tx.0) as f64 / host.tx.0 as f64 * 100.0)),
        asked: window.asked,
        unanswered: window.unanswered,
        counter_bits: window.answers[0].counter_bits,
    };
    (Some(bytes), (!agree).then_some(Flag::SwitchDisagrees))
}

/// What the switch said at a moment.
#[derive(Debug, Clone, Copy)]
struct Answer {
    at_ns: i64,
    /// By the port: received from the host, sent to it.
    in_bytes: i64,
    out_bytes: i64,
    counter_bits: u32,
    uptime_cs: i64,
    /// The same every time where the switch does not say it.
    discontinuity_cs: i64,
}

/// When the switch was asked, and what it said.
type Question = (i64, Option<Answer>);

fn questions(series: &Series) -> Vec<Question> {
    let question = |row: [i64; 7]| {
        let [asked_ns, answered_ns, in_bytes, out_bytes, bits, uptime_cs, discontinuity_cs] = row;
        let answered =
            [answered_ns, in_bytes, out_bytes, bits, uptime_cs].iter().all(|value| *value != ABSENT);
        let answer = answered.then(|| Answer {
            // It does not overflow, whatever the two are.
            at_ns: asked_ns.midpoint(answered_ns),
            in_bytes,
            out_bytes,
            counter_bits: u32::try_from(bits).unwrap_or(64),
            uptime_cs,
            discontinuity_cs,
        });
        (asked_ns, answer)
    };
    let mut questions: Vec<Question> = series.rows_of::<7>().map(question).collect();
    questions.sort_by_key(|(asked_ns, _)| *asked_ns);
    questions
}

/// From the switch's last word before the command to its last word of the settle time: by then a switch that refreshes
/// its counters but now and then has, it is to be hoped, done so.
struct Window {
    /// At least two, in order.
    answers: Vec<Answer>,
    asked: u64,
    unanswered: u64,
}

impl Window {
    fn of(questions: &[Question], moments: &Moments) -> Option<Self> {
        let answer_by = |limit_ns: i64| {
            questions.iter().rposition(|(_, answer)| answer.is_some_and(|answer| answer.at_ns <= limit_ns))
        };
        let (first, last) = (answer_by(moments.command)?, answer_by(moments.window_end)?);
        let within = &questions[first..=last];
        let answers: Vec<Answer> = within.iter().filter_map(|(_, answer)| *answer).collect();
        let covers = answers.last().is_some_and(|last| last.at_ns >= moments.end);
        let asked = within.len() as u64;
        covers.then(|| Self { asked, unanswered: asked - answers.len() as u64, answers })
    }

    /// What the port received and sent; nothing where the counters began anew in a way that cannot be made good.
    fn counted(&self, trial: &Trial) -> Option<(i64, i64)> {
        let rate_mbit = trial.case.link.migration.rate_mbit.unwrap_or(UNLIMITED_MBIT);
        self.answers.windows(2).try_fold((0, 0), |(received, sent), pair| {
            let [before, after] = [pair[0], pair[1]];
            if before.was_reset_by(&after) || before.may_wrap_twice_before(&after, rate_mbit) {
                return None;
            }
            let bits = after.counter_bits;
            let received = grown(before.in_bytes, after.in_bytes, bits)?.checked_add(received)?;
            Some((received, grown(before.out_bytes, after.out_bytes, bits)?.checked_add(sent)?))
        })
    }

    /// The longest time in which the counters stood still, from the command to the last time they moved.
    fn granularity_ms(&self, moments: &Moments) -> Option<f64> {
        let moved = self.answers.windows(2).filter(|pair| pair[0].in_bytes != pair[1].in_bytes);
        let moved = moved.map(|pair| pair[1].at_ns).filter(|at_ns| *at_ns > moments.command);
        let times: Vec<i64> = std::iter::once(moments.command).chain(moved).collect();
        times.windows(2).map(|pair| ms_between(pair[0], pair[1])).reduce(f64::max)
    }

    fn ends(&self) -> (i64, i64) {
        (self.answers[0].at_ns, self.answers[self.answers.len() - 1].at_ns)
    }
}

impl Answer {
    /// Whether the counters, or the agent itself, began anew in between.
    fn was_reset_by(&self, next: &Self) -> bool {
        let elapsed_cs = next.at_ns.saturating_sub(self.at_ns) / 10_000_000;
        // A second for the agent's own clock, and its way of rounding.
        let uptime_ended = self.uptime_cs.saturating_add(elapsed_cs).saturating_add(100) >= UPTIME_END_CS;
        let restarted = next.uptime_cs < self.uptime_cs && !uptime_ended;
        restarted || next.discontinuity_cs != self.discontinuity_cs || next.counter_bits != self.counter_bits
    }

    /// Whether so much time passed that a 32-bit counter may have begun anew more than once, at the link's rate.
    fn may_wrap_twice_before(&self, next: &Self, rate_mbit: f64) -> bool {
        let bits = rate_mbit * 1e6 * next.at_ns.saturating_sub(self.at_ns) as f64 / 1e9;
        self.counter_bits == 32 && bits / 8.0 >= f64::from(u32::MAX)
    }
}

/// By how much a counter grew. One of 64 bits does not get to its end; one of 32 may.
fn grown(before: i64, after: i64, counter_bits: u32) -> Option<i64> {
    match counter_bits {
        // What wraps at 64 bits has the same remainder by 32.
        32 => Some(after.wrapping_sub(before).rem_euclid(1 << 32)),
        _ => after.checked_sub(before).filter(|grown| *grown >= 0),
    }
}

/// What the host's interface counted in the same time: bytes and frames, each way.
struct HostCounters {
    tx: (i64, i64),
    rx: (i64, i64),
}

impl HostCounters {
    fn over(trial: &Trial, window: &Window) -> Option<Self> {
        let (from_ns, to_ns) = window.ends();
        let grown = |column| Samples::of(trial.migration_wire(), column).growth(from_ns, to_ns);
        Some(Self {
            tx: (grown("tx_bytes")?, grown("tx_packets")?),
            rx: (grown("rx_bytes")?, grown("rx_packets")?),
        })
    }

    fn agree_with(&self, source_tx: i64, source_rx: i64) -> bool {
        let agree = |(bytes, frames): (i64, i64), counted: i64| {
            let slack = bytes as f64 * AGREEMENT_SHARE + AGREEMENT_BYTES;
            let more = counted.saturating_sub(bytes) as f64;
            (-slack..=slack + frames as f64 * FRAME_EXTRA_BYTES).contains(&more)
        };
        agree(self.tx, source_tx) && agree(self.rx, source_rx)
    }
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Outcome, Snmp, shapes};

    use super::*;
    use crate::fixture::{Fixture, ns};

    /// One question each 100 ms from -510 to 1490 to a port that counts as the fixture's interface does; `change` makes
    /// another answer of it, or none.
    fn outcome(change: impl Fn(f64, [i64; 7]) -> [i64; 7]) -> Outcome {
        let row = |tick: i64| {
            let at_ms = tick as f64 * 100.0 - 10.0;
            let sent = (at_ms.clamp(0.0, 530.0) * 100_000.0) as i64;
            change(at_ms, [ns(at_ms), ns(at_ms + 1.0), sent, sent / 50, 64, 4200 + tick * 10, 7])
        };
        let rows: Vec<[i64; 7]> = (-5..=15).map(row).collect();
        Fixture::pre_copy()
            .with_case(|case| case.switch.snmp = Some(Snmp::default()))
            .with_series("switch-host-a-migration", Series::from_rows(shapes::SWITCH, &rows))
            .with_wire(0.0, 530.0)
            .outcome()
    }

    fn silent(asked_ns: i64) -> [i64; 7] {
        let mut row = [ABSENT; 7];
        row[0] = asked_ns;
        row
    }

    /// The bytes, and the switch's flag.
    fn told(change: impl Fn(f64, [i64; 7]) -> [i64; 7]) -> (Option<i64>, Vec<Flag>) {
        let outcome = outcome(change);
        let is_ours = |flag: &Flag| {
            matches!(flag, Flag::SwitchSilent | Flag::SwitchCountersReset | Flag::SwitchDisagrees)
        };
        let flags = outcome.flags.into_iter().filter(is_ours).collect();
        (outcome.wire_bytes_snmp.map(|bytes| bytes.source_tx), flags)
    }

    #[test]
    fn the_ports_bytes_are_those_between_its_words_before_and_after() {
        let bytes = outcome(|_, row| row).wire_bytes_snmp.unwrap();
        assert_eq!((bytes.source_tx, bytes.source_rx), (53_000_000, 1_060_000));
        assert_eq!((bytes.asked, bytes.unanswered, bytes.counter_bits), (16, 0, 64));
        assert!((90.0..=101.0).contains(&bytes.granularity_ms.unwrap()), "{bytes:?}");
        assert!(bytes.difference_percent.unwrap().abs() < 0.1, "{bytes:?}");
        assert_eq!(told(|_, row| row).1, []);
    }

    #[test]
    fn nobody_asked_nothing_told() {
        let outcome = Fixture::pre_copy().outcome();
        assert_eq!((outcome.wire_bytes_snmp, outcome.flags), (None, vec![]));
    }

    #[test]
    fn questions_without_an_answer_are_counted_and_the_figure_stays() {
        let gap =
            |at_ms: f64, row: [i64; 7]| if (100.0..450.0).contains(&at_ms) { silent(row[0]) } else { row };
        let bytes = outcome(gap).wire_bytes_snmp.unwrap();
        assert_eq!((bytes.source_tx, bytes.unanswered), (53_000_000, 3));
        assert!(bytes.granularity_ms.unwrap() > 390.0);
    }

    #[test]
    fn a_switch_that_is_silent_before_or_after_has_no_figure() {
        let silent_when = |silent_at: fn(f64) -> bool| {
            told(move |at_ms, row| if silent_at(at_ms) { silent(row[0]) } else { row })
        };
        let without_figure = (None, vec![Flag::SwitchSilent]);
        assert_eq!(silent_when(|at_ms| at_ms <= 0.0), without_figure);
        assert_eq!(silent_when(|at_ms| at_ms > 300.0), without_figure);
        assert_eq!(silent_when(|_| true), without_figure);
    }

    #[test]
    fn counters_that_begin_anew_are_not_used() {
        let anew = (None, vec![Flag::SwitchCountersReset]);
        let after = |column: usize, value: i64| {
            told(move |at_ms, mut row| {
                if at_ms > 250.0 {
                    row[column] = value + (at_ms / 10.0) as i64;
                }
                row
            })
        };
        // The agent started anew; the port's counters were reset, first as the switch says, then without a word.
        assert_eq!(after(5, 3), anew);
        assert_eq!(
            told(|at_ms, mut row| {
                row[6] += i64::from(at_ms > 250.0);
                row
            }),
            anew
        );
        assert_eq!(after(2, 1000), anew);
        // After 497 days the uptime itself begins anew, and nothing else does.
        let old = |row: &mut [i64; 7], by: i64| row[5] = (row[5] + by).rem_euclid(UPTIME_END_CS);
        let (bytes, flags) = told(|_, mut row| {
            old(&mut row, UPTIME_END_CS - 4220);
            row
        });
        assert_eq!((bytes, flags), (Some(53_000_000), vec![]));
    }

    #[test]
    fn a_32_bit_counter_may_begin_anew_once_between_two_words_but_not_unseen() {
        let wrapping = |at_ms: f64, mut row: [i64; 7], silent_ms: f64| {
            row[4] = 32;
            row[2] = (row[2] + (1 << 32) - 10_000_000).rem_euclid(1 << 32);
            if (50.0..silent_ms).contains(&at_ms) { silent(row[0]) } else { row }
        };
        assert_eq!(told(|at_ms, row| wrapping(at_ms, row, 0.0)), (Some(53_000_000), vec![]));
        // Without a rate a link may carry 2^32 bytes in 344 ms.
        assert_eq!(told(|at_ms, row| wrapping(at_ms, row, 350.0)), (None, vec![Flag::SwitchCountersReset]));
    }

    #[test]
    fn counters_that_cannot_be_are_not_used_and_do_not_overflow() {
        let jump = |to: fn(f64) -> i64, bits| {
            told(move |at_ms, mut row| {
                (row[2], row[4]) = (to(at_ms), bits);
                row
            })
        };
        let anew = (None, vec![Flag::SwitchCountersReset]);
        let from_end_to_end = |at_ms: f64| if at_ms < 250.0 { i64::MIN + 1 } else { i64::MAX };
        assert_eq!(jump(from_end_to_end, 64), anew);
        let (bytes, _) = jump(from_end_to_end, 32);
        assert_eq!(bytes, Some((1 << 32) - 2), "by 32 bits it is one round");
        let uptime_at_its_end = |_: f64, mut row: [i64; 7]| {
            row[5] = i64::MAX;
            row
        };
        assert_eq!(told(uptime_at_its_end), (Some(53_000_000), vec![]));
    }

    #[test]
    fn frames_explain_a_difference_and_a_stale_word_does_not() {
        // 35 333 frames of 1500 bytes, each with its check sequence.
        let with_check_sequences = |_: f64, mut row: [i64; 7]| {
            row[2] += row[2] / 1500 * 4;
            row
        };
        assert_eq!(told(with_check_sequences).1, []);
        let twice = |_: f64, mut row: [i64; 7]| {
            row[2] *= 2;
            row
        };
        assert_eq!(told(twice).1, [Flag::SwitchDisagrees]);
        let stale = |at_ms: f64, mut row: [i64; 7]| {
            row[2] = if at_ms > 300.0 { 30_000_000 } else { row[2] };
            row
        };
        let (bytes, flags) = told(stale);
        assert_eq!((bytes, flags), (Some(30_000_000), vec![Flag::SwitchDisagrees]));
    }
}
