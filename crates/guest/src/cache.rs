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

/// What the cache holds under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// The file's or folder's name.
    pub name: String,
    /// Files in it, itself if it is one.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Whether a run that needs it makes it again by itself, without a network.
    pub is_made_again: bool,
}

/// What the cache holds, by name; nothing where there is none.
///
/// # Errors
/// Where it cannot be listed.
pub fn cache_contents(cache_dir: &Path) -> Result<Vec<Cached>> {
    if !cache_dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(cache_dir).map_err(GuestError::io("list", cache_dir))?;
    let mut contents: Vec<Cached> = entries
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let (files, bytes) = size(&entry.path());
            Cached { is_made_again: is_made_again(&name), name, files, bytes }
        })
        .collect();
    contents.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(contents)
}

/// Removes what is made again by itself; what a run is making just now stays. Says how many files and bytes went.
///
/// # Errors
/// Where something is there and cannot be removed.
pub fn prune_cache(cache_dir: &Path) -> Result<(usize, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for cached in cache_contents(cache_dir)?.into_iter().filter(|cached| cached.is_made_again) {
        let path = cache_dir.join(&cached.name);
        let inside: Vec<PathBuf> = match fs::read_dir(&path) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => vec![path],
        };
        let is_being_made = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(Workshop::PREFIX))
        };
        for path in inside.into_iter().filter(|path| !is_being_made(path)) {
            let (gone_files, gone_bytes) = size(&path);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(GuestError::io("remove", &path))?;
            files += gone_files;
            bytes += gone_bytes;
        }
    }
    Ok((files, bytes))
}

/// Images, templates, and memos of what was tried.
fn is_made_again(name: &str) -> bool {
    matches!(name, "images" | "templates") || name.split('.').next() == Some("accelerator")
}

/// The files below a path, and their bytes. Links count as nothing.
fn size(path: &Path) -> (usize, u64) {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => (1, metadata.len()),
        Ok(metadata) if metadata.is_dir() => {
            let below = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path()));
            below.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
        }
        _ => (0, 0),
    }
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
    fn only_what_is_made_again_is_pruned() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(cache_contents(&dir.path().join("none")).unwrap(), []);
        for (file, bytes) in [
            ("kernels/6.12/vmlinuz", 100),
            ("images/a.cpio", 10),
            ("templates/t/state", 20),
            ("templates/.making-1/state", 5),
            ("accelerator", 1),
            ("accelerator.2fde", 2),
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![0; bytes]).unwrap();
        }
        let names =
            |contents: Vec<Cached>| contents.into_iter().map(|one| (one.name, one.bytes)).collect::<Vec<_>>();
        let held = names(cache_contents(dir.path()).unwrap());
        let expected = [
            ("accelerator", 1),
            ("accelerator.2fde", 2),
            ("images", 10),
            ("kernels", 100),
            ("templates", 25),
        ];
        assert_eq!(held, expected.map(|(name, bytes)| (name.to_owned(), bytes)));
        assert_eq!(prune_cache(dir.path()).unwrap(), (4, 33));
        let held = names(cache_contents(dir.path()).unwrap());
        assert_eq!(
            held,
            [("images", 0), ("kernels", 100), ("templates", 5)].map(|(name, bytes)| (name.to_owned(), bytes))
        );
    }

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
