//! Events on disk: JSON lines, zstd-compressed, flushed so that a killed run keeps what had happened.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use crate::upgrade::Upgrade;
use crate::{Event, RecordError, Result};

/// Appends events to a file. Each event is on disk (as far as the kernel is concerned) when `write` returns.
pub struct EventWriter {
    path: PathBuf,
    encoder: zstd::Encoder<'static, File>,
}

impl EventWriter {
    /// Creates the file; one that is there is replaced.
    ///
    /// # Errors
    /// Where the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(RecordError::io("create", path))?;
        let encoder = zstd::Encoder::new(file, 1).map_err(RecordError::io("write", path))?;
        Ok(Self { path: path.to_owned(), encoder })
    }

    /// Appends one event.
    ///
    /// # Errors
    /// Where it cannot be written; the file then ends before it.
    pub fn write(&mut self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_vec(event).map_err(|source| RecordError::Json {
            what: "event",
            path: self.path.clone(),
            line: 0,
            source,
        })?;
        line.push(b'\n');
        self.encoder
            .write_all(&line)
            .and_then(|()| self.encoder.flush())
            .map_err(RecordError::io("write", &self.path))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Where the end cannot be written.
    pub fn finish(self) -> Result<()> {
        let path = self.path;
        self.encoder.finish().map(drop).map_err(RecordError::io("write", path))
    }
}

/// Events read back from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct EventReader {
    /// In the order they were written.
    pub events: Vec<Event>,
    /// Whether the file breaks off, as after a kill.
    pub truncated: bool,
}

/// Reads a file of events, as far as it goes.
///
/// # Errors
/// Where the file cannot be opened, or a whole line in it is no event.
pub fn read_events(path: &Path) -> Result<EventReader> {
    let file = File::open(path).map_err(RecordError::io("open", path))?;
    let decoder = zstd::Decoder::new(file).map_err(RecordError::io("read", path))?;
    let mut reader = BufReader::new(decoder);
    let mut events = Vec::new();
    let mut line = Vec::new();
    let mut upgrade = Upgrade::default();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(EventReader { events, truncated: false }),
            Ok(_) if line.ends_with(b"\n") => {
                let mut event: Event = serde_json::from_slice(&line).map_err(|source| RecordError::Json {
                    what: "event",
                    path: path.to_owned(),
                    line: events.len() + 1,
                    source,
                })?;
                upgrade.event(&mut event.kind);
                events.push(event);
            }
            Ok(_) => return Ok(EventReader { events, truncated: true }),
            Err(error) if is_break(&error) => return Ok(EventReader { events, truncated: true }),
            Err(error) => return Err(RecordError::io("read", path)(error)),
        }
    }
}

/// Whether reading stopped because the compressed stream ends early or in garbage.
pub(crate) fn is_break(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::Other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventKind;

    fn event(t_ns: i64) -> Event {
        Event { t_ns, host: None, vm: None, kind: EventKind::MigrateCommand }
    }

    #[test]
    fn events_come_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let mut writer = EventWriter::create(&path).unwrap();
        for t_ns in 0..100 {
            writer.write(&event(t_ns)).unwrap();
        }
        writer.finish().unwrap();
        let read = read_events(&path).unwrap();
        assert!(!read.truncated);
        assert_eq!(read.events, (0..100).map(event).collect::<Vec<_>>());
    }

    #[test]
    fn a_writer_that_was_killed_leaves_every_event_it_had_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let mut writer = EventWriter::create(&path).unwrap();
        for t_ns in 0..10 {
            writer.write(&event(t_ns)).unwrap();
        }
        std::mem::forget(writer);
        let read = read_events(&path).unwrap();
        assert!(read.truncated);
        assert_eq!(read.events.len(), 10);
    }
}
