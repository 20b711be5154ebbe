//! The CPU workload of Hu et al., section 3.2: FFTs "with priorities ranging from 1 (75 % user CPU cycles) to 10 (100 %
//! system CPU cycles)".
//!
//! The paper does not say how a priority is made. Here it is a share of the time of one vCPU, from 75 % at 1 in equal
//! steps to 100 % at 10, and a nice value from 9 at 1 to -9 at 10, so that a higher priority also yields less to others.

use std::sync::atomic::AtomicBool;

use dunlin_agent_proto::Work;
use dunlin_clock::{MILLISECOND_NS, now_ns, sleep_until};

use super::content::mix;
use super::fft::Fft;
use super::is_stopped;
use crate::sys;

/// Short enough that one operation takes well below a period, under emulation too.
const POINTS: usize = 256;
/// Work and rest alternate within this time.
const PERIOD_NS: i64 = 40 * MILLISECOND_NS;
/// Rounding of 2 x 8 stages on numbers up to 1 stays far below this; a flipped bit that matters does not.
const TOLERANCE: f64 = 1e-9;

/// A load that is ready to run.
#[derive(Debug)]
pub(super) struct Load {
    busy_ns: i64,
    nice: i32,
    fft: Fft,
    signal: Vec<(f64, f64)>,
    operations: u64,
    wrong_results: u64,
}

/// Prepares the load of a priority from 1 to 10.
pub(super) fn prepare(priority: u8) -> Result<Load, String> {
    if !(1..=10).contains(&priority) {
        return Err(format!("a priority {priority}, which goes from 1 to 10"));
    }
    let steps = i64::from(priority - 1);
    let noise = |i: u64| (mix(i) >> 11) as f64 / (1_u64 << 53) as f64;
    Ok(Load {
        busy_ns: PERIOD_NS * 3 / 4 + PERIOD_NS / 4 * steps / 9,
        nice: 11 - 2 * i32::from(priority),
        fft: Fft::new(POINTS),
        signal: (0..POINTS as u64).map(|i| (noise(2 * i), noise(2 * i + 1))).collect(),
        operations: 0,
        wrong_results: 0,
    })
}

impl Load {
    /// Computes until it is stopped.
    pub(super) fn work(mut self, stop: &AtomicBool) -> Result<Work, String> {
        // A guest's init may raise a priority; a test's thread need not.
        let _ = sys::set_nice_of_this_thread(self.nice);
        let before =
            sys::cpu_of_this_thread().map_err(|error| format!("read the workload's CPU time: {error}"))?;
        let mut period_ns = now_ns();
        while !is_stopped(stop) {
            while now_ns() < period_ns + self.busy_ns && !is_stopped(stop) {
                self.transform();
            }
            // A period that was missed is not caught up with.
            period_ns = (period_ns + PERIOD_NS).max(now_ns() - PERIOD_NS);
            if self.busy_ns < PERIOD_NS {
                sleep_until(period_ns);
            }
        }
        let after =
            sys::cpu_of_this_thread().map_err(|error| format!("read the workload's CPU time: {error}"))?;
        Ok(Work::Cpu {
            operations: self.operations,
            wrong_results: self.wrong_results,
            user_ns: after.user_ns.saturating_sub(before.user_ns),
            system_ns: after.system_ns.saturating_sub(before.system_ns),
        })
    }

    /// There and back, which must give what went in.
    fn transform(&mut self) {
        let mut signal = self.signal.clone();
        self.fft.forward(&mut signal);
        self.fft.backward(&mut signal);
        self.judge(&signal);
    }

    fn judge(&mut self, result: &[(f64, f64)]) {
        let differs = |(a, b): (&(f64, f64), &(f64, f64))| {
            // Written so that a NaN differs.
            !((a.0 - b.0).abs() < TOLERANCE && (a.1 - b.1).abs() < TOLERANCE)
        };
        self.operations += 1;
        self.wrong_results += u64::from(result.iter().zip(&self.signal).any(differs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_go_from_three_quarters_to_all_of_the_time() {
        let shares: Vec<i64> =
            (1..=10).map(|priority| prepare(priority).unwrap().busy_ns * 100 / PERIOD_NS).collect();
        assert_eq!(shares, [75, 77, 80, 83, 86, 88, 91, 94, 97, 100]);
        let nices = [1, 5, 10].map(|priority| prepare(priority).unwrap().nice);
        assert_eq!(nices, [9, 1, -9]);
    }

    #[test]
    fn a_wrong_result_is_counted() {
        let mut load = prepare(5).unwrap();
        load.transform();
        assert_eq!((load.operations, load.wrong_results), (1, 0));
        for wrong in [f64::NAN, load.signal[7].1 + 1e-6] {
            let mut result = load.signal.clone();
            result[7].1 = wrong;
            load.judge(&result);
        }
        assert_eq!((load.operations, load.wrong_results), (3, 2));
    }
}
