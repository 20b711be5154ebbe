//! What a helper does for a machine that the bench reaches through it alone: runs programs, passes files and sockets on,
//! makes taps. All of it ends with the helper.

use std::error::Error;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::ifaddrs::InterfaceAddress;
use nix::sys::socket::{SockaddrIn, SockaddrStorage};

use super::at_end::AtEnd;
use super::bytes::Bytes;
use super::host_protocol::{Device, HostAsk, HostTell, Machine};
use super::protocol::Tell;
use super::remote::{Folder, Made};
use super::serve::Output;
use super::streams::{Streams, beside};
use crate::local_process::LocalProcess;
use crate::netlink::Netlink;
use crate::process::{End, ProcessHandle};
use crate::{Output as Ran, children, device, files, fingerprint, memory_map, process, sysctl};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// All that a helper does for its machine. Dropping it ends it.
pub(super) struct Services {
    output: Output,
    folder: Option<Arc<Folder>>,
    at_end: AtEnd,
    streams: Streams,
    /// By which other benches see that somebody measures here.
    claim: Option<UnixListener>,
}

impl Services {
    pub(super) fn new(output: Output, folder: Option<Arc<Folder>>, at_end: AtEnd) -> Self {
        let streams = Streams::new(output.clone());
        Self { output, folder, at_end, streams, claim: None }
    }

    /// Does what was asked; `None` where the answer comes later, from a thread, or there is none.
    pub(super) fn answer(&mut self, id: u32, ask: HostAsk) -> Outcome<Option<HostTell>> {
        let done = Ok(Some(HostTell::Done));
        match ask {
            HostAsk::Run { program, args, limit_ms } => {
                let mut command = command(&program);
                command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut process = LocalProcess::new(command.spawn()?);
                let pipes = process.take_pipes();
                let running = self.at_end.processes.add(id, process.whose_group_ends_with_it())?;
                self.output.tell_later(id, move || {
                    let limit = Duration::from_millis(limit_ms);
                    let program = program.display().to_string();
                    let Ran { how, success, stdout, stderr } =
                        process::hear_to_end(pipes, running, &program, limit)
                            .map_err(std::io::Error::other)?;
                    Ok(Tell::Host(HostTell::Ran {
                        how,
                        success,
                        stdout: Bytes(stdout),
                        stderr: Bytes(stderr),
                    }))
                })?;
                Ok(None)
            }
            HostAsk::Launch { program, args, stdout, stderr } => {
                let mut command = command(&program);
                command.args(args).stdout(File::create(stdout)?).stderr(File::create(stderr)?);
                self.launch(id, &mut command, |process| process)?;
                Ok(None)
            }
            HostAsk::Converse { program, args, stderr, stream } => {
                self.converse(id, command(&program).args(args).stderr(File::create(stderr)?), stream)?;
                Ok(None)
            }
            HostAsk::Kill { task } => {
                self.at_end.processes.kill(task);
                done
            }
            HostAsk::AtEnd { program, args } => {
                self.at_end.run(id, program, args)?;
                done
            }
            HostAsk::Revoke { task } => {
                self.at_end.revoke(task);
                Ok(None)
            }
            HostAsk::Dial { socket, limit_ms } => {
                self.streams.dial(id, socket, Duration::from_millis(limit_ms))?;
                Ok(None)
            }
            HostAsk::Put { path, mode } => {
                // Also by what it is called until it is whole.
                self.note_file(&path)?;
                self.note_file(&beside(&path))?;
                self.streams.put(id, &path, mode).map(|()| None)
            }
            HostAsk::Send { task, bytes } => {
                self.streams.send(task, bytes.0);
                Ok(None)
            }
            HostAsk::Skip { task, bytes } => {
                self.streams.skip(task, bytes);
                Ok(None)
            }
            HostAsk::NoMore { task } => {
                self.streams.no_more(task);
                Ok(None)
            }
            HostAsk::Close { task } => {
                self.streams.close(task);
                Ok(None)
            }
            HostAsk::Fetch { path } => self.streams.fetch(id, &path).map(|()| None),
            HostAsk::List { folder } => Ok(Some(HostTell::Files(files::list(&folder)?))),
            HostAsk::MakeFolder { path } => {
                DirBuilder::new().recursive(true).mode(0o700).create(path)?;
                done
            }
            HostAsk::WritePrivate { path, bytes } => {
                self.note_file(&path)?;
                files::write_private(&path, &bytes.0)?;
                done
            }
            HostAsk::Remove { path } => {
                files::remove(&path)?;
                if let Some(folder) = &self.folder {
                    folder.forget(|made| matches!(made, Made::File(known) if known == path.as_os_str()))?;
                }
                done
            }
            HostAsk::IsThere { pid, started: then } => Ok(Some(HostTell::There(started(pid) == Some(then)))),
            HostAsk::Resident { pid, mapping_bytes } => {
                Ok(Some(HostTell::Resident(memory_map::resident_bytes(pid, mapping_bytes)?)))
            }
            HostAsk::AddTap { name, bridge } => {
                self.add_tap(&name, &bridge)?;
                done
            }
            HostAsk::RemoveTap { name } => {
                Netlink::open_here("the host")?.delete(&name)?;
                self.forget_tap(&name)?;
                done
            }
            HostAsk::Devices => Ok(Some(HostTell::Devices(devices()?))),
            HostAsk::Claim => {
                self.claim = Some(claim()?);
                done
            }
            HostAsk::Machine => Ok(Some(HostTell::Machine(machine()?))),
        }
    }

