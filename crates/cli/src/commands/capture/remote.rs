//! A capture on a host of an inventory: to a file there, which is brought here once it is whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::{Cancel, Deadline, Mapping};
use dunlin_record::in_one_line;
use dunlin_testbed::{Host, HostCapture, SshHost};
use dunlin_wire::{CaptureSpec, CaptureSummary};

use super::{cancel_on_signals, cut_short, told};
use crate::commands::on_host::{Reached, STOP_LIMIT, why};
use crate::failure::{Exit, Failure, Result};
use crate::progress::{stay, until};
use crate::terminal;

/// How often it is asked whether the capture goes on.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long an answer to that may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// How often it is looked whether the file is here.
const LOOK_UP: Duration = Duration::from_millis(20);
/// Its name on the host.
const FILE: &str = "capture.pcapng";

/// The local file, which is replaced by what was captured once all of it is here.
pub(super) struct Target {
    out: PathBuf,
    part: PathBuf,
}

impl Target {
    /// Sees, before anything is captured, whether it can be written.
    pub(super) fn prepare(out: &Path) -> Result<Self> {
        let cannot = |error: std::io::Error| {
            Failure::says(Exit::BadInput, format!("cannot create {}: {error}", out.display()))
        };
        if out.exists() && !out.is_file() {
            let message = format!(
                "--out: {} is no plain file: with --on it is brought as a whole, at the end",
                out.display()
            );
            return Err(Failure::says(Exit::BadInput, message));
        }
        if let Some(folder) = out.parent() {
            fs::create_dir_all(folder).map_err(cannot)?;
        }
        // What a link points to is replaced, not the link.
        let out = out.canonicalize().unwrap_or_else(|_| out.to_owned());
        let mut part = out.as_os_str().to_owned();
        part.push(format!(".{}.part", std::process::id()));
        let target = Self { out, part: part.into() };
        File::create_new(&target.part).and_then(|_| fs::remove_file(&target.part)).map_err(cannot)?;
        Ok(target)
    }

    /// Brings the file here. Whoever asks for the end once more does not wait for that.
    fn bring(&self, host: &Arc<SshHost>, there: &Path) -> Result<(), String> {
        let again = cancel_on_signals().map_err(|failure| failure.text())?;
        let (from, there, part) = (Arc::clone(host), there.to_owned(), self.part.clone());
        let copying = std::thread::spawn(move || from.copy_from(&there, &part));
        while !copying.is_finished() && !again.is_cancelled() {
            std::thread::sleep(LOOK_UP);
        }
        if !copying.is_finished() {
            return Err("the user ended it".into());
        }
        let copied = copying.join().map_err(|_| "the thread that copied it died".to_owned())?;
        copied.map_err(|error| in_one_line(&error))?;
        fs::rename(&self.part, &self.out).map_err(|error| error.to_string())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Usually there is none.
        let _ = fs::remove_file(&self.part);
    }
}

/// Captures on the host, until the time has passed or the user ends it.
pub(super) fn run(
    reached: Reached,
    spec: &CaptureSpec,
    target: &Target,
    duration: Option<Duration>,
    cancel: &Cancel,
) -> Result {
    let name = reached.name().to_owned();
    let outbox = reached.host.outbox(&target.out).map_err(|error| reached.refused("make room", &error))?;
    let there = outbox.join(FILE);
    let capture = reached.helper.capture(spec, &there).map_err(|error| refused(&reached, &error))?;
    terminal::say(&format!(
        "capturing {} of {name} to {} until {}",
        spec.interface,
        target.out.display(),
        until(duration)
    ));
    let mut due = Deadline::after(ASK_EVERY);
    stay(duration, || {
        if due.passed() {
            due = Deadline::after(ASK_EVERY);
            return !cancel.is_cancelled() && goes_on(&reached, &capture, &outbox, &target.out);
        }
        !cancel.is_cancelled() && reached.helper.is_well()
    });
    let stopped = capture.stop(STOP_LIMIT);
    let is_there = reached.helper.is_well();
    let Reached { helper, host } = reached;
    drop(helper);
    let host = Arc::new(host);
    match stopped {
        Ok(summary) => {
            target.bring(&host, &there).map_err(|why| {
                lost(&format!("what was captured on {name} could not be brought here, and is lost: {why}"))
            })?;
            terminal::print(&(told(&summary, &stamps(&summary, &name, Mapping::read())) + "\n"))?;
            cut_short(&summary, &format!("the file was cut short on {name}"))
        }
        Err(error) if is_there && target.bring(&host, &there).is_ok() => Err(lost(&format!(
            "the capture on {name} broke off: {}; what was captured before is in {}",
            why(&error),
            target.out.display()
        ))),
        Err(error) => Err(lost(&format!(
            "the capture on {name} broke off, and what was captured is lost: {}",
            why(&error)
        ))),
    }
}

