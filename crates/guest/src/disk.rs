//! Blank disks for guests: a raw file given an ext4 file system or the header of a swap space.

use std::env;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::Workshop;
use crate::command::run;
use crate::{GuestError, Result};

const MIB: u64 = 1024 * 1024;
const PAGE_BYTES: u64 = 4096;
const MKFS: &str = "mkfs.ext4";
const ADVICE: &str = "run `apt-get install e2fsprogs`";
/// It writes some hundred blocks, whatever the size …
const MKFS_LIMIT: Duration = Duration::from_secs(30);
/// … and what is to be on it at some 20 MB/s at least.
const FILL_LIMIT_MS_MIB: u64 = 50;
/// The file that fills a disk, as its guest sees it.
const FILLER: &str = "filler";
/// A small journal and few inodes, as the disk is to hold few and large files: all that `disk_room_mib` allows for.
/// Nothing is left for the guest's kernel to initialize behind the workload's back.
const MKFS_OPTIONS: [&str; 12] = [
    "-q",
    "-F",
    "-b",
    "4096",
    "-m",
    "0",
    "-N",
    "16",
    "-J",
    "size=8",
    "-E",
    "lazy_itable_init=0,lazy_journal_init=1",
];

/// The largest file, in MiB, that surely fits on a disk of this size with its file system: 16 MiB and a hundredth less.
#[must_use]
pub fn disk_room_mib(size_mib: u32) -> u32 {
    size_mib.saturating_sub(16).saturating_sub(size_mib / 100)
}

/// Where the program is that makes file systems.
///
/// # Errors
/// Where it is not installed.
pub fn find_mkfs() -> Result<PathBuf> {
    // Not in every user's PATH, though every user may run it on a file.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let paths = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&paths).chain(more).map(|dir| dir.join(MKFS)).find(|file| file.is_file());
    found.ok_or_else(|| GuestError::NoProgram { program: MKFS.into(), advice: ADVICE })
}

/// Makes a file a blank disk of this size with an ext4 file system. Works in a folder that is gone afterwards, made
/// in `folder`.
///
/// # Errors
/// Where the file cannot be written or no file system can be made.
pub fn format_disk(file: &Path, size_mib: u32, folder: &Path) -> Result<()> {
    format_filled_disk(file, size_mib, folder, 0, |_| Ok(()))
}

/// The same with a file on it, of so many MiB, whose content `fill` writes: it is given that file, empty and of its size.
///
/// # Errors
/// As [`format_disk`], or where the content cannot be written.
pub fn format_filled_disk(
    file: &Path,
    size_mib: u32,
    folder: &Path,
    used_mib: u32,
    fill: impl FnOnce(&File) -> std::io::Result<()>,
) -> Result<()> {
    resize(file, size_mib)?;
    let program = find_mkfs()?.to_string_lossy().into_owned();
    let file = std::path::absolute(file).map_err(GuestError::io("find", file))?;
    let name = file.to_string_lossy();
    let workshop = Workshop::open(folder)?;
    // The program runs in that folder, from where a path that is not absolute leads elsewhere.
    let here = std::path::absolute(workshop.path()).map_err(GuestError::io("find", workshop.path()))?;
    let content = here.join("content");
    let mut arguments: Vec<&str> = MKFS_OPTIONS.to_vec();
    let content_name = content.to_string_lossy().into_owned();
    if used_mib > 0 {
        std::fs::create_dir(&content).map_err(GuestError::io("make the folder", &content))?;
        let filler = content.join(FILLER);
        File::create(&filler).map_err(GuestError::io("create", &filler))?;
        let opened = resize(&filler, used_mib)?;
        fill(&opened).map_err(GuestError::io("fill", &filler))?;
        arguments.extend(["-d", &content_name]);
    }
    arguments.push(&name);
    let limit = MKFS_LIMIT + Duration::from_millis(u64::from(used_mib) * FILL_LIMIT_MS_MIB);
    run(&program, &arguments, workshop.path(), limit, ADVICE).map(drop)
}

/// Makes a file a blank swap space of this size.
///
/// # Errors
/// Where the file cannot be written.
pub fn format_swap(file: &Path, size_mib: u32) -> Result<()> {
    let disk = resize(file, size_mib)?;
    disk.write_all_at(&swap_header(size_mib), 0).map_err(GuestError::io("write a swap header to", file))
}

fn resize(file: &Path, size_mib: u32) -> Result<File> {
    let opened = OpenOptions::new().write(true).open(file).map_err(GuestError::io("open", file))?;
    opened.set_len(u64::from(size_mib) * MIB).map_err(GuestError::io("give its size to", file))?;
    Ok(opened)
}

/// The first page of a swap space: `union swap_header` of `linux/swap.h`. Without the first 1024 bytes, which are for a
/// boot loader: version 1, the last page's number, no bad pages, and the signature at the page's end.
fn swap_header(size_mib: u32) -> [u8; PAGE_BYTES as usize] {
    const VERSION: u32 = 1;
    let last_page = u32::try_from(u64::from(size_mib) * MIB / PAGE_BYTES - 1).unwrap_or(u32::MAX);
    let mut page = [0; PAGE_BYTES as usize];
    page[1024..1028].copy_from_slice(&VERSION.to_le_bytes());
    page[1028..1032].copy_from_slice(&last_page.to_le_bytes());
    page[4086..].copy_from_slice(b"SWAPSPACE2");
    page
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_promised_of_a_disk_is_free_on_it() {
        let Ok(program) = find_mkfs() else {
            return dunlin_test_support::skip(format!("{MKFS} is not installed"));
        };
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        for size_mib in [32, 64, 1000, 100_000] {
            File::create(&disk).unwrap();
            format_disk(&disk, size_mib, dir.path()).unwrap();
            let said =
                Command::new(program.with_file_name("dumpe2fs")).arg("-h").arg(&disk).output().unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            let of = |name: &str| -> u64 {
                let line = said.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap().trim().parse().unwrap()
            };
            let free_mib = of("Free blocks:") * of("Block size:") / MIB;
            assert!(free_mib >= u64::from(disk_room_mib(size_mib)), "{free_mib} of {size_mib} MiB");
            assert!(disk_room_mib(size_mib) > size_mib / 3);
        }
    }

    #[test]
    fn a_disk_is_filled_also_in_a_folder_that_is_named_from_here() {
        let Ok(program) = find_mkfs() else {
            return dunlin_test_support::skip(format!("{MKFS} is not installed"));
        };
        // Cargo runs tests in their package's folder.
        let dir = tempfile::tempdir_in(".").unwrap();
        let folder = Path::new(dir.path().file_name().unwrap());
        let disk = folder.join("disk");
        File::create(&disk).unwrap();
        let fill = |file: &File| file.write_all_at(&[7; 4096], 0);
        format_filled_disk(&disk, 64, folder, 8, fill).unwrap();
        let debugfs = program.with_file_name("debugfs");
        let said = Command::new(debugfs).args(["-R", "stat filler"]).arg(&disk).output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("Size: 8388608"), "{said}");
    }

    #[test]
    fn a_swap_space_is_as_the_kernel_wants_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("swap");
        File::create(&file).unwrap();
        format_swap(&file, 4).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 4 << 20);
        let header = std::fs::read(&file).unwrap();
        assert_eq!(&header[1024..1036], [1, 0, 0, 0, 0xff, 3, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&header[4086..4096], b"SWAPSPACE2");
    }
}
