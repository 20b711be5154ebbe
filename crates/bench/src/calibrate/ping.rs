//! What `ping` would have said of outages by counting lost requests, as is often done.
//!
//! It sends no request until the last one was answered or 10 ms have passed (iputils), so while nothing answers it loses
//! about one each 10 ms, whatever interval it was asked for.

use std::io::{ErrorKind, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns};
use dunlin_testbed::Fault;

use super::certificate::{PingAccount, PingReading};
use super::measure::length_ms;
use super::rig::Rig;
use super::schedule::Planned;
use super::{CalibrationOrder, CalibrationProgress};
use crate::{BenchError, Result};

/// How long ping runs before the outage, at least.
const LEAD_NS: i64 = 400 * MILLISECOND_NS;
/// How long ping may take beyond the time it was given.
const END_LIMIT: Duration = Duration::from_secs(5);
/// How often it is looked whether ping has ended.
const LOOK_UP_NS: i64 = 20 * MILLISECOND_NS;

/// Lets ping watch one outage of each size, dropped; absent if it is not installed.
pub(super) fn compare(
    rig: &Rig<'_>,
    order: &CalibrationOrder<'_>,
    observer: &mut dyn FnMut(&CalibrationProgress),
) -> Result<Option<Vec<PingAccount>>> {
    let mut accounts = Vec::new();
    for (done, &asked_ms) in order.sizes_ms.iter().enumerate() {
        observer(&CalibrationProgress {
            done,
            total: order.sizes_ms.len(),
            doing: format!("ping, drop {asked_ms} ms"),
            left: expected(&order.sizes_ms[done..]),
        });
        let Some(ping) = Ping::start(rig, order.interval_ms, running_s(asked_ms))? else { return Ok(None) };
        let length_ns = Planned { fault: Fault::Drop, asked_ms }.length_ns();
        let injection = rig.inject(Fault::Drop, now_ns() + LEAD_NS, length_ns)?;
        let reading = read(&ping.report(rig)?, order.interval_ms);
        accounts.push(PingAccount { asked_ms, injected_ms: length_ms(&injection), reading });
    }
    Ok(Some(accounts))
}

/// How long it takes for these sizes.
pub(super) fn expected(sizes_ms: &[u32]) -> Duration {
    Duration::from_secs(sizes_ms.iter().map(|asked_ms| running_s(*asked_ms)).sum())
}

/// How long ping runs around an outage, in whole seconds, as it wants them.
fn running_s(asked_ms: u32) -> u64 {
    u64::from(asked_ms).div_ceil(1000) + 1
}

/// A running ping. Dropping it ends it.
struct Ping {
    child: Child,
    deadline: Deadline,
}

impl Ping {
    fn start(rig: &Rig<'_>, interval_ms: f64, seconds: u64) -> Result<Option<Self>> {
        let started = Command::new("ping")
            .args(["-n", "-q", "-i", &(interval_ms / 1e3).to_string(), "-w", &seconds.to_string()])
            .arg(rig.target().to_string())
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => {
                Ok(Some(Self { child, deadline: Deadline::after(Duration::from_secs(seconds) + END_LIMIT) }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BenchError::Io { doing: "start ping".into(), source }),
        }
    }

    /// Its report, once it has ended by itself; what it said so far if it does not.
    fn report(mut self, rig: &Rig<'_>) -> Result<String> {
        let io = |doing: &str| {
            let doing = doing.to_owned();
            move |source| BenchError::Io { doing, source }
        };
        while self.child.try_wait().map_err(io("ask how ping is"))?.is_none() && !self.deadline.passed() {
            rig.rest_until(now_ns() + LOOK_UP_NS)?;
        }
        // Fails only where it has ended. If it has not, its output would not end either.
        let _ = self.child.kill();
        let mut report = String::new();
        if let Some(mut output) = self.child.stdout.take() {
            output.read_to_string(&mut report).map_err(io("read what ping said"))?;
        }
        Ok(report)
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        // Both fail only where it has ended and been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads "1000 packets transmitted, 990 received, 1% packet loss, time 1000ms" (iputils).
fn read(report: &str, interval_ms: f64) -> Option<PingReading> {
    let line = report.lines().find(|line| line.contains(" packets transmitted"))?;
    let count =
        |what: &str| line.split(", ").find_map(|part| part.strip_suffix(what)?.trim().parse::<u64>().ok());
    let (sent, received) = (count(" packets transmitted")?, count(" received")?);
    Some(PingReading {
        sent,
        received,
        lost_times_interval_ms: sent.saturating_sub(received) as f64 * interval_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_read_from_the_report() {
        let report = "PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.\n\n--- 10.0.0.1 ping statistics ---\n\
            1702 packets transmitted, 1672 received, 1.76263% packet loss, time 1999ms\n\
            rtt min/avg/max/mdev = 0.047/0.103/0.530/0.047 ms\n";
        let reading = PingReading { sent: 1702, received: 1672, lost_times_interval_ms: 30.0 };
        assert_eq!(read(report, 1.0), Some(reading));
        let with_errors = "7 packets transmitted, 2 received, +5 errors, 71.4286% packet loss, time 6ms\n";
        assert_eq!(read(with_errors, 0.5).unwrap().lost_times_interval_ms, 2.5);
    }

    #[test]
    fn what_is_no_report_gives_no_counts() {
        for report in ["", "ping: nonsense", "x packets transmitted, y received", "5 packets transmitted"] {
            assert_eq!(read(report, 1.0), None, "{report}");
        }
    }
}
