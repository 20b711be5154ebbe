//! The relay's loop: takes frames in, lets an injected fault act on them, and sends each when it is due.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use dunlin_clock::{SECOND_NS, now_ns};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::fault::{Fault, Outage, Plan};
use super::{DirectionCounts, RelayCounts, RelaySpec};
use crate::{Result, TestbedError};

/// Frames taken in from an end, or sent to it, before all else gets its turn: few, because a released hold sends
/// thousands, whose first answers must not wait for the last of them.
const TURN: usize = 16;
/// Longer than any frame, segmentation offload included.
const FRAME_BYTES: usize = 1 << 16;

pub(super) struct Engine {
    /// Direction 0 reads the first and writes the second, direction 1 the other way round.
    taps: [File; 2],
    names: [String; 2],
    directions: [Direction; 2],
    delay_ns: i64,
    queue_frames: usize,
    wake: PipeReader,
    planning: Receiver<Plan>,
    planned: VecDeque<Plan>,
    outage: Option<Outage>,
    counts: Arc<Mutex<RelayCounts>>,
    scratch: Box<[u8]>,
}

#[derive(Default)]
struct Direction {
    /// In the order they came, and so in the order they are due.
    queue: VecDeque<Waiting>,
    /// Kept back by a fault.
    held: VecDeque<Waiting>,
    last_sent_ns: Option<i64>,
    counts: DirectionCounts,
}

struct Waiting {
    taken_ns: i64,
    frame: Box<[u8]>,
}

impl Engine {
    pub(super) fn new(
        taps: [File; 2],
        spec: &RelaySpec,
        planning: Receiver<Plan>,
        wake: PipeReader,
        counts: Arc<Mutex<RelayCounts>>,
    ) -> Result<Self> {
        Ok(Self {
            taps,
            names: [spec.a.device.clone(), spec.b.device.clone()],
            directions: Default::default(),
            delay_ns: spec.delay_ns.max(0),
            queue_frames: spec.queue_frames,
            wake,
            planning,
            planned: VecDeque::new(),
            outage: None,
            counts,
            scratch: vec![0; FRAME_BYTES].into(),
        })
    }

    /// Carries frames until the waking end of the pipe is closed.
    pub(super) fn run(mut self) -> Result<()> {
        let mut more = false;
        while self.wait(more)? {
            // Frames that came before a fault's time are taken in before it begins, and so are not touched by it.
            more = self.take_in(0)? | self.take_in(1)?;
            self.turn_faults();
            self.send_due(0);
            self.send_due(1);
            self.report_outage();
            self.publish_counts();
        }
        Ok(())
    }

    /// Waits for frames, a plan or the next thing due; false when the relay is to end.
    fn wait(&mut self, more: bool) -> Result<bool> {
        let left_ns =
            if more { 0 } else { self.next_due_ns().map_or(SECOND_NS, |due| (due - now_ns()).max(0)) };
        let [a, b] = [&self.taps[0], &self.taps[1]];
        let mut polled = [
            PollFd::new(a.as_fd(), PollFlags::POLLIN),
            PollFd::new(b.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        let limit = TimeSpec::new(left_ns / SECOND_NS, left_ns % SECOND_NS);
        match ppoll(&mut polled, Some(limit), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(TestbedError::errno("wait for frames to relay")(error)),
        }
        let woken = polled[2].any().unwrap_or(false);
        if woken {
            let mut bytes = [0; 64];
            match self.wake.read(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(TestbedError::io("read the relay's wake-up pipe")(error)),
            }
            self.planned.extend(self.planning.try_iter());
        }
        Ok(true)
    }

    fn next_due_ns(&self) -> Option<i64> {
        let frames =
            self.directions.iter().filter_map(|one| Some(one.queue.front()?.taken_ns + self.delay_ns));
        let outage = self.outage.iter().map(Outage::due_ns);
        let waiting_for_outage = self.outage.as_ref().is_some_and(|outage| outage.fault().is_some());
        let plan = self.planned.front().filter(|_| !waiting_for_outage).map(|plan| plan.start_ns);
        frames.chain(outage).chain(plan).min()
    }

    /// Reads what one end has; true if there may be more.
    fn take_in(&mut self, direction: usize) -> Result<bool> {
        for _ in 0..TURN {
            let mut tap = &self.taps[direction];
            let length = match tap.read(&mut self.scratch) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(TestbedError::io(format!("read the tap {}", self.names[direction]))(error));
                }
            };
            self.take(direction, length, now_ns());
        }
        Ok(true)
    }