fn lost(message: &str) -> Failure {
    Failure::says(Exit::Failed, message)
}

/// Why it did not begin; without all rights there, probably for want of them.
fn refused(reached: &Reached, error: &dunlin_testbed::TestbedError) -> Failure {
    let mut failure = reached.refused("capture", error);
    if !reached.host.is_root() && failure.exit == Exit::BadInput {
        failure.exit = Exit::Machine;
        return failure.hint("capturing needs root there: `sudo = true` in the inventory, or ssh as root");
    }
    failure
}

/// Whether the capture still writes to a file that can be brought. It ends by itself where its interface goes; and its
/// folder goes with the connection, which is made anew, with another, when the host is asked for anything.
fn goes_on(reached: &Reached, capture: &HostCapture<'_>, outbox: &Path, out: &Path) -> bool {
    let has_folder = reached.host.outbox(out).is_ok_and(|folder| folder == outbox);
    has_folder && capture.has_ended(ANSWER_LIMIT).is_ok_and(|has_ended| !has_ended)
}

/// How the stamps map: they stay those of the host's clock.
fn stamps(summary: &CaptureSummary, name: &str, own: Mapping) -> String {
    let ahead_ns = own.offset_ns - summary.clock_offset_ns;
    let apart = match ahead_ns.unsigned_abs() {
        ns @ 1_000_000_000.. => format!("{:.6} s", ns as f64 / 1e9),
        ns => format!("{:.3} ms", ns as f64 / 1e6),
    };
    format!(
        "stamps are of {name}'s CLOCK_REALTIME, which is {apart} {} this machine's, to within {:.1} us",
        if ahead_ns < 0 { "behind" } else { "ahead of" },
        (summary.clock_error_ns + own.error_ns) as f64 / 1e3
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_told_by_how_far_the_hosts_clock_is_off() {
        let own = Mapping { offset_ns: -1_000_000_000_000, error_ns: 200 };
        let of = |ahead_ns: i64| CaptureSummary {
            clock_offset_ns: own.offset_ns - ahead_ns,
            clock_error_ns: 99_800,
            ..CaptureSummary::default()
        };
        assert_eq!(
            stamps(&of(5_000_000_123_456), "host-b", own),
            "stamps are of host-b's CLOCK_REALTIME, which is 5000.000123 s ahead of this machine's, to within 100.0 us"
        );
        assert!(stamps(&of(-1_234_567), "host-b", own).contains("which is 1.235 ms behind this machine's"));
    }

    #[test]
    fn only_a_plain_file_is_replaced_and_nothing_lies_beside_it() {
        let failure = Target::prepare(Path::new("/dev/null")).err().unwrap();
        assert!(failure.exit == Exit::BadInput && failure.text().contains("no plain file"), "{failure:?}");
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new/x.pcapng");
        drop(Target::prepare(&out).unwrap());
        assert_eq!(fs::read_dir(out.parent().unwrap()).unwrap().count(), 0);
        assert_eq!(Target::prepare(Path::new("/proc/x")).err().unwrap().exit, Exit::BadInput);
    }
}