    /// Makes a tap that joins a bridge. One of this name that is there is somebody else's, and stays.
    fn add_tap(&self, name: &str, bridge: &str) -> Outcome<()> {
        device::add_tap(name)?;
        let noted = || Ok::<_, Box<dyn Error>>(self.note(Made::tap(name)?)?);
        if let Err(error) = noted().and_then(|()| join(name, bridge)) {
            Netlink::open_here("the host")?.delete(name)?;
            self.forget_tap(name)?;
            return Err(error);
        }
        Ok(())
    }

    fn note(&self, made: Made) -> std::io::Result<()> {
        self.folder.as_ref().map_or(Ok(()), |folder| folder.note(made))
    }

    fn forget_tap(&self, gone: &str) -> std::io::Result<()> {
        let is_gone = |made: &Made| matches!(made, Made::Tap { name, .. } if name == gone);
        self.folder.as_ref().map_or(Ok(()), |folder| folder.forget(is_gone))
    }

    /// Notes a file that is not in our folder, as a disk on shared storage: it goes with us.
    fn note_file(&self, path: &Path) -> std::io::Result<()> {
        match &self.folder {
            // What was there before is not ours.
            Some(folder) if !folder.has(path) && !path.exists() => folder.note(Made::File(path.into())),
            _ => Ok(()),
        }
    }

    /// Starts a program whose standard input and output pass through us.
    fn converse(&mut self, id: u32, command: &mut Command, stream: u32) -> Outcome<()> {
        let (ours, its) = UnixStream::pair()?;
        command.stdin(OwnedFd::from(its.try_clone()?)).stdout(OwnedFd::from(its));
        self.streams.join(stream, ours)?;
        // Whoever has a stream to it sees that it has ended: nobody it left behind holds the other end.
        let launched = self.launch(id, command, LocalProcess::whose_group_ends_with_it);
        // Its end of the stream is its own alone.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        launched.inspect_err(|_| self.streams.close(stream))
    }

    /// Starts a program and watches it on a thread. It is started on the thread that serves, with whose end it ends.
    fn launch(
        &mut self,
        id: u32,
        command: &mut Command,
        how: impl FnOnce(LocalProcess) -> LocalProcess,
    ) -> Outcome<()> {
        if let Some(folder) = &self.folder {
            folder.mark(command);
        }
        let process = how(LocalProcess::new(command.spawn()?));
        let pid = process.pid().ok_or("it has no process id")?;
        let launched = self.at_end.processes.add(id, process)?;
        // Before its end can be told.
        let started = started(pid).unwrap_or_default();
        self.output.tell(id, Tell::Host(HostTell::Launched { pid, started }))?;
        self.output.tell_later(id, move || {
            let End { how, success } = launched.wait()?;
            Ok(Tell::Host(HostTell::Ended { how, success }))
        })?;
        Ok(())
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.at_end.come();
    }
}