    /// Decides about the frame in the scratch buffer.
    fn take(&mut self, direction: usize, length: usize, taken_ns: i64) {
        let fault = self.outage.as_ref().and_then(Outage::fault);
        if let (Some(_), Some(outage)) = (fault, &mut self.outage) {
            outage.met(direction);
        }
        let one = &mut self.directions[direction];
        if fault == Some(Fault::Drop) {
            one.counts.injected_drops += 1;
        } else if fault.is_none() && self.delay_ns == 0 && one.queue.is_empty() {
            let outage = self.outage.as_mut();
            one.send(&self.taps[1 - direction], &self.scratch[..length], taken_ns, direction, outage);
        } else if one.queue.len() + one.held.len() >= self.queue_frames {
            one.counts.queue_full += 1;
        } else {
            let waiting = Waiting { taken_ns, frame: self.scratch[..length].into() };
            if fault.is_some() { one.held.push_back(waiting) } else { one.queue.push_back(waiting) }
        }
    }

    /// Begins and ends faults whose time has come.
    fn turn_faults(&mut self) {
        let now = now_ns();
        if let Some(outage) = &mut self.outage
            && outage.fault().is_some()
            && now >= outage.due_ns()
        {
            outage.end(now);
            for one in &mut self.directions {
                // They came after all that is queued, so the queue's order holds.
                one.queue.append(&mut one.held);
            }
        }
        let next_begins = self.planned.front().is_some_and(|plan| now >= plan.start_ns);
        // The next one does not wait for frames that may never follow the one before.
        if next_begins && let Some(outage) = self.outage.take_if(|outage| outage.fault().is_none()) {
            outage.report(now);
        }
        if next_begins && self.outage.is_none() {
            let last_sent_ns = [self.directions[0].last_sent_ns, self.directions[1].last_sent_ns];
            self.outage = self.planned.pop_front().map(|plan| Outage::begin(plan, now, last_sent_ns));
        }
    }

    fn report_outage(&mut self) {
        let now = now_ns();
        if let Some(outage) = self.outage.take_if(|outage| outage.is_over(now)) {
            outage.report(now);
        }
    }

    fn send_due(&mut self, direction: usize) {
        let one = &mut self.directions[direction];
        for _ in 0..TURN {
            let Some(waiting) = one.queue.front() else { return };
            if waiting.taken_ns + self.delay_ns > now_ns() {
                return;
            }
            let Some(waiting) = one.queue.pop_front() else { return };
            let outage = self.outage.as_mut();
            one.send(&self.taps[1 - direction], &waiting.frame, waiting.taken_ns, direction, outage);
        }
    }

    fn publish_counts(&mut self) {
        // Never waits for whoever looks at the counts: the next turn publishes them too.
        if let Ok(mut counts) = self.counts.try_lock() {
            *counts = RelayCounts { a_to_b: self.directions[0].counts, b_to_a: self.directions[1].counts };
        }
    }
}

impl Direction {
    fn send(
        &mut self,
        mut to: &File,
        frame: &[u8],
        taken_ns: i64,
        direction: usize,
        outage: Option<&mut Outage>,
    ) {
        if to.write(frame).is_err() {
            self.counts.refused += 1;
            return;
        }
        let sent_ns = now_ns();
        self.counts.forwarded += 1;
        self.counts.forwarded_bytes += frame.len() as u64;
        self.last_sent_ns = Some(sent_ns);
        if let Some(outage) = outage {
            outage.sent(direction, taken_ns, sent_ns);
        }
    }
}
