//! Files without a name: whoever holds one may be killed, and nothing of it is left.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

use crate::{Result, TestbedError};

/// A file without a name (`O_TMPFILE`), which is gone with the last process that has it open.
#[derive(Debug)]
pub struct NamelessFile(File);

impl NamelessFile {
    /// Makes an empty one on the file system of a folder.
    ///
    /// # Errors
    /// Where the system refuses, or the file system cannot.
    pub fn make_in(folder: &Path) -> Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600);
        let doing = format!("make a nameless file in {}", folder.display());
        options.open(folder).map(Self).map_err(TestbedError::io(doing))
    }

    /// The file itself.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.0
    }

    /// By which other processes of the same pid namespace open it, as long as this value lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }

    /// Another handle of the same file.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn another(&self) -> Result<Self> {
        self.0.try_clone().map(Self).map_err(TestbedError::io("open a nameless file once more"))
    }

    /// Cuts it off or lets it grow by a hole.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn resize(&self, bytes: u64) -> Result<()> {
        self.0.set_len(bytes).map_err(TestbedError::io(format!("resize a nameless file to {bytes} bytes")))
    }

    /// Bytes it takes up on its file system; less than its size where it has holes.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn allocated_bytes(&self) -> Result<u64> {
        // stat(2): `st_blocks` counts 512 bytes each, whatever the file system's blocks are.
        let metadata = self.0.metadata().map_err(TestbedError::io("ask what a nameless file takes up"))?;
        Ok(metadata.blocks() * 512)
    }

    /// Bytes of it that are no holes: what whoever copies it has to read. On a file system that does not tell holes, its
    /// size.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn data_bytes(&self) -> Result<u64> {
        dunlin_image::data_bytes(&self.0)
            .map_err(|error| TestbedError::io("look for a nameless file's holes")(io::Error::other(error)))
    }

    /// Whether its file system can pass the page cache by (`O_DIRECT`).
    #[must_use]
    pub fn takes_direct_io(&self) -> bool {
        File::options().read(true).custom_flags(libc::O_DIRECT).open(self.path()).is_ok()
    }

    /// Gives it a name on the same file system. Well if the name is taken: another was quicker.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn publish(self, path: &Path) -> Result<()> {
        match linkat(AT_FDCWD, &self.path(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(TestbedError::errno(format!("give its name to {}", path.display()))(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn it_is_opened_by_its_path_takes_up_what_was_written_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = NamelessFile::make_in(dir.path()).unwrap();
        file.resize(64 << 20).unwrap();
        assert_eq!(file.allocated_bytes().unwrap(), 0);
        let other = File::options().write(true).open(file.path()).unwrap();
        other.write_all_at(&[1; 4096], 8 << 20).unwrap();
        let allocated = file.allocated_bytes().unwrap();
        assert!((4096..1 << 20).contains(&allocated), "{allocated}");
        let data = file.data_bytes().unwrap();
        assert!(data == allocated || data == 64 << 20, "{data}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_is_given_once() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("name");
        for text in ["first", "second"] {
            let file = NamelessFile::make_in(dir.path()).unwrap();
            file.file().write_all_at(text.as_bytes(), 0).unwrap();
            file.publish(&name).unwrap();
        }
        assert_eq!(fs::read_to_string(name).unwrap(), "first");
    }
}
