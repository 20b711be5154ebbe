//! Work on a disk: a file is written or read page by page, over and over, and compared at the end, as it is on the disk,
//! with what must be in it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use dunlin_agent_proto::{DiskAccess, DiskWork, PageRate, Work};

use super::content::Content;
use super::memory::Done;
use super::{is_stopped, pace};
use crate::pages::{PAGE_BYTES, Pages};
use crate::role::Files;
use crate::{storage, sys};

const MIB: u64 = 1024 * 1024;
/// Pages that pass between a file and memory at once.
const BUFFER_PAGES: u64 = 64;

/// A file, and what each of its pages must hold.
#[derive(Debug)]
pub(super) struct WorkingFile {
    /// What is worked on.
    file: File,
    /// The same file past the guest's cache.
    on_disk: File,
    buffer: Pages,
    content: Content,
    access: DiskAccess,
    /// Of the file.
    pages: u64,
    /// Pages worked on, a page as often as it came.
    count: u64,
}

/// Creates the file, and fills it where it is to be read.
pub(super) fn prepare(asked: &DiskWork, files: &Files, stop: &AtomicBool) -> Result<WorkingFile, String> {
    /// Workloads that run at once each have their own.
    static FILES: AtomicU32 = AtomicU32::new(0);
    let DiskWork { file_mib, rate, access, direct } = *asked;
    if file_mib == 0 {
        return Err("a file of 0 MiB".into());
    }
    pace::check(rate)?;
    if let Some(reserve_bytes) = files.reserve_bytes {
        let available_bytes = storage::available_bytes(&files.folder)?;
        if u64::from(file_mib) * MIB + reserve_bytes > available_bytes {
            let (folder, available_mib) = (files.folder.display(), available_bytes / MIB);
            let reserve_mib = reserve_bytes / MIB;
            return Err(format!(
                "a file of {file_mib} MiB in {folder}: {available_mib} MiB are free there, of which {reserve_mib} MiB \
                 are left alone"
            ));
        }
    }
    let path = files.folder.join(FILES.fetch_add(1, Ordering::Relaxed).to_string());
    let pages = u64::from(file_mib) * MIB / PAGE_BYTES as u64;
    let file = WorkingFile::create(&path, pages, access, direct)
        .map_err(|error| format!("create {}: {error}", path.display()));
    if !files.keep_names {
        // Also of one that could be opened only one way.
        let _ = fs::remove_file(&path);
    }
    let mut file = file?;
    if access == DiskAccess::Read {
        file.fill(stop)?;
    }
    Ok(file)
}

/// Works until it is stopped.
pub(super) fn work(mut file: WorkingFile, rate: PageRate, stop: &AtomicBool) -> Result<Done, String> {
    let ended_ns = match file.access {
        DiskAccess::Read => pace::keep(rate, stop, |count| file.read_pages(count)),
        DiskAccess::Write => pace::keep(rate, stop, |count| file.write_pages(count)),
    }?;
    let (pages, passes) = (file.count, file.count / file.pages);
    let corrupt_pages = file.count_corrupt()?;
    Ok(Done { work: Work::Disk { pages, passes, corrupt_pages }, ended_ns })
}

impl WorkingFile {
    fn create(path: &Path, pages: u64, access: DiskAccess, direct: bool) -> io::Result<Self> {
        let past_the_cache = |is_asked: bool| if is_asked { libc::O_DIRECT } else { 0 };
        let open = |is_direct: bool| {
            let mut options = File::options();
            options.read(true).write(true).create(true).custom_flags(past_the_cache(is_direct)).open(path)
        };
        Ok(Self {
            file: open(direct)?,
            on_disk: open(true)?,
            buffer: Pages::map(BUFFER_PAGES as usize)?,
            // Noise all over: what is written is not to be compressed by whatever the disk is on.
            content: Content::new(PAGE_BYTES, 0),
            access,
            pages,
            count: 0,
        })
    }

    /// Writes the whole file once and has it read from the disk the first time.
    fn fill(&mut self, stop: &AtomicBool) -> Result<(), String> {
        for first in (0..self.pages).step_by(BUFFER_PAGES as usize) {
            if is_stopped(stop) {
                return Err("it was stopped before the file had been written".into());
            }
            self.write(first, BUFFER_PAGES.min(self.pages - first), 0)?;
        }
        let forgotten = self.file.sync_all().and_then(|()| sys::forget_cached_pages(&self.file));
        forgotten.map_err(|error| format!("bring the file to the disk: {error}"))
    }

    fn write_pages(&mut self, count: u64) -> Result<(), String> {
        self.each_run(count, |file, first, run| file.write(first, run, file.writes(first)? + 1))
    }

    fn read_pages(&mut self, count: u64) -> Result<(), String> {
        self.each_run(count, |file, first, run| {
            let bytes = file.buffer.bytes_mut(run as usize);
            file.file.read_exact_at(bytes, offset(first)).map_err(|error| at("read", first, &error))
        })
    }

    /// Has so many pages worked on from where the last ended: in runs that end with the file or the buffer.
    fn each_run(
        &mut self,
        mut left: u64,
        mut work: impl FnMut(&mut Self, u64, u64) -> Result<(), String>,
    ) -> Result<(), String> {
        while left > 0 {
            let first = self.count % self.pages;
            let run = left.min(self.pages - first).min(BUFFER_PAGES);
            work(self, first, run)?;
            self.count += run;
            left -= run;
        }
        Ok(())
    }

