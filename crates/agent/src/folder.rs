//! The folder of an agent that is a program: made for it alone, gone with it.
//!
//! Files in it lose their names as soon as they are open (see the disk workload), so a process that is killed leaves at
//! most the empty folder. The next agent removes that; a lock tells whether its owner lives.
#![expect(unsafe_code, reason = "mkdtemp and flock have no wrapper in the std of our oldest Rust")]

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::console::say;
use crate::sys::check;

/// How its name begins.
const NAME: &str = "dunlin-agent.";

/// A folder that is removed at the end.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Open, and so locked, as long as the folder is used.
    _lock: File,
}

impl Folder {
    /// Makes one below `parent`, and removes what killed agents have left there.
    pub(crate) fn make(parent: &Path) -> Result<Self, String> {
        let said = |error: io::Error| format!("make a folder in {}: {error}", parent.display());
        remove_left(parent).map_err(said)?;
        let path = make_temporary(parent).map_err(said)?;
        let lock = File::open(&path).and_then(|folder| lock(&folder).map(|()| folder));
        match lock {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(said(error))
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            say(&format!("dunlin-agent: remove {}: {error}", self.path.display()));
        }
    }
}

fn make_temporary(parent: &Path) -> io::Result<PathBuf> {
    let mut template = parent.join(NAME).into_os_string();
    template.push("XXXXXX");
    let template = CString::new(template.into_vec())?.into_raw();
    // SAFETY: a NUL-terminated string of our own that ends in six X, which are replaced in place.
    let made = unsafe { libc::mkdtemp(template) };
    let error = io::Error::last_os_error();
    // SAFETY: it came from `into_raw` above, and its length has not changed.
    let path = unsafe { CString::from_raw(template) };
    if made.is_null() { Err(error) } else { Ok(OsString::from_vec(path.into_bytes()).into()) }
}

/// Removes the folders in `parent` that are named like ours, empty, and nobody's any more.
fn remove_left(parent: &Path) -> io::Result<()> {
    // SAFETY: it takes nothing and cannot fail.
    let user = unsafe { libc::geteuid() };
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if !is_ours(&entry.file_name()) || !entry.file_type()?.is_dir() {
            continue;
        }
        // One that goes meanwhile, or cannot be removed, is no reason not to work.
        if let Ok(folder) = File::open(entry.path())
            && folder.metadata().is_ok_and(|found| found.uid() == user)
            && lock(&folder).is_ok()
        {
            let _ = fs::remove_dir(entry.path());
        }
    }
    Ok(())
}

fn is_ours(name: &OsStr) -> bool {
    name.as_bytes().strip_prefix(NAME.as_bytes()).is_some_and(|rest| rest.len() == 6)
}

/// Locks an open folder, if nobody else has.
fn lock(folder: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    check(unsafe { libc::flock(folder.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder for the test, removed at its end.
    fn parent() -> Folder {
        Folder::make(&std::env::temp_dir()).unwrap()
    }

    #[test]
    fn it_goes_with_all_that_is_in_it() {
        let parent = parent();
        let folder = Folder::make(parent.path()).unwrap();
        let path = folder.path().to_owned();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o700);
        fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_agent_has_left_goes_and_what_is_used_or_foreign_stays() {
        let parent = parent();
        let used = Folder::make(parent.path()).unwrap();
        let [left, foreign, full] =
            ["dunlin-agent.000000", "dunlin-agent.d", "dunlin-agent.111111"].map(|name| {
                let path = parent.path().join(name);
                fs::create_dir(&path).unwrap();
                path
            });
        fs::write(full.join("file"), "x").unwrap();
        let _new = Folder::make(parent.path()).unwrap();
        assert!(!left.exists());
        assert!(used.path().exists() && foreign.exists() && full.exists());
    }

    #[test]
    fn where_none_can_be_made_is_told() {
        let said = Folder::make(Path::new("/no-such-place")).unwrap_err();
        assert!(said.contains("make a folder in /no-such-place"), "{said}");
    }
}
