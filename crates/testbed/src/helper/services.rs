//! What a helper does for a machine that the bench reaches through it alone: runs programs, passes files and sockets on,
//! makes taps. All of it ends with the helper.
#![expect(unsafe_code, reason = "the life of what is started is tied to ours between fork and exec")]

use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_clock::Deadline;
use nix::sys::signal::Signal;

use super::bytes::Bytes;
use super::host_protocol::{Device, HostAsk, HostTell, Machine};
use super::protocol::Tell;
use super::remote::Folder;
use super::serve::Output;
use super::streams::Streams;
use crate::local_process::LocalProcess;
use crate::netlink::Netlink;
use crate::process::ProcessHandle;
use crate::{Output as Ran, device, fingerprint, memory_map, process, sysctl};

/// How often a launched program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long what was started may take to be gone once it was killed.
const KILL_LIMIT: Duration = Duration::from_secs(2);

type Outcome<T> = Result<T, Box<dyn Error>>;

/// All that a helper does for its machine. Dropping it ends it.
pub(super) struct Services {
    output: Output,
    folder: Option<Arc<Folder>>,
    processes: HashMap<u32, Arc<Mutex<Launched>>>,
    streams: Streams,
}

/// A launched program; its process is gone from here once it has ended.
struct Launched(Option<LocalProcess>);

impl Services {
    pub(super) fn new(output: Output, folder: Option<Arc<Folder>>) -> Self {
        let streams = Streams::new(output.clone());
        Self { output, folder, processes: HashMap::new(), streams }
    }

