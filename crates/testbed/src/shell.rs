//! Joining a lab that another process owns.
#![expect(unsafe_code, reason = "the shell's life is tied to ours between fork and exec")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;

use crate::bootstrap::PROCESS_PREFIX;
use crate::namespace::NAMES;
use crate::{Result, TestbedError};

/// Runs a program (the user's shell if none is given) on a host of a lab that runs under this name, and returns its
/// exit code (128 + the signal if one ended it). The host may be `host-a`, `host-b`, `switch` or `bench`. The program
/// ends with the lab; the lab does not end with it.
///
/// Must be called before any thread exists.
///
/// # Errors
/// Where no such lab runs, it has no such host, or it may not be joined.
pub fn shell(lab: &str, host: &str, command: &[OsString]) -> Result<i32> {
    join(find(lab)?, lab)?;
    let name = Path::new(NAMES).join(host);
    let namespace = File::open(&name).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => TestbedError::Unsupported {
            what: format!("a shell on {host}"),
            because: format!("the lab {lab} has only {}", hosts()),
        },
        _ => TestbedError::io(format!("open {}", name.display()))(error),
    })?;
    setns(namespace, CloneFlags::CLONE_NEWNET)
        .map_err(TestbedError::errno(format!("enter {host} of the lab {lab}")))?;
    run(command, lab, host)
}

/// The names of the labs that are up on this machine and may be seen by this user.
///
/// # Errors
/// Where processes cannot be listed.
pub fn running_labs() -> Result<Vec<String>> {
    let mut names: Vec<String> = titles()?.into_iter().map(|(_, name)| name).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// The id of the first process of the lab of this name.
fn find(lab: &str) -> Result<u32> {
    let ids = titles()?.into_iter().filter(|(_, name)| name == lab).map(|(id, _)| id);
    ids.min().ok_or_else(|| TestbedError::Unsupported {
        what: format!("joining the lab {lab}"),
        because: "no lab of this name runs here".into(),
    })
}

/// The processes that are named after a lab, with its name.
fn titles() -> Result<Vec<(u32, String)>> {
    let processes = fs::read_dir("/proc").map_err(TestbedError::io("list processes"))?;
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let named = |id: u32| {
        // A process that is gone by now, or not ours to look at, is not one.
        let words = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let title = words.split(|byte| *byte == 0).next()?;
        let name = std::str::from_utf8(title).ok()?.strip_prefix(PROCESS_PREFIX)?;
        Some((id, name.to_owned()))
    };
    Ok(ids.filter_map(named).collect())
}

/// Enters the lab's namespaces; the pid namespace takes effect with the next child.
fn join(id: u32, lab: &str) -> Result<()> {
    let open = |kind: &str| {
        let path = format!("/proc/{id}/ns/{kind}");
        File::open(&path).map_err(TestbedError::io(format!("open {path} of the lab {lab}")))
    };
    // All are opened first: after the mount namespace, `/proc` is another.
    let user = is_other_user_namespace(id).then(|| open("user")).transpose()?;
    let namespaces = [
        (user, CloneFlags::CLONE_NEWUSER),
        (Some(open("pid")?), CloneFlags::CLONE_NEWPID),
        (Some(open("mnt")?), CloneFlags::CLONE_NEWNS),
    ];
    for (file, kind) in namespaces {
        let Some(file) = file else { continue };
        setns(file, kind).map_err(TestbedError::errno(format!("join the lab {lab}")))?;
    }
    Ok(())
}

/// A process may not enter the user namespace it is in already.
fn is_other_user_namespace(id: u32) -> bool {
    fs::read_link(format!("/proc/{id}/ns/user")).ok() != fs::read_link("/proc/self/ns/user").ok()
}

fn hosts() -> String {
    let entries = fs::read_dir(NAMES).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(", ")
}

fn run(command: &[OsString], lab: &str, host: &str) -> Result<i32> {
    let shell = || std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let (program, args) = match command {
        [program, args @ ..] => (program.clone(), args),
        [] => (shell(), &[][..]),
    };
    let mut child = Command::new(&program);
    child.args(args).env("DUNLIN_LAB", lab).env("DUNLIN_HOST", host);
    let tie = || Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?);
    // SAFETY: after the fork this only makes a system call.
    unsafe { child.pre_exec(tie) };
    let status = child.status().map_err(TestbedError::io(format!("run {}", program.display())))?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
}
