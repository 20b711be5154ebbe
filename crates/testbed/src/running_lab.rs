//! Labs that run on this machine: found by the names of their first processes, and looked at before anyone is led into one.
//!
//! Any user's process can call itself anything. A lab is joined only if its process is of the same user, runs this very
//! program, and is the first one of a pid namespace of its own: else root could be led into namespaces of someone else's
//! making.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use crate::bootstrap::PROCESS_PREFIX;
use crate::{Result, TestbedError};

/// The labs that are up on this machine, as this user can join them or not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RunningLabs {
    /// Names of those that can be joined.
    pub names: Vec<String>,
    /// Names of this user's processes that call themselves labs but are not joined, each with the reason.
    pub refused: Vec<(String, String)>,
}

/// The labs that are up on this machine. What other users' processes call themselves is not listed.
///
/// # Errors
/// Where processes cannot be listed.
pub fn running_labs() -> Result<RunningLabs> {
    let mut labs = RunningLabs::default();
    for process in named_processes()? {
        match process.standing() {
            Ok(()) => labs.names.push(process.name),
            Err(Refusal::Gone) => {}
            Err(refusal) => labs.refused.push((process.name, refusal.to_string())),
        }
    }
    labs.names.sort();
    labs.names.dedup();
    labs.refused.sort();
    Ok(labs)
}

/// The first process of the lab of this name, if this user may join it.
pub(crate) fn find(lab: &str) -> Result<NamedProcess> {
    let mut because =
        "no lab of this name of yours runs here (another user's is for that user to join)".to_owned();
    for process in named_processes()?.into_iter().filter(|process| process.name == lab) {
        match process.standing() {
            Ok(()) => return Ok(process),
            Err(Refusal::Gone) => {}
            Err(refusal) => because = refusal.to_string(),
        }
    }
    Err(TestbedError::Unsupported { what: format!("joining the lab {lab}"), because })
}

/// Why a process that is named after a lab is not taken for one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error(
        "its process runs {0}, which is not this program: join it with the program that made it, or make it again"
    )]
    OtherProgram(String),
    #[error("the process of this name is not the first one of a lab")]
    NotFirst,
    #[error("its process cannot be looked at ({0})")]
    Hidden(io::ErrorKind),
    #[error("its process has ended")]
    Gone,
}

impl Refusal {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ESRCH | libc::ENOENT) => Self::Gone,
            _ => Self::Hidden(error.kind()),
        }
    }
}

/// A process of this user's that is named after a lab. It is held by its folder in `/proc`, in which there is nothing any more once it
/// has ended, whoever gets its number next.
#[derive(Debug)]
pub(crate) struct NamedProcess {
    folder: File,
    name: String,
}

impl NamedProcess {
    /// Nothing where the process is gone by now, has another name or is another user's.
    fn open(id: u32) -> Option<Self> {
        let folder = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
            .open(format!("/proc/{id}"))
            .ok()?;
        // First of all: a name is in the process's memory, which another user may have made such that reading it hangs.
        let status = read(&folder, "status").ok()?;
        if numbers(&String::from_utf8_lossy(&status), "Uid:").any(|uid| uid != geteuid().as_raw()) {
            return None;
        }
        let words = read(&folder, "cmdline").ok()?;
        let title = words.split(|byte| *byte == 0).next()?;
        let name = std::str::from_utf8(title).ok()?.strip_prefix(PROCESS_PREFIX)?.to_owned();
        Some(Self { folder, name })
    }

    /// One of its namespaces, as in `pid`.
    pub(crate) fn namespace(&self, kind: &str) -> Result<File> {
        open(&self.folder, &format!("ns/{kind}"), OFlag::O_RDONLY)
            .map_err(TestbedError::io(format!("open the {kind} namespace of the lab {}", self.name)))
    }

    /// Whether it is the first process of a lab that this user's own program has made.
    fn standing(&self) -> Result<(), Refusal> {
        let status = read(&self.folder, "status").map_err(|error| Refusal::of(&error))?;
        let status = String::from_utf8_lossy(&status);
        let file = |program: io::Result<File>| {
            let metadata = program.and_then(|program| program.metadata());
            metadata.map(|file| (file.dev(), file.ino())).map_err(|error| Refusal::of(&error))
        };
        let own = open_program(Path::new("/proc/self/exe"));
        if file(open(&self.folder, "exe", OFlag::O_PATH))? != file(own)? {
            let path = readlinkat(&self.folder, "exe").unwrap_or_default();
            return Err(Refusal::OtherProgram(path.to_string_lossy().into_owned()));
        }
        if !is_first(&status) {
            return Err(Refusal::NotFirst);
        }
        Ok(())
    }
}

/// This user's processes that are named after a lab.
fn named_processes() -> Result<Vec<NamedProcess>> {
    let processes = fs::read_dir("/proc").map_err(TestbedError::io("list processes"))?;
    let mut ids: Vec<u32> =
        processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    Ok(ids.into_iter().filter_map(NamedProcess::open).collect())
}

fn open_program(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_PATH).open(path)
}

fn open(folder: &File, name: &str, flags: OFlag) -> io::Result<File> {
    let file: OwnedFd = openat(folder, name, flags | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok(File::from(file))
}

fn read(folder: &File, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(folder, name, OFlag::O_RDONLY)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the process has a second number, in a pid namespace within that of whoever asks, and the last one is 1
/// (proc(5), `NSpid`).
fn is_first(status: &str) -> bool {
    let ids: Vec<u32> = numbers(status, "NSpid:").collect();
    ids.len() > 1 && ids.last() == Some(&1)
}

/// The numbers of a line of `/proc/PID/status`.
fn numbers<'a>(status: &'a str, key: &str) -> impl Iterator<Item = u32> + 'a {
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().filter_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_first_process_of_a_namespace_within_ours_has_a_second_number_that_is_1() {
        let status = |ids: &str| format!("Name:\tdunlin\nUid:\t0\t0\t0\t0\nNSpid:\t{ids}\nThreads:\t1\n");
        assert!(is_first(&status("812\t1")) && is_first(&status("812\t40\t1")));
        assert!(!is_first(&status("1")), "that of the namespace we are in ourselves");
        assert!(!is_first(&status("812")) && !is_first(&status("812\t3")) && !is_first("Name:\tx\n"));
        assert_eq!(numbers(&status("1"), "Uid:").collect::<Vec<_>>(), [0; 4]);
    }

    #[test]
    fn nothing_is_read_of_a_process_that_has_ended_whoever_has_its_number() {
        let mut child = Command::new("sleep").arg0("dunlin-lab:ended").arg("600").spawn().unwrap();
        let process = loop {
            // Until it has run the program, it has our name.
            if let Some(process) = NamedProcess::open(child.id()) {
                break process;
            }
        };
        assert!(matches!(process.standing(), Err(Refusal::OtherProgram(path)) if path.contains('/')));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(process.standing(), Err(Refusal::Gone));
        assert!(process.namespace("pid").is_err());
    }
}