/// When a process was started, in ticks since the machine's own start; absent where there is none, or it has ended and nobody
/// has heard of that yet (proc_pid_stat(5), fields 3 and 22).
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // A name may hold anything, also this.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    // Of one that has ended a thread may still be held by the kernel, as by a disk.
    let has_ended = matches!(state, "Z" | "X") && {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        threads <= 1
    };
    fields.nth(18)?.parse().ok().filter(|_| !has_ended)
}

/// A program with nothing to read, in a group of its own, that dies with us: also where we are killed.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).process_group(0);
    children::tie_to_us(&mut command);
    command
}

/// A name that is gone with whoever has it, also when that is killed (unix(7), abstract sockets).
fn claim() -> Outcome<UnixListener> {
    let name = SocketAddr::from_abstract_name("dunlin-bench")?;
    UnixListener::bind_addr(&name).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => "another dunlin measures on it".into(),
        _ => error.into(),
    })
}

fn join(tap: &str, bridge: &str) -> Outcome<()> {
    device::switch_offloads_off(tap)?;
    let mut netlink = Netlink::open_here("the host")?;
    netlink.join_bridge(tap, bridge)?;
    Ok(netlink.set_up(tap)?)
}

/// Its devices that have IPv4 addresses, loopback left out. As this process's network namespace has them, which a sysfs need
/// not be that of.
pub(crate) fn devices() -> Outcome<Vec<Device>> {
    let all: Vec<_> = nix::ifaddrs::getifaddrs()?.collect();
    let ipv4 = |address: Option<SockaddrStorage>| address?.as_sockaddr_in().map(SockaddrIn::ip);
    let mac_of = |name: &str| {
        let own = all.iter().filter(|one| one.interface_name == name);
        own.filter_map(|one| one.address?.as_link_addr()?.addr()).next()
    };
    let device = |one: &InterfaceAddress| {
        let (address, mask) = (ipv4(one.address)?, ipv4(one.netmask)?);
        (!address.is_loopback()).then(|| Device {
            name: one.interface_name.clone(),
            address,
            prefix: u8::try_from(u32::from(mask).leading_ones()).unwrap_or(32),
            mtu: device::mtu(&one.interface_name).ok(),
            mac: mac_of(&one.interface_name),
        })
    };
    Ok(all.iter().filter_map(device).collect())
}

/// The address from which the routing would have us reach another: nothing is sent.
pub(crate) fn source_for(peer: Ipv4Addr) -> Outcome<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((peer, 9))?;
    match socket.local_addr()? {
        std::net::SocketAddr::V4(own) => Ok(*own.ip()),
        std::net::SocketAddr::V6(own) => Err(format!("{own} is no IPv4 address").into()),
    }
}

fn machine() -> Outcome<Machine> {
    let congestion_control = sysctl::congestion_control().unwrap_or_default();
    Ok(Machine {
        boot_id: boot_id(),
        fingerprint: serde_json::to_string(&fingerprint::read("here".into(), &congestion_control))?,
        is_root: nix::unistd::geteuid().is_root(),
        has_taps: device::open_tun().is_ok() && may_administer_networks(),
    })
}

/// Whether this user may make devices: to open the door to taps is not enough (capabilities(7), `CAP_NET_ADMIN`).
fn may_administer_networks() -> bool {
    const NET_ADMIN: u32 = 12;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_some_and(|set| set >> NET_ADMIN & 1 == 1)
}

/// Another with each start of the machine's kernel (random(4)); empty where it is not told.
pub(crate) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_again_by_its_start_until_it_has_ended() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let then = started(child.id());
        assert!(then.is_some() && then == started(child.id()), "{then:?}");
        child.kill().unwrap();
        while started(child.id()).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(started(child.id()), None);
    }
}
