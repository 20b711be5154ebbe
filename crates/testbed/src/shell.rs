//! Joining a lab that another process owns.
#![expect(unsafe_code, reason = "the shell's life is tied to ours between fork and exec")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;

use crate::namespace::NAMES;
use crate::running_lab::{NamedProcess, find};
use crate::{Result, TestbedError};

/// Runs a program (the user's shell if none is given) on a host of a lab that runs under this name, and returns its
/// exit code (128 + the signal if one ended it). The host may be `host-a`, `host-b`, `switch` or `bench`. The program
/// ends with the lab; the lab does not end with it.
///
/// Must be called before any thread exists.
///
/// # Errors
/// Where no such lab of this user's runs, made by this very program; where it has no such host, or may not be joined.
pub fn shell(lab: &str, host: &str, command: &[OsString]) -> Result<i32> {
    join(&find(lab)?, lab)?;
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

/// Enters the lab's namespaces; the pid namespace takes effect with the next child.
fn join(process: &NamedProcess, lab: &str) -> Result<()> {
    // All are opened first: after the mount namespace, `/proc` is another.
    let user = process.namespace("user")?;
    let own_user = File::open("/proc/self/ns/user").map_err(TestbedError::io("open our user namespace"))?;
    let inode = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    // A process may not enter the user namespace it is in already.
    let user = (inode(&user) != inode(&own_user)).then_some(user);
    let namespaces = [
        (user, CloneFlags::CLONE_NEWUSER),
        (Some(process.namespace("pid")?), CloneFlags::CLONE_NEWPID),
        (Some(process.namespace("mnt")?), CloneFlags::CLONE_NEWNS),
    ];
    for (file, kind) in namespaces {
        let Some(file) = file else { continue };
        setns(file, kind).map_err(TestbedError::errno(format!("join the lab {lab}")))?;
    }
    Ok(())
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
