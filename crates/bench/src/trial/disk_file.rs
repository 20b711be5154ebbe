//! The file behind a guest's disk, wherever it lies.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::now_ns;
use dunlin_hypervisor::Side;
use dunlin_testbed::{DiskPlace, Host, NamelessFile, Testbed, TestbedError};

use super::served::Served;
use crate::Result;
use crate::world::unshared_disk;

/// How long a short program on a host may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The file behind a disk. Dropping its last handle removes it.
#[derive(Clone)]
pub(super) enum DiskFile {
    /// On this machine, which both hosts are.
    Here(Arc<NamelessFile>),
    There(Arc<RemoteFile>),
    /// Behind a server.
    Served(Arc<Served>),
}

/// A file on another machine.
pub(super) struct RemoteFile {
    host: Arc<dyn Host>,
    path: PathBuf,
    /// Where the destination sees the same file, where both see it.
    at_destination: Option<PathBuf>,
}

/// Where disks are made.
pub(super) enum Ground<'a> {
    Here(&'a Path),
    There { hosts: [Arc<dyn Host>; 2], folders: [PathBuf; 2], are_shared: bool, work: &'a Path },
}

impl<'a> Ground<'a> {
    /// Where disks of a testbed are made; `work` is a local folder. Disks that both hosts must see take storage that they
    /// share.
    pub(super) fn of(testbed: &dyn Testbed, work: &'a Path, are_shared: bool) -> Result<Self> {
        let hosts = testbed.hosts();
        let [source, destination, ..] = hosts.as_slice() else { return Ok(Self::Here(work)) };
        if source.sees(work)? && destination.sees(work)? {
            return Ok(Self::Here(work));
        }
        let hosts = [Arc::clone(source), Arc::clone(destination)];
        let folders = if are_shared {
            testbed.shared_folders().ok_or_else(unshared_disk)?
        } else {
            hosts.each_ref().map(|host| host.scratch())
        };
        Ok(Self::There { hosts, folders, are_shared, work })
    }

    /// The local folder in which files are made.
    pub(super) fn work(&self) -> &Path {
        match self {
            Self::Here(work) | Self::There { work, .. } => work,
        }
    }

    /// A local file as a hypervisor on a side has it. Where both hosts see the same disks, so they do this one.
    pub(super) fn put(&self, file: NamelessFile, side: Side) -> Result<DiskFile> {
        let Self::There { hosts, folders, are_shared, .. } = self else {
            return Ok(DiskFile::Here(Arc::new(file)));
        };
        let name = name();
        let there = RemoteFile {
            host: Arc::clone(&hosts[side as usize]),
            path: folders[side as usize].join(&name),
            at_destination: are_shared.then(|| folders[1].join(&name)),
        };
        there.host.copy_to(&file.path(), &there.path)?;
        Ok(DiskFile::There(Arc::new(there)))
    }

    /// A file of the destination's own, nothing but a hole.
    pub(super) fn hole(&self, bytes: u64) -> Result<DiskFile> {
        let (hosts, folders) = match self {
            Self::Here(folder) => {
                let file = NamelessFile::make_in(folder)?;
                file.resize(bytes)?;
                return Ok(DiskFile::Here(Arc::new(file)));
            }
            Self::There { hosts, folders, .. } => (hosts, folders),
        };
        let path = folders[1].join(name());
        let there = RemoteFile { host: Arc::clone(&hosts[1]), path, at_destination: None };
        run_on(&there.host, "truncate", &["-s".into(), bytes.to_string().into()], &there.path)?;
        Ok(DiskFile::There(Arc::new(there)))
    }
}

/// A name that no other disk has.
fn name() -> String {
    format!("dunlin-disk-{}-{}", std::process::id(), now_ns())
}

impl DiskFile {
    /// Where a hypervisor on that side finds it.
    pub(super) fn place(&self, side: Side) -> DiskPlace {
        match self {
            Self::Served(served) => served.place().clone(),
            file => DiskPlace::File(file.path(side)),
        }
    }

    /// Its path on the host of that side, or on its server's.
    pub(super) fn path(&self, side: Side) -> PathBuf {
        match self {
            Self::Here(file) => file.path(),
            Self::Served(served) => served.image().to_owned(),
            Self::There(file) => {
                let there = file.at_destination.as_ref().filter(|_| side == Side::Destination);
                there.unwrap_or(&file.path).clone()
            }
        }
    }

    /// Whether its file system can pass the page cache by; of another machine's it is not tried.
    pub(super) fn takes_direct_io(&self) -> bool {
        matches!(self, Self::Here(file) if file.takes_direct_io())
    }

    /// Bytes it takes up; absent where its host does not say.
    pub(super) fn allocated_bytes(&self) -> Option<i64> {
        match self {
            Self::Here(file) => i64::try_from(file.allocated_bytes().ok()?).ok(),
            Self::There(file) => allocated_on(&file.host, &file.path),
            Self::Served(served) => allocated_on(served.host(), served.image()),
        }
    }

    /// Bytes that are no holes; absent on another machine, where nobody looks.
    pub(super) fn data_bytes(&self) -> Option<i64> {
        match self {
            Self::Here(file) => i64::try_from(file.data_bytes().ok()?).ok(),
            Self::There(_) | Self::Served(_) => None,
        }
    }
}

/// Bytes that a host's file takes up there.
fn allocated_on(host: &Arc<dyn Host>, path: &Path) -> Option<i64> {
    // stat(1): blocks, and how many bytes each of these has.
    let told = run_on(host, "stat", &["-c".into(), "%b %B".into()], path).ok()?;
    let (blocks, bytes) = told.trim().split_once(' ')?;
    blocks.parse::<i64>().ok()?.checked_mul(bytes.parse().ok()?)
}

/// Runs a program of coreutils on a host's file.
fn run_on(
    host: &Arc<dyn Host>,
    program: &str,
    args: &[OsString],
    path: &Path,
) -> Result<String, TestbedError> {
    let mut args = args.to_vec();
    args.extend(["--".into(), path.into()]);
    let output = host.run(Path::new(program), &args, LIMIT)?;
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.success {
        return Ok(words(&output.stdout));
    }
    Err(TestbedError::Helper { host: host.id().to_string(), why: words(&output.stderr).trim().to_owned() })
}

impl Drop for RemoteFile {
    fn drop(&mut self) {
        // Where the host is gone, what lies in our folder there goes with its helper.
        let _ = self.host.remove(&self.path);
    }
}
