//! How a helper on another machine hears the bench: on a thread that never waits for what is done, so that whoever is busy
//! is not taken for one that hears nothing.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread::{Builder, sleep};
use std::time::Duration;

use dunlin_clock::now_ns;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::protocol::{Ask, FrameError, Request, read_frame};
use super::serve::{Output, clock};

/// For how long the bench may be silent. After a cut of the link TCP tries again after ever longer times, of which the sum
/// is 6.2 s, and then 12.6 s: a cut of some seconds heals, one that would take longer does not.
const SILENCE_LIMIT: Duration = Duration::from_secs(8);
/// How often that is looked at, in ms.
const LOOK_EVERY: u16 = 250;
/// How many requests may wait to be done. More are not read, as those of a file that the disk does not take.
const WAITING: usize = 64;
/// How long to wait for room among them.
const ROOM_STEP: Duration = Duration::from_millis(2);

/// What is heard: a request, the end of them, or nonsense.
type Read1 = Result<Option<Request>, FrameError>;

/// When the bench was last heard of.
#[derive(Clone)]
pub(super) struct Heard(Arc<AtomicI64>);

impl Heard {
    pub(super) fn now() -> Self {
        Self(Arc::new(AtomicI64::new(now_ns())))
    }

    fn again(&self) {
        self.0.store(now_ns(), Ordering::Relaxed);
    }

    fn is_silent(&self) -> bool {
        let silent_ns = now_ns() - self.0.load(Ordering::Relaxed);
        u128::try_from(silent_ns).is_ok_and(|ns| ns > SILENCE_LIMIT.as_nanos())
    }

    /// Ends this process once the bench has been silent for too long, or the machine asks for it by one of these signals
    /// (which all threads must block), after what `end` does. What the process writes may be stuck then, and so its other
    /// threads.
    pub(super) fn watch(self, signals: SigSet, end: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let asked = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let watch = move || {
            let mut why = "nothing was heard of the bench any more";
            while !self.is_silent() {
                let mut waited = [PollFd::new(asked.as_fd(), PollFlags::POLLIN)];
                if poll(&mut waited, LOOK_EVERY).is_ok_and(|count| count > 0) {
                    why = "it was asked to end";
                    break;
                }
            }
            end();
            let _ = writeln!(io::stderr(), "dunlin helper: {why}");
            std::process::exit(1);
        };
        Builder::new().name("watch-bench".into()).spawn(watch)?;
        Ok(())
    }

    /// Hears all requests; those that are to be done come out. The time is told at once, whatever is being done.
    pub(super) fn listen(
        self,
        mut input: impl Read + Send + 'static,
        output: Output,
    ) -> io::Result<Receiver<Read1>> {
        let (asked_time, to_tell) = channel();
        let tell_time = move || {
            // Where it cannot be told, whoever serves sees it, too.
            to_tell.iter().for_each(|id| drop(output.tell(id, clock())));
        };
        Builder::new().name("tell-time".into()).spawn(tell_time)?;
        let (to_do, requests) = sync_channel(WAITING);
        let listen = move || {
            loop {
                let read = read_frame(&mut input);
                self.again();
                match read {
                    Ok(Some(Request { ask: Ask::Beat, .. })) => {}
                    Ok(Some(Request { id, ask: Ask::Clock })) => drop(asked_time.send(id)),
                    Ok(Some(request)) => self.hand_on(&to_do, Ok(Some(request))),
                    last => return self.hand_on(&to_do, last),
                }
            }
        };
        Builder::new().name("listen".into()).spawn(listen)?;
        Ok(requests)
    }

    /// Waits for room. Meanwhile nothing more is read, which does not mean that nothing more is said.
    fn hand_on(&self, to_do: &SyncSender<Read1>, mut read: Read1) {
        while let Err(TrySendError::Full(back)) = to_do.try_send(read) {
            read = back;
            self.again();
            sleep(ROOM_STEP);
        }
    }
}