    /// Does what was asked; `None` where the answer comes later, from a thread, or there is none.
    pub(super) fn answer(&mut self, id: u32, ask: HostAsk) -> Outcome<Option<HostTell>> {
        let done = Ok(Some(HostTell::Done));
        match ask {
            HostAsk::Run { program, args, limit_ms } => {
                let mut command = command(&program);
                command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
                let child = command.spawn()?;
                self.output.tell_later(id, move || {
                    let limit = Duration::from_millis(limit_ms);
                    let program = program.display().to_string();
                    let Ran { how, success, stdout, stderr } =
                        process::run_to_end(LocalProcess::new(child), &program, limit)
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
                self.launch(id, command).map(Some)
            }
            HostAsk::Kill { task } => {
                if let Some(launched) = self.processes.get(&task) {
                    lock(launched).kill();
                }
                done
            }
            HostAsk::Dial { socket, limit_ms } => {
                self.streams.dial(id, socket, Duration::from_millis(limit_ms))?;
                Ok(None)
            }
            HostAsk::Put { path, mode } => self.streams.put(id, &path, mode).map(|()| None),
            HostAsk::Send { task, bytes } => {
                self.streams.send(task, bytes.0);
                Ok(None)
            }
            HostAsk::Skip { task, bytes } => {
                self.streams.skip(task, bytes);
                Ok(None)
            }
            HostAsk::Close { task } => {
                self.streams.close(task);
                Ok(None)
            }
            HostAsk::Fetch { path } => self.streams.fetch(id, &path).map(|()| None),
            HostAsk::List { folder } => Ok(Some(HostTell::Files(list(&folder)?))),
            HostAsk::MakeFolder { path } => {
                DirBuilder::new().recursive(true).mode(0o700).create(path)?;
                done
            }
            HostAsk::WritePrivate { path, bytes } => {
                if let Some(folder) = path.parent() {
                    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                }
                let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
                file.write_all(&bytes.0)?;
                done
            }
            HostAsk::Remove { path } => remove(&path).map(|()| Some(HostTell::Done)),
            HostAsk::Resident { pid, mapping_bytes } => {
                Ok(Some(HostTell::Resident(memory_map::resident_bytes(pid, mapping_bytes)?)))
            }
            HostAsk::AddTap { name, bridge } => {
                self.folder.as_ref().map_or(Ok(()), |folder| folder.note_tap(&name))?;
                add_tap(&name, &bridge)?;
                done
            }
            HostAsk::RemoveTap { name } => {
                Netlink::open_here("the host")?.delete(&name)?;
                self.folder.as_ref().map_or(Ok(()), |folder| folder.forget_tap(&name))?;
                done
            }
            HostAsk::Devices => Ok(Some(HostTell::Devices(devices()?))),
            HostAsk::Machine => Ok(Some(HostTell::Machine(machine()?))),
        }
    }

    /// Starts a program and watches it on a thread. It is started on the thread that serves, with whose end it ends.
    fn launch(&mut self, id: u32, mut command: Command) -> Outcome<HostTell> {
        let process = LocalProcess::new(command.spawn()?);
        let pid = process.pid().ok_or("it has no process id")?;
        let launched = Arc::new(Mutex::new(Launched(Some(process))));
        self.processes.retain(|_, known| lock(known).0.is_some());
        self.processes.insert(id, Arc::clone(&launched));
        self.output.tell_later(id, move || {
            loop {
                if let Some(ended) = lock(&launched).try_end() {
                    return ended;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        })?;
        Ok(HostTell::Launched { pid })
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let processes: Vec<_> = self.processes.drain().map(|(_, launched)| launched).collect();
        processes.iter().for_each(|launched| lock(launched).kill());
        let deadline = Deadline::after(KILL_LIMIT);
        while processes.iter().any(|launched| lock(launched).is_there()) && !deadline.passed() {
            std::thread::sleep(deadline.step(LOOK_EVERY));
        }
    }
}

impl Launched {
    fn kill(&mut self) {
        if let Some(process) = &mut self.0 {
            process.kill();
        }
    }

    fn is_there(&mut self) -> bool {
        self.try_end().is_none() && self.0.is_some()
    }

    /// How it ended, once.
    fn try_end(&mut self) -> Option<std::io::Result<Tell>> {
        let ended = match self.0.as_mut()?.try_end() {
            Ok(None) => return None,
            Ok(Some(end)) => Ok(Tell::Host(HostTell::Ended { how: end.how, success: end.success })),
            Err(error) => Err(std::io::Error::other(error)),
        };
        self.0 = None;
        Some(ended)
    }
}

/// A program with nothing to read, in a group of its own, that dies with us: also where we are killed.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).process_group(0);
    let tie = || Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?);
    // SAFETY: after the fork this only makes a system call.
    unsafe { command.pre_exec(tie) };
    command
}

fn list(folder: &Path) -> Outcome<Vec<std::ffi::OsString>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Nobody has asked for it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    Ok(files.map(|entry| entry.file_name()).collect())
}

fn remove(path: &Path) -> Outcome<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn add_tap(name: &str, bridge: &str) -> Outcome<()> {
    device::add_tap(name)?;
    device::switch_offloads_off(name)?;
    let mut netlink = Netlink::open_here("the host")?;
    netlink.join_bridge(name, bridge)?;
    Ok(netlink.set_up(name)?)
}

/// Its devices that have IPv4 addresses, loopback left out.
pub(crate) fn devices() -> Outcome<Vec<Device>> {
    let mut devices = Vec::new();
    for one in nix::ifaddrs::getifaddrs()? {
        let ipv4 = |address: Option<nix::sys::socket::SockaddrStorage>| {
            address.and_then(|address| address.as_sockaddr_in().map(|address| address.ip()))
        };
        let (Some(address), Some(mask)) = (ipv4(one.address), ipv4(one.netmask)) else { continue };
        if address.is_loopback() {
            continue;
        }
        let (mtu, mac) = (read_of(&one.interface_name, "mtu"), read_of(&one.interface_name, "address"));
        devices.push(Device {
            address,
            prefix: u8::try_from(u32::from(mask).leading_ones()).unwrap_or(32),
            mtu: mtu.and_then(|mtu| mtu.parse().ok()),
            mac: mac.and_then(|text| parse_mac(&text)),
            name: one.interface_name,
        });
    }
    Ok(devices)
}

/// What the kernel says of a device (sysfs-class-net).
fn read_of(device: &str, what: &str) -> Option<String> {
    let path = PathBuf::from("/sys/class/net").join(device).join(what);
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let octets: Option<Vec<u8>> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    octets?.try_into().ok()
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
        has_taps: device::open_tun().is_ok(),
    })
}

/// Another with each start of the machine's kernel (random(4)); empty where it is not told.
pub(crate) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// A thread that panicked while holding the lock leaves nothing half-done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
