//! A link in user space, for kernels without netem: two TAP devices and a thread that carries frames from one to the
//! other, each after its delay.
//!
//! It also makes outages of known length, for `dunlin calibrate`: see [`Relay::inject`].

mod engine;
mod fault;
mod tap;

use std::io::{PipeWriter, Write, pipe};
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::{Result, TestbedError, realtime};
use engine::Engine;
use fault::Plan;
pub use fault::{Crossing, Fault, Injection, PendingInjection};

/// Frames that may wait in each direction unless said otherwise: 50 ms of full frames at 10 Gbit/s, or three seconds
/// of five probes at 100 us.
pub const DEFAULT_QUEUE_FRAMES: usize = 1 << 16;

/// A relay to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySpec {
    /// One end.
    pub a: RelayEnd,
    /// The other end.
    pub b: RelayEnd,
    /// How long a frame is kept, each way.
    pub delay_ns: i64,
    /// How many frames may wait in each direction; later ones are dropped.
    pub queue_frames: usize,
}

/// One end of a relay: a TAP device that the relay makes, down and without an address, and that ends with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayEnd {
    /// The network namespace's file, as in `/run/netns/host-a`.
    pub netns: PathBuf,
    /// The device's name.
    pub device: String,
}

/// What a relay has done, by direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// From `a` to `b`.
    pub a_to_b: DirectionCounts,
    /// From `b` to `a`.
    pub b_to_a: DirectionCounts,
}

/// What a relay has done in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DirectionCounts {
    /// Frames handed to the far device.
    pub forwarded: u64,
    /// Their bytes.
    pub forwarded_bytes: u64,
    /// Frames dropped because the queue was full.
    pub queue_full: u64,
    /// Frames dropped by an injected fault.
    pub injected_drops: u64,
    /// Frames the far device did not take, as when it is down.
    pub refused: u64,
}

/// A running relay. Dropping it ends it and removes its devices.
#[derive(Debug)]
pub struct Relay {
    commands: Sender<Plan>,
    /// A byte wakes the relay; its end stops it.
    wake: Option<PipeWriter>,
    counts: Arc<Mutex<RelayCounts>>,
    realtime: bool,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Relay {
    /// Makes both devices and starts to carry frames.
    ///
    /// # Errors
    /// Where a namespace is not there, a device of that name is, or TAP devices are not permitted.
    pub fn start(spec: &RelaySpec) -> Result<Self> {
        let taps = [&spec.a, &spec.b].map(|end| tap::open(&end.netns, &end.device));
        let [a, b] = taps;
        let (wake_reader, wake) = pipe().map_err(TestbedError::io("make the relay's wake-up pipe"))?;
        let (commands, planned) = channel();
        let counts = Arc::new(Mutex::new(RelayCounts::default()));
        let engine = Engine::new([a?, b?], spec, planned, wake_reader, Arc::clone(&counts))?;
        let (scheduled, scheduling) = channel();
        let thread = Builder::new()
            .name("relay".into())
            .spawn(move || {
                let _ = scheduled.send(realtime::enter());
                engine.run()
            })
            .map_err(TestbedError::io("start the relay's thread"))?;
        let realtime = scheduling.recv().unwrap_or(false);
        Ok(Self { commands, wake: Some(wake), counts, realtime, thread: Some(thread) })
    }

    /// Whether the relay's thread has real-time priority; without it, other work on the machine delays frames.
    #[must_use]
    pub fn is_realtime(&self) -> bool {
        self.realtime
    }

    /// What the relay has done until just now.
    #[must_use]
    pub fn counts(&self) -> RelayCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans an outage of both directions: from `at_ns` on the bench's clock, for `for_ns`. Planned ones follow one
    /// another in the order of the calls; one whose time has come while another lasts begins late, and says so.
    ///
    /// # Errors
    /// Where the relay has ended.
    pub fn inject(&self, fault: Fault, at_ns: i64, for_ns: i64) -> Result<PendingInjection> {
        let (plan, pending) = fault::plan(fault, at_ns, for_ns);
        let ended =
            || TestbedError::io("plan a fault: the relay has ended")(std::io::ErrorKind::BrokenPipe.into());
        self.commands.send(plan).map_err(|_| ended())?;
        let mut wake = self.wake.as_ref().ok_or_else(ended)?;
        wake.write_all(&[1]).map_err(|_| ended())?;
        Ok(pending)
    }

    /// Ends the relay and removes its devices.
    ///
    /// # Errors
    /// Where it had broken off before, as when a device went away.
    pub fn stop(mut self) -> Result<RelayCounts> {
        self.end()?;
        Ok(self.counts())
    }

    fn end(&mut self) -> Result<()> {
        self.wake = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let died = || TestbedError::io("carry frames")(std::io::Error::other("the relay's thread panicked"));
        thread.join().unwrap_or_else(|_| Err(died()))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Whoever drops a relay no longer asks how it went.
        let _ = self.end();
    }
}
