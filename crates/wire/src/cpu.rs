//! How busy the machine's CPUs are: `/proc/stat`, see proc_stat(5).

use std::fs::File;
use std::io::{Read, Seek};

use dunlin_clock::{MILLISECOND_NS, SECOND_NS, now_ns};
use dunlin_record::shapes::CPU;

use crate::recording::Source;
use crate::{Recording, Result, RowSink, Summary, WireError};

const PATH: &str = "/proc/stat";

/// Records the machine's CPU time ten times a second as rows of [`CPU`].
///
/// # Errors
/// Where `/proc/stat` cannot be opened.
pub fn count_cpu(sink: RowSink) -> Result<Recording> {
    let file = File::open(PATH).map_err(WireError::io("open", PATH))?;
    let tick_ns = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .map_err(WireError::io("ask for the unit of", PATH))?
        .filter(|ticks_a_second| *ticks_a_second > 0)
        .map_or(SECOND_NS / 100, |ticks_a_second| SECOND_NS / ticks_a_second);
    Recording::start("cpu", CpuTime { file, tick_ns }, sink)
}

struct CpuTime {
    file: File,
    tick_ns: i64,
}

impl Source for CpuTime {
    /// The kernel counts in ticks of 10 ms, so a finer cadence would say nothing more.
    const PERIOD_NS: i64 = 100 * MILLISECOND_NS;

    fn read(&mut self, rows: &mut Vec<i64>) -> Result<()> {
        // Only the first line is wanted; the file can be long.
        let mut bytes = [0; 512];
        self.file.rewind().map_err(WireError::io("read", PATH))?;
        let length = self.file.read(&mut bytes).map_err(WireError::io("read", PATH))?;
        let t_ns = now_ns();
        let (busy, idle) = parse(&bytes[..length]).ok_or_else(|| WireError::Answer {
            what: PATH.to_owned(),
            why: "its first line has no CPU times".into(),
        })?;
        let [busy_ns, idle_ns] = [busy, idle].map(|ticks| ticks.saturating_mul(self.tick_ns));
        let row: [i64; CPU.len()] = [t_ns, busy_ns, idle_ns];
        rows.extend(row);
        Ok(())
    }

    fn summary(&mut self) -> Result<Summary> {
        Ok(Summary::default())
    }
}

/// Busy and idle ticks of all CPUs together.
fn parse(text: &[u8]) -> Option<(i64, i64)> {
    let line = std::str::from_utf8(text.split(|byte| *byte == b'\n').next()?).ok()?;
    let mut fields = line.strip_prefix("cpu ")?.split_ascii_whitespace().map(str::parse::<i64>);
    let mut next = || fields.next()?.ok().filter(|ticks| *ticks >= 0);
    let [user, nice, system, idle, iowait, irq, softirq] =
        [next()?, next()?, next()?, next()?, next()?, next()?, next()?];
    // Time the machine's own hypervisor took away is not ours to use: it counts as busy. Old kernels do not tell.
    let steal = next().unwrap_or(0);
    // Time spent in guests is part of `user` and `nice` already.
    let busy = [user, nice, system, irq, softirq, steal]
        .iter()
        .try_fold(0_i64, |sum, ticks| sum.checked_add(*ticks));
    Some((busy?, idle.checked_add(iowait)?))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use dunlin_clock::sleep_until;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn busy_and_idle_are_taken_from_the_first_line() {
        let text = b"cpu  100 20 30 4000 500 6 7 8 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(parse(text), Some((100 + 20 + 30 + 6 + 7 + 8, 4500)));
        assert_eq!(parse(b"cpu  1 2 3 4 5 6 7\n"), Some((1 + 2 + 3 + 6 + 7, 9)));
        for bad in ["", "cpu", "cpu0 1 2 3 4 5 6 7", "cpu  1 2 3", "cpu  1 2 3 -4 5 6 7", "intr 1"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in "(cpu )?[ 0-9x-]{0,200}") {
            let _ = parse(text.as_bytes());
        }
    }

    #[test]
    fn work_on_this_machine_raises_the_busy_time() {
        let (sender, receiver) = channel();
        let recording = count_cpu(Box::new(move |rows| drop(sender.send(rows.to_vec())))).unwrap();
        let end_ns = now_ns() + 250 * MILLISECOND_NS;
        while now_ns() < end_ns {
            std::hint::spin_loop();
        }
        sleep_until(end_ns + MILLISECOND_NS);
        recording.stop().unwrap();
        let values: Vec<i64> = receiver.iter().flatten().collect();
        let rows: Vec<_> = values.chunks_exact(3).collect();
        let (first, last) = (rows[0], rows[rows.len() - 1]);
        assert!(rows.len() >= 2);
        assert!(last[0] > first[0] && last[1] > first[1] && last[2] >= first[2], "{first:?} {last:?}");
    }
}
