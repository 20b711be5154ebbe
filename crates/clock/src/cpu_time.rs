//! Clocks that only go while something runs on a CPU: the machine's (`/proc/stat`, see proc_stat(5)), a process's
//! (clock_getcpuclockid(3)), a thread's (`/proc/PID/task/TID/schedstat`).
#![expect(unsafe_code, reason = "a process's CPU clock has no safe wrapper in std")]

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek};

use crate::{SECOND_NS, read};

const PATH: &str = "/proc/stat";

/// What all CPUs of a machine have done since its boot, in nanoseconds, to a tick of some 10 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTime {
    /// They ran something.
    pub busy_ns: i64,
    /// They had nothing to do.
    pub idle_ns: i64,
    /// They had something to do, but the machine's own hypervisor ran something else.
    pub stolen_ns: i64,
}

/// Reads what all CPUs of this machine have done, again and again.
#[derive(Debug)]
pub struct MachineCpu {
    file: File,
    tick_ns: i64,
}

impl MachineCpu {
    /// Opens `/proc/stat`.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open() -> io::Result<Self> {
        // SAFETY: sysconf takes any number.
        let ticks_a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        // proc_stat(5): "in most architectures 1/100ths of a second".
        let tick_ns = if ticks_a_second > 0 { SECOND_NS / ticks_a_second } else { SECOND_NS / 100 };
        Ok(Self { file: File::open(PATH)?, tick_ns })
    }

    /// What they have done until now.
    ///
    /// # Errors
    /// Where `/proc/stat` cannot be read, or does not hold what it should.
    pub fn read(&mut self) -> io::Result<CpuTime> {
        // Only the first line is wanted; the file can be long.
        let mut bytes = [0; 512];
        self.file.rewind()?;
        let length = self.file.read(&mut bytes)?;
        let [busy, idle, stolen] = parse(&bytes[..length])
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "its first line has no CPU times"))?
            .map(|ticks| ticks.saturating_mul(self.tick_ns));
        Ok(CpuTime { busy_ns: busy, idle_ns: idle, stolen_ns: stolen })
    }
}

/// Busy, idle and stolen ticks of all CPUs together.
fn parse(text: &[u8]) -> Option<[i64; 3]> {
    let line = std::str::from_utf8(text.split(|byte| *byte == b'\n').next()?).ok()?;
    let mut fields = line.strip_prefix("cpu ")?.split_ascii_whitespace().map(str::parse::<i64>);
    let mut next = || fields.next()?.ok().filter(|ticks| *ticks >= 0);
    let [user, nice, system, idle, iowait, irq, softirq] =
        [next()?, next()?, next()?, next()?, next()?, next()?, next()?];
    // Old kernels do not tell what is stolen.
    let stolen = next().unwrap_or(0);
    // Time spent in guests is part of `user` and `nice` already.
    let busy =
        [user, nice, system, irq, softirq].iter().try_fold(0_i64, |sum, ticks| sum.checked_add(*ticks));
    Some([busy?, idle.checked_add(iowait)?, stolen])
}

/// CPU time a process has used so far, its ended threads included, in nanoseconds; `None` where there is none (any
/// more).
#[must_use]
pub fn process_cpu_ns(pid: u32) -> Option<i64> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0)?;
    let mut clock = 0;
    // SAFETY: `clock` is a valid, writable clock id.
    let code = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    // A process that ends between the two calls has a clock that stands at 0.
    (code == 0).then(|| read(clock)).filter(|cpu_ns| *cpu_ns > 0)
}

/// CPU time a thread of a process has used so far, in nanoseconds; `None` where there is none (any more), or the
/// kernel does not count.
#[must_use]
pub fn thread_of_process_cpu_ns(pid: u32, thread: u32) -> Option<i64> {
    // Documentation/scheduler/sched-stats.rst: the first is "time spent on the cpu (in nanoseconds)".
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MILLISECOND_NS, now_ns, thread_cpu_ns};

    #[test]
    fn busy_idle_and_stolen_are_taken_from_the_first_line() {
        let text = b"cpu  100 20 30 4000 500 6 7 8 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(parse(text), Some([100 + 20 + 30 + 6 + 7, 4500, 8]));
        assert_eq!(parse(b"cpu  1 2 3 4 5 6 7\n"), Some([1 + 2 + 3 + 6 + 7, 9, 0]));
        for bad in ["", "cpu", "cpu0 1 2 3 4 5 6 7", "cpu  1 2 3", "cpu  1 2 3 -4 5 6 7", "intr 1"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn foreign_text_never_panics(text in "(cpu )?[ 0-9x-]{0,200}") {
            let _ = parse(text.as_bytes());
        }
    }

    fn work(milliseconds: i64) {
        let end_ns = thread_cpu_ns() + milliseconds * MILLISECOND_NS;
        while thread_cpu_ns() < end_ns {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn work_raises_the_clocks_of_its_thread_process_and_machine() {
        let (pid, thread) = (std::process::id(), own_thread_id());
        let clocks = || (process_cpu_ns(pid).unwrap(), thread_of_process_cpu_ns(pid, thread).unwrap());
        let mut machine = MachineCpu::open().unwrap();
        let (before, machine_before) = (clocks(), machine.read().unwrap());
        let began_ns = now_ns();
        work(60);
        let (after, machine_after) = (clocks(), machine.read().unwrap());
        assert!(after.0 - before.0 >= 60 * MILLISECOND_NS, "{before:?} {after:?}");
        // The kernel brings a running thread's count up to date at its ticks.
        assert!(after.1 - before.1 >= 30 * MILLISECOND_NS, "{before:?} {after:?}");
        assert!(after.1 - before.1 <= now_ns() - began_ns, "{before:?} {after:?}");
        assert!(
            machine_after.busy_ns > machine_before.busy_ns && machine_after.idle_ns >= machine_before.idle_ns
        );
    }

    /// This thread's id.
    fn own_thread_id() -> u32 {
        let link = fs::read_link("/proc/thread-self").unwrap();
        link.file_name().unwrap().to_str().unwrap().parse().unwrap()
    }

    #[test]
    fn what_has_ended_has_no_clock() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!((process_cpu_ns(pid), thread_of_process_cpu_ns(pid, pid)), (None, None));
        assert_eq!(process_cpu_ns(0), None, "0 would be this process itself");
    }
}
