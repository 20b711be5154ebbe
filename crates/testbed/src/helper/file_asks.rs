//! Short questions about a host's files, ports and processes, of whoever carries files there.

use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;

use super::carry_ends;
use super::protocol::FileLook;

type Outcome<T> = Result<T, Box<dyn Error>>;

pub(super) fn look(path: &Path) -> Outcome<Option<FileLook>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(FileLook {
            is_file: metadata.is_file(),
            bytes: metadata.len(),
            // Of 512 bytes each, whatever the file system's blocks are (stat(2)).
            allocated_bytes: metadata.blocks().saturating_mul(512),
            room_bytes: statvfs(path)
                .ok()
                .map(|room| room.blocks_available().saturating_mul(room.fragment_size())),
        })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display()).into()),
    }
}

pub(super) fn empty(path: &Path, length: u64) -> Outcome<()> {
    let file = carry_ends::open(path, File::options().write(true))?;
    Ok(carry_ends::restore(&file, length)?)
}

pub(super) fn free_port(address: Ipv4Addr) -> Outcome<SocketAddrV4> {
    match TcpListener::bind((address, 0))?.local_addr()? {
        SocketAddr::V4(at) => Ok(at),
        SocketAddr::V6(at) => Err(format!("{at} is no IPv4 address").into()),
    }
}

/// Ends a process and all that descend from it, as far as they have not been left behind by who started them.
pub(super) fn end_tree(pid: u32) -> Outcome<()> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = parent(id) {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut tree = vec![pid];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        tree.extend(children.remove(&parent).unwrap_or_default());
        next += 1;
    }
    for pid in tree {
        // Whoever has ended by itself needs none.
        let _ = kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL);
    }
    Ok(())
}

/// Of a process that is there (proc_pid_stat(5), field 4).
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // A name may hold anything, also this.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_a_process_started_ends_with_it_whatever_group_it_made_for_itself() {
        let mut command = Command::new("sh");
        let mut child = command
            .args(["-c", "setsid sh -c 'echo $$; sleep 1000; true' & wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        end_tree(child.id()).unwrap();
        child.wait().unwrap();
        // All that had it have ended.
        assert_eq!(std::io::Read::read_to_string(&mut said, &mut String::new()).unwrap(), 0);
    }
}