    /// Writes a run of pages as they are after so many writes.
    fn write(&mut self, first: u64, run: u64, writes: u32) -> Result<(), String> {
        for slot in 0..run {
            self.content.change_as(&mut self.buffer, slot as usize, (first + slot) as usize, writes);
        }
        let bytes = self.buffer.bytes(run as usize);
        self.file.write_all_at(bytes, offset(first)).map_err(|error| at("write", first, &error))
    }

    /// How often a page was written since the file was created; of a file to be read since it was filled.
    fn writes(&self, page: u64) -> Result<u32, String> {
        if self.access == DiskAccess::Read {
            return Ok(0);
        }
        let writes = self.count / self.pages + u64::from(page < self.count % self.pages);
        u32::try_from(writes).map_err(|_| format!("write page {page} of the file {writes} times"))
    }

    /// Brings what was written to the disk and reads it back from there.
    fn count_corrupt(&mut self) -> Result<u64, String> {
        self.file.sync_all().map_err(|error| format!("bring the file to the disk: {error}"))?;
        let there = if self.access == DiskAccess::Read { self.pages } else { self.pages.min(self.count) };
        let mut corrupt = 0;
        for first in (0..there).step_by(BUFFER_PAGES as usize) {
            let run = BUFFER_PAGES.min(there - first);
            let bytes = self.buffer.bytes_mut(run as usize);
            self.on_disk.read_exact_at(bytes, offset(first)).map_err(|error| at("verify", first, &error))?;
            for slot in 0..run {
                let page = first + slot;
                let writes = self.writes(page)?;
                let is_whole = self.content.is_whole_as(&self.buffer, slot as usize, page as usize, writes);
                corrupt += u64::from(!is_whole);
            }
        }
        Ok(corrupt)
    }
}

fn offset(page: u64) -> u64 {
    page * PAGE_BYTES as u64
}

fn at(doing: &str, page: u64, error: &io::Error) -> String {
    format!("{doing} the file from page {page} on: {error}")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// In the folder of the tests' own program: not every other file system takes direct reads.
    fn path(name: &str) -> PathBuf {
        std::env::current_exe().unwrap().with_file_name(format!("{name}-{}", std::process::id()))
    }

    fn tried(name: &str, access: DiskAccess, work: impl FnOnce(&mut WorkingFile, &Path)) {
        let path = path(name);
        match WorkingFile::create(&path, 100, access, false) {
            Ok(mut file) => work(&mut file, &path),
            Err(error) => dunlin_test_support::skip(format!("no direct reads here: {error}")),
        }
        std::fs::remove_file(&path).unwrap();
    }

    fn flip(path: &Path, page: u64) {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset(page) + 77).unwrap();
        file.write_all_at(&[!byte[0]], offset(page) + 77).unwrap();
        file.sync_all().unwrap();
    }

    #[test]
    fn what_was_written_is_found_whole_wherever_it_stopped() {
        tried("written", DiskAccess::Write, |file, _| {
            for count in [0, 3, 64, 90, 143, 200] {
                file.write_pages(count).unwrap();
                assert_eq!(file.count_corrupt().unwrap(), 0, "after {} pages", file.count);
            }
            assert_eq!((file.count, file.file.metadata().unwrap().len()), (500, offset(100)));
        });
    }

    #[test]
    fn a_page_that_changed_or_went_back_in_time_is_corrupt() {
        tried("changed", DiskAccess::Write, |file, path| {
            file.write_pages(250).unwrap();
            flip(path, 40);
            file.write(60, 1, 1).unwrap();
            assert_eq!(file.count_corrupt().unwrap(), 2);
        });
    }

    #[test]
    fn what_is_read_was_filled_before_and_is_found_whole_or_not() {
        tried("read", DiskAccess::Read, |file, path| {
            file.fill(&AtomicBool::new(false)).unwrap();
            file.read_pages(130).unwrap();
            assert_eq!((file.count, file.count_corrupt().unwrap()), (130, 0));
            flip(path, 99);
            assert_eq!(file.count_corrupt().unwrap(), 1);
        });
    }

    #[test]
    fn on_somebody_elses_disk_a_file_has_no_name_and_leaves_room() {
        let folder = path("nameless");
        std::fs::create_dir(&folder).unwrap();
        let files = Files { folder: folder.clone(), keep_names: false, reserve_bytes: Some(1) };
        let asked = DiskWork {
            file_mib: 1,
            rate: PageRate::MibPerSecond(1.0),
            access: DiskAccess::Write,
            direct: false,
        };
        let stop = AtomicBool::new(false);
        match prepare(&asked, &files, &stop) {
            Ok(mut file) => {
                file.write_pages(300).unwrap();
                assert_eq!(
                    (file.count_corrupt().unwrap(), std::fs::read_dir(&folder).unwrap().count()),
                    (0, 0)
                );
            }
            Err(error) => dunlin_test_support::skip(format!("no direct reads here: {error}")),
        }
        let too_much = prepare(&DiskWork { file_mib: u32::MAX, ..asked }, &files, &stop).unwrap_err();
        assert!(too_much.contains("MiB are free there"), "{too_much}");
        // Empty again, or this fails.
        std::fs::remove_dir(&folder).unwrap();
    }
}
