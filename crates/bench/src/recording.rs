//! A trial's series while they are written: threads push rows, the first failure to write is kept for the trial.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dunlin_record::{RecordError, Result, RunFolder, SeriesWriter, TrialId, shapes};
use dunlin_wire::RowSink;

/// Makes the series of one trial.
#[derive(Clone)]
pub(crate) struct Recording {
    folder: RunFolder,
    trial: TrialId,
    failure: Arc<Mutex<Option<RecordError>>>,
}

impl Recording {
    pub(crate) fn new(folder: RunFolder, trial: TrialId) -> Self {
        Self { folder, trial, failure: Arc::default() }
    }

    /// Begins a series; rows may come from any thread.
    pub(crate) fn series(&self, name: &str, shape: shapes::Shape) -> Result<SeriesHandle> {
        let writer = SeriesWriter::create(&self.folder.series_path(&self.trial, name), shape)?;
        Ok(SeriesHandle {
            width: shape.len(),
            writer: Arc::new(Mutex::new(Some(writer))),
            failure: Arc::clone(&self.failure),
        })
    }

    /// The first failure to write a row, once.
    pub(crate) fn check(&self) -> Result<()> {
        lock(&self.failure).take().map_or(Ok(()), Err)
    }
}

/// A series that any thread may push rows to.
#[derive(Clone)]
pub(crate) struct SeriesHandle {
    width: usize,
    writer: Arc<Mutex<Option<SeriesWriter>>>,
    failure: Arc<Mutex<Option<RecordError>>>,
}

impl SeriesHandle {
    /// Appends rows, one value a column, row after row.
    pub(crate) fn push(&self, values: &[i64]) {
        let mut slot = lock(&self.writer);
        let Some(writer) = slot.as_mut() else { return };
        let written = values.chunks_exact(self.width).try_for_each(|row| writer.push(row));
        if let Err(error) = written {
            // Later rows would leave a hole that nobody could see.
            *slot = None;
            lock(&self.failure).get_or_insert(error);
        }
    }

    /// A sink that appends the rows it is given.
    pub(crate) fn sink(&self) -> RowSink {
        let series = self.clone();
        Box::new(move |rows| series.push(rows))
    }

    /// Ends the series; rows that come later are dropped.
    pub(crate) fn finish(&self) {
        if let Some(Err(error)) = lock(&self.writer).take().map(SeriesWriter::finish) {
            lock(&self.failure).get_or_insert(error);
        }
    }
}

/// A thread that panicked while holding the lock leaves whole rows.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
