//! Time and events, as a migration meets them: of the real world, or of a test's own.

use std::time::Duration;

use dunlin_record::{Event, Journal, RecordError};

/// Where a migration takes place: its clock, what happens, and the record of it. Time passes only in [`Surroundings::next`]
/// and while a hypervisor is asked.
pub trait Surroundings {
    /// Now, in nanoseconds of the bench's clock.
    fn now_ns(&self) -> i64;

    /// Waits for the next thing that happens, and records it. It is handed out even where it could not be recorded.
    fn next(&mut self, limit: Duration) -> Option<Event>;

    /// Records something.
    fn keep(&mut self, event: &Event);

    /// Takes note that something of the record could not be kept.
    fn fail(&mut self, error: RecordError);

    /// The first thing that could not be recorded, if there is one.
    fn failure(&self) -> Option<&RecordError>;

    /// The moment that lies a time ahead.
    fn after(&self, time: Duration) -> i64 {
        let ns = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        self.now_ns().saturating_add(ns)
    }

    /// How long it is until a moment; nothing once it has come.
    fn left_until(&self, moment_ns: i64) -> Option<Duration> {
        let left = u64::try_from(moment_ns - self.now_ns()).ok().filter(|left| *left > 0);
        left.map(Duration::from_nanos)
    }
}

/// The real clock and a trial's journal.
pub struct Live<'a> {
    journal: &'a mut Journal,
    failure: Option<RecordError>,
}

impl<'a> Live<'a> {
    /// Surroundings that record in a journal.
    pub fn new(journal: &'a mut Journal) -> Self {
        Self { journal, failure: None }
    }

    /// The first failure to record, once.
    pub fn into_failure(self) -> Option<RecordError> {
        self.failure
    }
}

impl Surroundings for Live<'_> {
    fn now_ns(&self) -> i64 {
        dunlin_clock::now_ns()
    }

    fn next(&mut self, limit: Duration) -> Option<Event> {
        let event = self.journal.receive(limit)?;
        self.keep(&event);
        Some(event)
    }

    fn keep(&mut self, event: &Event) {
        // What comes after a hole would hide it.
        if self.failure.is_none()
            && let Err(error) = self.journal.keep(event)
        {
            self.failure = Some(error);
        }
    }

    fn fail(&mut self, error: RecordError) {
        self.failure.get_or_insert(error);
    }

    fn failure(&self) -> Option<&RecordError> {
        self.failure.as_ref()
    }
}
