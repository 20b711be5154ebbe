//! A process that calls itself a lab and is none.
#![expect(unsafe_code, reason = "what a process is, is set between fork and exec")]

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

use dunlin_test_support::{NOT_PERMITTED, ROLE};

/// The role of what only stays.
pub(crate) const IDLE: &str = "idle";
const NOBODY: u32 = 65534;

/// Starts the impostor of the kind and under the name that the arguments say, and stays until killed.
pub(crate) fn play() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(3).collect();
    let (kind, name) = (args[0].as_str(), &args[1]);
    let is_root = nix::unistd::geteuid().is_root();
    let mut flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    if !is_root {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    if kind != "not-first" && unshare(flags).is_err() || kind == "other-user" && !is_root {
        println!("{kind}: this user cannot make one");
        return ExitCode::from(NOT_PERMITTED as u8);
    }
    let mut command = match kind {
        "other-program" => Command::new("sleep"),
        _ => Command::new("/proc/self/exe"),
    };
    match kind {
        "other-program" => command.arg("600"),
        _ => command.args([ROLE, IDLE]),
    };
    if kind == "other-user" {
        command.uid(NOBODY).gid(NOBODY);
    }
    let die_with_us = || Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?);
    // SAFETY: after the fork this only makes a system call.
    unsafe { command.pre_exec(die_with_us) };
    // Once it is spawned, it runs the program under its name.
    let mut child = command.arg0(format!("dunlin-lab:{name}")).stdout(Stdio::null()).spawn().unwrap();
    super::roles::say("ready");
    child.wait().unwrap();
    ExitCode::FAILURE
}

pub(crate) fn idle() -> ExitCode {
    std::thread::sleep(Duration::from_secs(600));
    ExitCode::SUCCESS
}
