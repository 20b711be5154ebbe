//! CPU time at a cadence: of the machine, and of a process on it.

use dunlin_clock::{MILLISECOND_NS, MachineCpu, now_ns, process_cpu_ns, thread_of_process_cpu_ns};
use dunlin_record::ABSENT;
use dunlin_record::shapes::{CPU, PROCESS_CPU};

use crate::recording::Source;
use crate::{Recording, Result, RowSink, Summary, WireError};

const MACHINE: &str = "/proc/stat";

/// Records the machine's CPU time ten times a second as rows of [`CPU`].
///
/// # Errors
/// Where `/proc/stat` cannot be opened.
pub fn count_cpu(sink: RowSink) -> Result<Recording> {
    let machine = MachineCpu::open().map_err(WireError::io("open", MACHINE))?;
    Recording::start("cpu", Machine(machine), sink)
}

/// Records a process's CPU time every 20 ms as rows of [`PROCESS_CPU`], that of its `vcpu_threads` (ids of threads)
/// apart. After the process's end no more rows come.
///
/// # Errors
/// Where there is no such process.
pub fn count_process_cpu(pid: u32, vcpu_threads: Vec<u32>, sink: RowSink) -> Result<Recording> {
    if process_cpu_ns(pid).is_none() {
        return Err(WireError::Answer { what: format!("process {pid}"), why: "it has no CPU clock".into() });
    }
    Recording::start("process-cpu", Process { pid, vcpu_threads }, sink)
}

struct Machine(MachineCpu);

impl Source for Machine {
    /// The kernel counts in ticks of 10 ms, so a finer cadence would say nothing more.
    const PERIOD_NS: i64 = 100 * MILLISECOND_NS;

    fn read(&mut self, rows: &mut Vec<i64>) -> Result<()> {
        let time = self.0.read().map_err(WireError::io("read", MACHINE))?;
        // Time the machine's own hypervisor took away is not ours to use: it counts as busy.
        let row: [i64; CPU.len()] = [now_ns(), time.busy_ns.saturating_add(time.stolen_ns), time.idle_ns];
        rows.extend(row);
        Ok(())
    }

    fn summary(&mut self) -> Result<Summary> {
        Ok(Summary::default())
    }
}

struct Process {
    pid: u32,
    vcpu_threads: Vec<u32>,
}

impl Source for Process {
    /// A reading costs a call and a small file a vCPU; the phases of a short migration still have a few.
    const PERIOD_NS: i64 = 20 * MILLISECOND_NS;

    fn read(&mut self, rows: &mut Vec<i64>) -> Result<()> {
        let Some(process_ns) = process_cpu_ns(self.pid) else { return Ok(()) };
        let t_ns = now_ns();
        let vcpus_ns: Option<i64> =
            self.vcpu_threads.iter().map(|&thread| thread_of_process_cpu_ns(self.pid, thread)).sum();
        let row: [i64; PROCESS_CPU.len()] = [t_ns, process_ns, vcpus_ns.unwrap_or(ABSENT)];
        rows.extend(row);
        Ok(())
    }

    fn summary(&mut self) -> Result<Summary> {
        Ok(Summary::default())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::sync::mpsc::channel;

    use dunlin_clock::sleep_until;

    use super::*;

    /// The rows of a record that runs for a while.
    fn rows_of<const N: usize>(milliseconds: i64, start: impl FnOnce(RowSink) -> Recording) -> Vec<[i64; N]> {
        let (sender, receiver) = channel();
        let recording = start(Box::new(move |rows| drop(sender.send(rows.to_vec()))));
        let end_ns = now_ns() + milliseconds * MILLISECOND_NS;
        while now_ns() < end_ns {
            std::hint::spin_loop();
        }
        sleep_until(end_ns + MILLISECOND_NS);
        recording.stop().unwrap();
        let values: Vec<i64> = receiver.iter().flatten().collect();
        values.chunks_exact(N).map(|row| row.try_into().unwrap()).collect()
    }

    #[test]
    fn work_on_this_machine_raises_the_busy_time() {
        let rows = rows_of::<3>(250, |sink| count_cpu(sink).unwrap());
        let (first, last) = (rows[0], rows[rows.len() - 1]);
        assert!(rows.len() >= 2);
        assert!(last[0] > first[0] && last[1] > first[1] && last[2] >= first[2], "{first:?} {last:?}");
    }

    /// A process that would go on for ever, were it not ended with the test, however that ends.
    struct Busy(Child);

    impl Busy {
        fn end(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            // It may have been ended before.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_is_told_with_its_threads_until_it_ends() {
        let mut busy = Busy(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap());
        let pid = busy.0.id();
        // A process that has not run yet has no time to count.
        let limit_ns = now_ns() + 10_000 * MILLISECOND_NS;
        while process_cpu_ns(pid).is_none() && now_ns() < limit_ns {
            sleep_until(now_ns() + MILLISECOND_NS);
        }
        let rows = rows_of::<3>(300, |sink| count_process_cpu(pid, vec![pid], sink).unwrap());
        let ended = rows_of::<3>(60, |sink| {
            let recording = count_process_cpu(pid, vec![pid, u32::MAX], sink).unwrap();
            busy.end();
            recording
        });
        let (first, last) = (rows[0], rows[rows.len() - 1]);
        assert!(rows.len() >= 3 && last[1] > first[1] && last[2] > first[2], "{first:?} {last:?}");
        // A thread that is not there leaves the sum unknown, not smaller.
        assert!(ended.iter().all(|row| row[2] == ABSENT), "{ended:?}");
        assert!(count_process_cpu(pid, Vec::new(), Box::new(|_| {})).is_err());
    }
}
