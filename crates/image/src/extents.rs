//! Where a file holds something: what of it is no hole.

use std::fs::File;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use crate::{ImageError, Result};

/// A part of a file that is no hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub begin: u64,
    /// The byte after its last.
    pub end: u64,
}

/// The parts of a file that are no holes, in order (lseek(2), `SEEK_DATA` and `SEEK_HOLE`).
#[derive(Debug)]
pub struct Extents<'a> {
    file: &'a File,
    place: u64,
}

/// What of a file is no hole, in order; one extent on a file system that does not tell holes. Moves the file's position.
#[must_use]
pub fn data_extents(file: &File) -> Extents<'_> {
    Extents { file, place: 0 }
}

/// Bytes of a file that are no holes: what whoever copies it has to read. On a file system that does not tell holes, its
/// size. Moves the file's position.
///
/// # Errors
/// Where the system does not say.
pub fn data_bytes(file: &File) -> Result<u64> {
    data_extents(file).try_fold(0, |bytes, extent| extent.map(|extent| bytes + extent.end - extent.begin))
}

/// Whether a file has anything but holes. Moves the file's position.
///
/// # Errors
/// Where the system does not say.
pub fn has_data(file: &File) -> Result<bool> {
    data_extents(file).next().transpose().map(|extent| extent.is_some())
}

/// Whether there are only zeros, as in a hole.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| *chunk == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.find_next();
        if let Ok(Some(extent)) = &found {
            self.place = extent.end;
        }
        found.transpose()
    }
}

impl Extents<'_> {
    fn find_next(&self) -> Result<Option<Extent>> {
        let Some(begin) = self.seek(self.place, Whence::SeekData)? else { return Ok(None) };
        let end = self.seek(begin, Whence::SeekHole)?.filter(|end| *end > begin);
        Ok(end.map(|end| Extent { begin, end }))
    }

    fn seek(&self, to: u64, whence: Whence) -> Result<Option<u64>> {
        let place = i64::try_from(to).unwrap_or(i64::MAX);
        match lseek(self.file, place, whence) {
            Ok(place) => Ok(u64::try_from(place).ok()),
            // There is no more data after the place.
            Err(Errno::ENXIO) => Ok(None),
            Err(errno) => Err(ImageError::file("look for the file's holes", to)(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_was_written_is_told_and_nothing_of_what_was_not() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        assert!(!has_data(&file).unwrap());
        for at in [1 << 20, 40 << 20] {
            file.write_all_at(&[1; 4096], at).unwrap();
        }
        let extents: Vec<Extent> = data_extents(&file).collect::<Result<_>>().unwrap();
        assert!(has_data(&file).unwrap());
        if extents == [Extent { begin: 0, end: 64 << 20 }] {
            return; // A file system that does not tell holes.
        }
        let [first, second] = extents[..] else { panic!("{extents:?}") };
        assert!((first.begin..first.end).contains(&(1 << 20)) && first.end < 40 << 20, "{first:?}");
        assert!((second.begin..second.end).contains(&(40 << 20)), "{second:?}");
        assert_eq!(data_bytes(&file).unwrap(), extents.iter().map(|one| one.end - one.begin).sum::<u64>());
    }
}
