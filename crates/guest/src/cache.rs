//! Where fetched and built things are kept between runs.

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use dunlin_clock::now_ns;
use dunlin_record::{FolderLock, RecordError};

use crate::{GuestError, Result};

/// The cache folder: `$DUNLIN_CACHE`, else `$XDG_CACHE_HOME/dunlin`, else `~/.cache/dunlin`.
///
/// # Errors
/// Where no such variable is set.
pub fn default_cache_dir() -> Result<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("DUNLIN_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("dunlin")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/dunlin")))
        .ok_or(GuestError::NoCache)
}

/// A folder beside things of the cache in which the next is made, by its holder alone. It is gone when this is, or, after a
/// kill, when the next one is made.
#[derive(Debug)]
pub(crate) struct Workshop {
    path: PathBuf,
    _lock: FolderLock,
}

impl Workshop {
    const PREFIX: &str = ".making-";

    pub(crate) fn open(parent: &Path) -> Result<Self> {
        fs::create_dir_all(parent).map_err(GuestError::io("make the folder", parent))?;
        remove_abandoned(parent);
        loop {
            // A pid would not tell two apart: the first process of every lab has the same.
            let path = parent.join(format!("{}{}", Self::PREFIX, now_ns()));
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made.map_err(GuestError::io("make the folder", &path))?,
            }
            match FolderLock::take(&path) {
                Ok(lock) if path.exists() => return Ok(Self { path, _lock: lock }),
                // Before it was locked, another took it for abandoned.
                Ok(_) | Err(RecordError::Busy { .. }) => {}
                Err(_) if !path.exists() => {}
                Err(error) => return Err(GuestError::io("lock", &path)(io::Error::other(error))),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What cannot be removed now is tried again by the next.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the workshops that nobody holds any more.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_workshop = name.to_str().is_some_and(|name| name.starts_with(Workshop::PREFIX));
        if is_workshop && FolderLock::take(&entry.path()).is_ok_and(|lock| lock.keeps_out()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workshop_leaves_nothing_and_tidies_up_after_the_killed() {
        let dir = tempfile::tempdir().unwrap();
        let abandoned = dir.path().join(".making-4194999");
        let precious = dir.path().join("6.12");
        fs::create_dir_all(&abandoned).unwrap();
        fs::create_dir_all(&precious).unwrap();
        let workshop = Workshop::open(dir.path()).unwrap();
        fs::write(workshop.path().join("half"), "x").unwrap();
        assert!(!abandoned.exists());
        let other = Workshop::open(dir.path()).unwrap();
        assert!(other.path() != workshop.path() && workshop.path().join("half").exists());
        let path = workshop.path().to_owned();
        drop(workshop);
        assert!(!path.exists() && precious.exists());
    }
}
