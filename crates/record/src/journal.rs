//! The one place through which a trial's events pass: whoever waits for an event here has it on disk already.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::{Event, EventWriter, Result};

/// Collects events from any thread and keeps each before anyone acts on it.
pub struct Journal {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
    /// Absent for guests that run outside a trial.
    writer: Option<EventWriter>,
}

impl Journal {
    /// A journal that keeps events in a file.
    #[must_use]
    pub fn new(writer: EventWriter) -> Self {
        Self { writer: Some(writer), ..Self::discarding() }
    }

    /// A journal that keeps nothing, for guests that run outside a trial.
    #[must_use]
    pub fn discarding() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver, writer: None }
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
        self.writer.as_mut().map_or(Ok(()), |writer| writer.write(event))
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

    /// Waits for an event without keeping it: for whoever must act on it even where nothing can be kept any more, and keeps
    /// it with [`Journal::keep`].
    pub fn receive(&mut self, limit: Duration) -> Option<Event> {
        // `self` holds a sender, so the channel never closes.
        self.receiver.recv_timeout(limit).ok()
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

    /// Keeps what was handed in and ends the file.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn finish(mut self) -> Result<()> {
        self.drain()?;
        self.writer.map_or(Ok(()), EventWriter::finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventKind, read_events};

    #[test]
    fn what_any_thread_hands_in_is_kept_in_the_order_it_came() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let event = |t_ns| Event { t_ns, host: None, vm: None, kind: EventKind::MigrateCommand };
        let mut journal = Journal::new(EventWriter::create(&path).unwrap());
        let sender = journal.sender();
        std::thread::spawn(move || (0..3).for_each(|t_ns| sender.send(event(t_ns)).unwrap())).join().unwrap();
        assert_eq!(journal.next(Duration::from_secs(1)).unwrap(), Some(event(0)));
        journal.finish().unwrap();
        assert_eq!(read_events(&path).unwrap().events, [event(0), event(1), event(2)]);
    }
}
