//! Child processes that end with this process, also where it is killed.
#![expect(unsafe_code, reason = "a child's life is tied to ours between fork and exec")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

use crate::{Result, TestbedError};

type Job = (Command, Sender<io::Result<Child>>);

/// Starts a program that is killed when this process ends in any way.
///
/// The kernel looks at the thread that made it (prctl(2), `PR_SET_PDEATHSIG`), so that all are made by one that stays.
pub(crate) fn spawn(mut command: Command) -> Result<Child> {
    static MAKER: OnceLock<Option<Sender<Job>>> = OnceLock::new();
    let doing = format!("start {}", command.get_program().display());
    // What a terminal sends to its foreground (Ctrl-C) is for us alone: we end them when all is in order.
    command.process_group(0);
    tie_to_us(&mut command);
    let made = MAKER.get_or_init(start_maker).as_ref().and_then(|maker| {
        let (answer, made) = channel();
        maker.send((command, answer)).ok()?;
        made.recv().ok()
    });
    let made = made.unwrap_or_else(|| Err(io::Error::other("the thread that starts programs is gone")));
    made.map_err(TestbedError::io(doing))
}

/// Has a program killed when the thread that starts it ends.
pub(crate) fn tie_to_us(command: &mut Command) {
    let parent = getpid();
    let tie = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // We may have ended before that.
        if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: after the fork this only makes system calls.
    unsafe { command.pre_exec(tie) };
}

fn start_maker() -> Option<Sender<Job>> {
    let (maker, jobs) = channel::<Job>();
    let make = move || {
        for (mut command, answer) in jobs {
            let _ = answer.send(command.spawn());
        }
    };
    std::thread::Builder::new().name("start-programs".into()).spawn(make).ok()?;
    Some(maker)
}
