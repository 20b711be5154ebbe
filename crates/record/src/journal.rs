//! The one place through which a trial's events pass: whoever waits for an event here has it on disk already.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::{Event, Result};

/// Where an event goes to be kept.
pub type EventSink = Box<dyn FnMut(&Event) -> Result<()> + Send>;

/// Collects events from any thread and keeps each before anyone acts on it.
pub struct Journal {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
    sink: EventSink,
}

impl Journal {
    /// A journal that keeps events with `sink`.
    #[must_use]
    pub fn new(sink: EventSink) -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver, sink }
    }

    /// A journal that keeps nothing, for guests that run outside a trial.
    #[must_use]
    pub fn discarding() -> Self {
        Self::new(Box::new(|_| Ok(())))
    }

    /// A handle with which any thread hands in events.
    #[must_use]
    pub fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Keeps an event of the caller's own.
    ///
    /// # Errors
    /// Where it cannot be kept.
    pub fn keep(&mut self, event: &Event) -> Result<()> {
        (self.sink)(event)
    }

    /// The next event handed in, kept; none if none comes within `limit`.
    ///
    /// # Errors
    /// Where it cannot be kept.
    pub fn next(&mut self, limit: Duration) -> Result<Option<Event>> {
        match self.receiver.recv_timeout(limit) {
            Ok(event) => self.keep(&event).map(|()| Some(event)),
            // `self` holds a sender, so the channel never closes.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    /// Keeps every event handed in so far.
    ///
    /// # Errors
    /// Where one cannot be kept.
    pub fn drain(&mut self) -> Result<()> {
        while let Ok(event) = self.receiver.try_recv() {
            self.keep(&event)?;
        }
        Ok(())
    }
}
