//! Series: fixed columns at a rate, in binary, zstd-compressed, behind a header that names columns and units.
//!
//! A file is one zstd stream: a JSON line (`{"format":1,"name":…,"columns":[{"name":…,"unit":…},…]}`), then rows of
//! little-endian 64-bit integers, one a column. A value that was not measured is [`ABSENT`].

pub mod shapes;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::event_file::is_break;
use crate::{FORMAT, RecordError, Result};

/// A value that was not measured.
pub const ABSENT: i64 = i64::MIN;

/// How many rows may wait in memory before they are handed to the kernel.
const ROWS_BUFFERED: usize = 4096;

/// One column of a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// As in `sent_ns`.
    pub name: String,
    /// As in `ns`, `bytes`, `pages/s`, `1`.
    pub unit: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    name: String,
    columns: Vec<Column>,
}

/// Appends rows to a series file.
pub struct SeriesWriter {
    path: PathBuf,
    width: usize,
    rows_waiting: usize,
    encoder: zstd::Encoder<'static, File>,
}

impl SeriesWriter {
    /// Creates the file and its folder; a file that is there is replaced.
    ///
    /// # Errors
    /// Where it cannot be created or written.
    pub fn create(path: &Path, shape: shapes::Shape) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(RecordError::io("create", folder))?;
        }
        let file = File::create(path).map_err(RecordError::io("create", path))?;
        let mut encoder = zstd::Encoder::new(file, 1).map_err(RecordError::io("write", path))?;
        let header = Header {
            format: FORMAT,
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            columns: columns(shape),
        };
        let line = serde_json::to_string(&header).unwrap_or_default() + "\n";
        encoder.write_all(line.as_bytes()).map_err(RecordError::io("write", path))?;
        Ok(Self { path: path.to_owned(), width: shape.len(), rows_waiting: 0, encoder })
    }

    /// Appends one row.
    ///
    /// # Errors
    /// Where it cannot be written.
    ///
    /// # Panics
    /// If the row has not one value a column: a mistake in the program.
    pub fn push(&mut self, row: &[i64]) -> Result<()> {
        assert_eq!(row.len(), self.width, "a row of {} needs one value a column", self.path.display());
        for value in row {
            self.encoder.write_all(&value.to_le_bytes()).map_err(RecordError::io("write", &self.path))?;
        }
        self.rows_waiting += 1;
        if self.rows_waiting >= ROWS_BUFFERED {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands what waits to the kernel.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.rows_waiting = 0;
        self.encoder.flush().map_err(RecordError::io("write", &self.path))
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

/// A series read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its values, row after row.
    values: Vec<i64>,
    /// Whether the file breaks off, as after a kill.
    pub truncated: bool,
}

impl Series {
    /// A series of a known shape made of rows, as for tests.
    #[must_use]
    pub fn from_rows<const N: usize>(shape: shapes::Shape, rows: &[[i64; N]]) -> Self {
        assert_eq!(shape.len(), N, "the rows must have one value a column");
        Self { columns: columns(shape), values: rows.iter().flatten().copied().collect(), truncated: false }
    }

    /// A series of a known shape made of values, row after row.
    #[cfg(any(test, feature = "samples"))]
    pub(crate) fn from_values(shape: shapes::Shape, values: Vec<i64>) -> Self {
        Self { columns: columns(shape), values, truncated: false }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.columns.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The rows as slices, one value a column.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &[i64]> + ExactSizeIterator {
        self.values.chunks_exact(self.columns.len())
    }

    /// The rows as arrays, for a series whose shape is known.
    pub fn rows_of<const N: usize>(&self) -> impl DoubleEndedIterator<Item = [i64; N]> + '_ {
        self.rows().filter_map(|row| row.try_into().ok())
    }
}

fn columns(shape: shapes::Shape) -> Vec<Column> {
    shape.iter().map(|(name, unit)| Column { name: (*name).into(), unit: (*unit).into() }).collect()
}

/// Reads a series file, as far as it goes.
///
/// # Errors
/// Where the file cannot be opened, breaks off in its header, or its header is not one this version knows.
pub fn read_series(path: &Path) -> Result<Series> {
    let file = File::open(path).map_err(RecordError::io("open", path))?;
    let wrong = |why: String| RecordError::Series { path: path.to_owned(), why };
    let mut reader = BufReader::new(zstd::Decoder::new(file).map_err(RecordError::io("read", path))?);
    let mut line = String::new();
    if let Err(error) = reader.read_line(&mut line)
        && !is_break(&error)
    {
        return Err(RecordError::io("read", path)(error));
    }
    if !line.ends_with('\n') {
        return Err(RecordError::BreaksOff { path: path.to_owned() });
    }
    let header: Header =
        serde_json::from_str(&line).map_err(|error| wrong(format!("its header cannot be read: {error}")))?;
    if header.format > FORMAT {
        return Err(RecordError::Format { path: path.to_owned(), found: header.format, known: FORMAT });
    }
    if header.columns.is_empty() {
        return Err(wrong("its header names no column".into()));
    }
    let (bytes, broke_off) = read_all(&mut reader).map_err(RecordError::io("read", path))?;
    let row_bytes = header.columns.len() * 8;
    let whole = bytes.len() - bytes.len() % row_bytes;
    let values = bytes[..whole]
        .chunks_exact(8)
        .map(|chunk| i64::from_le_bytes(chunk.try_into().unwrap_or_default()))
        .collect();
    Ok(Series { columns: header.columns, values, truncated: broke_off || whole != bytes.len() })
}

/// Reads to the end or to where the compressed stream breaks off; says which.
fn read_all(reader: &mut impl Read) -> std::io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok((bytes, false)),
        Err(error) if is_break(&error) => Ok((bytes, true)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, rows: &[[i64; 2]]) -> SeriesWriter {
        let mut writer = SeriesWriter::create(path, shapes::PROBE_ANSWERS).unwrap();
        for row in rows {
            writer.push(row).unwrap();
        }
        writer
    }

    #[test]
    fn rows_come_back_with_their_columns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trial/vm0-probe-icmp-answers.zst");
        let rows = [[0, 10], [1, ABSENT], [2, -30]];
        write(&path, &rows).finish().unwrap();
        let series = read_series(&path).unwrap();
        assert_eq!(series, Series::from_rows(shapes::PROBE_ANSWERS, &rows));
        assert_eq!(series.rows_of::<2>().collect::<Vec<_>>(), rows);
    }

    #[test]
    fn a_series_that_was_never_ended_keeps_what_was_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.zst");
        let mut writer = write(&path, &[[0, 1], [1, 2]]);
        writer.flush().unwrap();
        std::mem::forget(writer);
        let series = read_series(&path).unwrap();
        assert!(series.truncated);
        assert_eq!(series.len(), 2);
    }

    #[test]
    fn a_file_that_is_no_series_is_an_error_not_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.zst");
        for bytes in [&b""[..], b"not zstd at all", &zstd::encode_all(&b"{}\n"[..], 1).unwrap()] {
            std::fs::write(&path, bytes).unwrap();
            assert!(read_series(&path).is_err());
        }
    }
}
