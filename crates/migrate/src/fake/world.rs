//! Time and events of a scripted world.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_record::{Event, RecordError};

use super::model::Model;
use crate::Surroundings;

pub(super) struct FakeWorld {
    pub(super) model: Arc<Mutex<Model>>,
    pub(super) cancel: Cancel,
    failure: Option<RecordError>,
    /// What was recorded, to be shown where something is wrong.
    pub(super) recorded: Vec<Event>,
}

impl FakeWorld {
    pub(super) fn new(model: &Arc<Mutex<Model>>) -> Self {
        Self { model: Arc::clone(model), cancel: Cancel::new(), failure: None, recorded: Vec::new() }
    }

    fn look(&mut self) {
        let model = self.model.lock().unwrap();
        if model.interrupted {
            self.cancel.cancel();
        }
        if model.disk_full && self.failure.is_none() {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            self.failure = Some(RecordError::io("write", "events")(full));
        }
    }
}

impl Surroundings for FakeWorld {
    fn now_ns(&self) -> i64 {
        self.model.lock().unwrap().now_ns
    }

    fn next(&mut self, limit: Duration) -> Option<Event> {
        let event = {
            let mut model = self.model.lock().unwrap();
            let until_ns = model.now_ns + i64::try_from(limit.as_nanos()).unwrap();
            model.next_event(until_ns)
        };
        self.look();
        self.recorded.extend(event.clone());
        event
    }

    fn keep(&mut self, event: &Event) {
        self.recorded.push(event.clone());
    }

    fn fail(&mut self, error: RecordError) {
        self.failure.get_or_insert(error);
    }

    fn failure(&self) -> Option<&RecordError> {
        self.failure.as_ref()
    }
}
