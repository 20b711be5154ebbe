//! A machine that is reached through ssh, as a host of a testbed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::HostClock;
use dunlin_image::is_zero;
use dunlin_record::{HostFingerprint, HostId};

use super::connection::Connection;
use super::link::{Known, Link};
use super::master::Patience;
use super::process::RemoteProcess;
use super::{HelperProgram, Target};
use crate::helper::bytes::Bytes;
use crate::helper::host_protocol::{Device, HostAsk, HostTell, Machine};
use crate::{Helper, Host, LastWill, Launch, Network, Output, Process, Result, Taps, TestbedError};

/// How long what is done at once may take, on a machine that is busy and a connection that is slow.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// How long a piece of a file may take.
const PIECE_LIMIT: Duration = Duration::from_secs(30);
/// How much of a file is sent at once.
const PIECE_BYTES: usize = 64 << 10;
/// The largest small file.
const SMALL_BYTES: usize = 64 << 20;

/// A machine that is reached through ssh.
#[derive(Debug)]
pub struct SshHost {
    target: Target,
    link: Arc<Link>,
    pub(super) places: [Place; 2],
    /// The bridge that joins the taps of VMs to the service network; absent where none are made.
    pub(super) bridge: Option<String>,
    fingerprint: HostFingerprint,
    pub(super) machine: Machine,
}

/// A piece of a file.
enum Piece<'a> {
    Bytes(&'a [u8]),
    Zeros(u64),
}

/// Where a host is in a network.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) address: Option<Ipv4Addr>,
    pub(super) interface: Option<String>,
}

impl SshHost {
    /// Connects to a machine and starts our program there.
    pub(super) fn connect(target: Target, program: HelperProgram, bridge: Option<String>) -> Result<Self> {
        let clock = HostClock::of_another();
        let connection = Connection::open(&target, program, &clock, Patience::FIRST)?;
        let machine = match connection.ask(HostAsk::Machine, "which machine it is", ANSWER_LIMIT)? {
            HostTell::Machine(machine) => machine,
            other => return Err(connection.helper().misunderstood(&other)),
        };
        let mut fingerprint: HostFingerprint = serde_json::from_str(&machine.fingerprint)
            .map_err(|error| target.failed("ask what it is", &error))?;
        fingerprint.hosts = target.id.to_string();
        Ok(Self {
            target: target.clone(),
            link: Arc::new(Link::new(target, program, clock, connection)),
            places: Default::default(),
            bridge,
            fingerprint,
            machine,
        })
    }

    pub(super) fn connection(&self) -> Result<Arc<Connection>> {
        self.link.connection()
    }

    fn ask(&self, ask: HostAsk, what: &str) -> Result<HostTell> {
        self.connection()?.ask(ask, what, ANSWER_LIMIT).map_err(|error| self.unless_lost(error))
    }

    fn done(&self, ask: HostAsk, what: &str) -> Result<()> {
        match self.ask(ask, what)? {
            HostTell::Done => Ok(()),
            other => Err(self.connection()?.helper().misunderstood(&other)),
        }
    }

    /// Whether taps can be made where they are to join a bridge.
    pub(super) fn check_taps(&self) -> Result<()> {
        match &self.bridge {
            Some(bridge) if !self.machine.has_taps => Err(TestbedError::Ssh {
                host: self.target.id.to_string(),
                doing: format!("let taps join {bridge}"),
                why: if self.machine.is_root { "it has no taps" } else { "its user may not make taps" }.into(),
                mend: if self.machine.is_root {
                    "modprobe tun there, or leave `bridge` out: VMs then have no network there"
                } else {
                    "write `sudo = true`, log in as root, or leave `bridge` out: VMs then have no network there"
                }
                .into(),
            }),
            _ => Ok(()),
        }
    }

    /// Sees to it that nobody else measures there at the same time: each would spoil the other's figures.
    pub(super) fn claim(&self) -> Result<()> {
        self.done(HostAsk::Claim, "the host to be ours").map_err(|error| match error {
            TestbedError::Helper { host, why } => TestbedError::Ssh {
                host,
                doing: "measure on it".into(),
                why,
                mend: "wait for its end".into(),
            },
            other => other,
        })
    }

    /// Its devices that have IPv4 addresses.
    pub(super) fn devices(&self) -> Result<Vec<Device>> {
        match self.ask(HostAsk::Devices, "its network devices")? {
            HostTell::Devices(devices) => Ok(devices),
            other => Err(self.connection()?.helper().misunderstood(&other)),
        }
    }

    /// Whether our program has all rights there.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.machine.is_root
    }

    /// Starts a program of which is told in a conversation of its own.
    fn start(&self, helper: &Arc<Helper>, ask: HostAsk, doing: &str) -> Result<Process> {
        let conversation = helper.converse(ask)?;
        let told = conversation.next(helper, doing, ANSWER_LIMIT).inspect_err(|_| {
            // It may come up after all.
            drop(helper.say(HostAsk::Kill { task: conversation.id }));
        });
        match told.map_err(|error| self.because(doing, error))? {
            HostTell::Launched { pid, started } => {
                let (helper, known) = (Arc::clone(helper), Known { pid, started });
                Ok(Process::new(RemoteProcess::new(helper, conversation, &self.link, known)))
            }
            other => Err(helper.misunderstood(&other)),
        }
    }

    /// Brings a file, from an open one.
    fn put(&self, connection: &Connection, mut from: File, there: &Path) -> Result<()> {
        let doing = || format!("copy to {} on {}", there.display(), self.target.id);
        let mode = from.metadata().map_err(TestbedError::io(doing()))?.mode() & 0o777;
        let helper = connection.helper();
        let put = helper.converse(HostAsk::Put { path: there.to_owned(), mode })?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let length = from.read(&mut piece).map_err(TestbedError::io(doing()))?;
            if length == 0 {
                break;
            }
            let piece = &piece[..length];
            let said = helper.say(if is_zero(piece) {
                HostAsk::Skip { task: put.id, bytes: length as u64 }
            } else {
                HostAsk::Send { task: put.id, bytes: Bytes(piece.to_vec()) }
            });
            said.map_err(|error| self.unless_lost(error))?;
        }
        helper.say(HostAsk::Close { task: put.id })?;
        let told = put.next(helper, &doing(), PIECE_LIMIT * 4);
        match told.map_err(|error| self.because(&doing(), error))? {
            HostTell::Done => Ok(()),
            other => Err(helper.misunderstood(&other)),
        }
    }

    /// Copies a file here; what breaks off half-way replaces nothing.
    fn bring(&self, there: &Path, local: &Path) -> Result<()> {
        let mut part = local.as_os_str().to_owned();
        part.push(".part");
        let part = Path::new(&part);
        let brought = self.copy_from(there, part).and_then(|()| {
            fs::rename(part, local).map_err(TestbedError::io(format!("write {}", local.display())))
        });
        if brought.is_err() {
            let _ = fs::remove_file(part);
        }
        brought
    }

    /// Takes a file's bytes, piece by piece; says its mode.
    fn fetch(&self, there: &Path, take: &mut dyn FnMut(Piece<'_>) -> Result<()>) -> Result<u32> {
        let connection = self.connection()?;
        let helper = connection.helper();
        let doing = format!("read {} on {}", there.display(), self.target.id);
        let fetched = helper.converse(HostAsk::Fetch { path: there.to_owned() })?;
        loop {
            match fetched.next(helper, &doing, PIECE_LIMIT) {
                Ok(HostTell::Bytes(Bytes(bytes))) => {
                    if let Err(error) = take(Piece::Bytes(&bytes)) {
                        break Err(error);
                    }
                }
                Ok(HostTell::Zeros(bytes)) => {
                    if let Err(error) = take(Piece::Zeros(bytes)) {
                        break Err(error);
                    }
                }
                Ok(HostTell::Closed { mode }) => break Ok(mode),
                Ok(other) => break Err(helper.misunderstood(&other)),
                Err(error) => break Err(self.because(&doing, error)),
            }
        }
    }

    /// An error as it is, unless what is wrong is that the machine is not heard any more.
    fn unless_lost(&self, error: TestbedError) -> TestbedError {
        match (error, self.why_lost()) {
            (TestbedError::Helper { host, .. }, Some(lost)) => TestbedError::Ssh {
                host,
                doing: "go on with it".into(),
                why: format!("the connection to our helper there is lost: {lost}"),
                mend: format!(
                    "is it up, and the way to it well? `{}` by hand tells; what was started there is ended",
                    self.target.by_hand()
                ),
            },
            (error, _) => error,
        }
    }

    /// A refusal of the machine's, with what was being done.
    fn because(&self, doing: &str, error: TestbedError) -> TestbedError {
        match self.unless_lost(error) {
            TestbedError::Helper { why, .. } => {
                TestbedError::io(doing.to_owned())(std::io::Error::other(why))
            }
            other => other,
        }
    }

    /// What is wrong with the connection; absent while it is well.
    pub(super) fn why_lost(&self) -> Option<String> {
        self.link.current().helper().why_ended()
    }
}

impl Host for SshHost {
    fn id(&self) -> &HostId {
        &self.target.id
    }

    fn scratch(&self) -> PathBuf {
        self.link.current().folder().join("scratch")
    }

    fn outbox(&self, local: &Path) -> Result<PathBuf> {
        let connection = self.connection()?;
        let own = connection.outbox(local);
        connection.make_folder(&own).map_err(|error| self.unless_lost(error))?;
        Ok(own)
    }

    fn collect(&self, local: &Path) -> Result<()> {
        let connection = self.connection()?;
        let own = connection.outbox(local);
        let ask = HostAsk::List { folder: own.clone() };
        let told = connection.ask(ask, "a list of files", ANSWER_LIMIT);
        let files = match told.map_err(|error| self.unless_lost(error))? {
            HostTell::Files(files) => files,
            other => return Err(connection.helper().misunderstood(&other)),
        };
        for name in files {
            // What a machine says of its files must not lead out of our folder.
            if !is_plain(&name) {
                let why = format!("it says that a file is named {}", name.display());
                return Err(self.target.failed("list its files", &std::io::Error::other(why)));
            }
            let here = local.join(&name);
            // Nor may it replace what others wrote here; what it brought itself may have grown.
            if !connection.may_bring(&here) {
                let why = format!("it has a file {} of its own, which is here already", name.display());
                return Err(self.target.failed("bring its files", &std::io::Error::other(why)));
            }
            self.bring(&own.join(&name), &here)?;
        }
        Ok(())
    }

    /// It is another machine.
    fn sees(&self, _local: &Path) -> Result<bool> {
        Ok(false)
    }

    fn place(&self, local: &Path) -> Result<PathBuf> {
        let connection = self.connection()?;
        let doing = || format!("open {}", local.display());
        let from = File::open(local).map_err(TestbedError::io(doing()))?;
        let metadata = from.metadata().map_err(TestbedError::io(doing()))?;
        // Not the time of its last change: a template is touched when it is used.
        let version = (metadata.dev(), metadata.ino(), metadata.size(), metadata.created().ok());
        connection.place(local, version, |there| self.put(&connection, from, there))
    }

    fn address(&self, network: Network) -> Option<Ipv4Addr> {
        self.places.get(network as usize)?.address
    }

    fn interface(&self, network: Network) -> Option<&str> {
        self.places.get(network as usize)?.interface.as_deref()
    }

    fn run(&self, program: &Path, args: &[OsString], limit: Duration) -> Result<Output> {
        let ask = HostAsk::Run {
            program: program.to_owned(),
            args: args.to_vec(),
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        };
        let what = format!("run {} on {}", program.display(), self.target.id);
        let connection = self.connection()?;
        match connection
            .ask(ask, &what, limit.saturating_add(ANSWER_LIMIT))
            .map_err(|error| self.because(&what, error))?
        {
            HostTell::Ran { how, success, stdout, stderr } => {
                Ok(Output { how, success, stdout: stdout.0, stderr: stderr.0 })
            }
            other => Err(connection.helper().misunderstood(&other)),
        }
    }

    fn launch(&self, launch: Launch) -> Result<Process> {
        let Launch { program, args, stdout, stderr } = launch;
        let connection = self.connection()?;
        let doing = format!("start {} on {}", program.display(), self.target.id);
        self.start(connection.helper(), HostAsk::Launch { program, args, stdout, stderr }, &doing)
    }

    fn converse(&self, program: &Path, args: &[OsString], stderr: &Path) -> Result<(Process, UnixStream)> {
        let connection = self.connection()?;
        let helper = connection.helper();
        let doing = format!("start {} on {}", program.display(), self.target.id);
        let stream = helper.listen_for().map_err(|error| self.unless_lost(error))?;
        let (program, args, stderr) = (program.to_owned(), args.to_vec(), stderr.to_owned());
        let ask = HostAsk::Converse { program, args, stderr, stream: stream.id };
        let process = self.start(helper, ask, &doing)?;
        Ok((process, super::sockets::stream(helper, stream, &doing)?))
    }

    fn at_end(&self, program: &Path, args: &[OsString]) -> Result<LastWill> {
        let connection = self.connection()?;
        let helper = connection.helper();
        let doing = format!("have {} run at the end on {}", program.display(), self.target.id);
        let ask = HostAsk::AtEnd { program: program.to_owned(), args: args.to_vec() };
        let asked = helper.converse(ask).map_err(|error| self.unless_lost(error))?;
        // From here on: it may be taken on though nobody hears of it.
        let (its_helper, task) = (Arc::clone(helper), asked.id);
        let will = LastWill::new(move || {
            // Where the helper is gone it has been run, or never will.
            let _ = its_helper.say(HostAsk::Revoke { task });
        });
        match asked.next(helper, &doing, ANSWER_LIMIT).map_err(|error| self.because(&doing, error))? {
            HostTell::Done => Ok(will),
            other => Err(helper.misunderstood(&other)),
        }
    }

    fn dial(&self, socket: &Path, limit: Duration) -> Result<UnixStream> {
        super::sockets::dial(self.connection()?.helper(), socket, limit)
            .map_err(|error| self.unless_lost(error))
    }

    fn copy_to(&self, local: &Path, there: &Path) -> Result<()> {
        let from = File::open(local).map_err(TestbedError::io(format!("open {}", local.display())))?;
        self.put(&*self.connection()?, from, there)
    }

    fn copy_from(&self, there: &Path, local: &Path) -> Result<()> {
        let doing = || format!("write {}", local.display());
        let mut to = File::create(local).map_err(TestbedError::io(doing()))?;
        let mode = self.fetch(there, &mut |piece| {
            let written = match piece {
                Piece::Bytes(bytes) => to.write_all(bytes),
                Piece::Zeros(bytes) => to.seek_relative(i64::try_from(bytes).unwrap_or(0)),
            };
            written.map_err(TestbedError::io(doing()))
        })?;
        // The last hole counts, too.
        let length = to.stream_position().map_err(TestbedError::io(doing()))?;
        to.set_len(length).map_err(TestbedError::io(doing()))?;
        // What a machine says of its files must not make ours anybody's to write.
        let permissions = fs::Permissions::from_mode(mode & 0o755 | 0o600);
        to.set_permissions(permissions).map_err(TestbedError::io(doing()))
    }

    fn read(&self, there: &Path) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        let too_large = || {
            let doing = format!("read {} on {}", there.display(), self.target.id);
            TestbedError::io(doing)(std::io::Error::other(format!("it has more than {SMALL_BYTES} bytes")))
        };
        self.fetch(there, &mut |piece| {
            let length = match piece {
                Piece::Bytes(bytes) => bytes.len(),
                Piece::Zeros(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
            };
            if length > SMALL_BYTES - all.len() {
                return Err(too_large());
            }
            match piece {
                Piece::Bytes(bytes) => all.extend_from_slice(bytes),
                Piece::Zeros(_) => all.resize(all.len() + length, 0),
            }
            Ok(())
        })?;
        Ok(all)
    }

    fn write_private(&self, there: &Path, bytes: &[u8]) -> Result<()> {
        let doing = format!("write {} on {}", there.display(), self.target.id);
        let ask = HostAsk::WritePrivate { path: there.to_owned(), bytes: Bytes(bytes.to_vec()) };
        self.done(ask, &doing).map_err(|error| self.because(&doing, error))
    }

    fn remove(&self, there: &Path) -> Result<()> {
        let doing = format!("remove {} on {}", there.display(), self.target.id);
        self.done(HostAsk::Remove { path: there.to_owned() }, &doing)
            .map_err(|error| self.because(&doing, error))
    }

    fn helper(&self) -> Result<Helper> {
        self.connection()?.another_helper(self.link.clock()).map_err(|error| self.unless_lost(error))
    }

    fn taps(&self) -> Option<&dyn Taps> {
        (self.bridge.is_some() && self.machine.has_taps).then_some(self)
    }

    fn resident_bytes(&self, pid: u32, mapping_bytes: u64) -> Result<Option<i64>> {
        match self.ask(HostAsk::Resident { pid, mapping_bytes }, "what a process holds")? {
            HostTell::Resident(bytes) => Ok(bytes),
            other => Err(self.connection()?.helper().misunderstood(&other)),
        }
    }

    fn clock(&self) -> HostClock {
        self.link.clock().clone()
    }

    fn fingerprint(&self) -> HostFingerprint {
        self.fingerprint.clone()
    }
}

impl Taps for SshHost {
    fn add_tap(&self, name: &str) -> Result<()> {
        let bridge = self.bridge.clone().unwrap_or_default();
        let doing = format!("add the tap {name} to {bridge} on {}", self.target.id);
        self.done(HostAsk::AddTap { name: name.to_owned(), bridge }, &doing)
            .map_err(|error| self.because(&doing, error))
    }

    fn remove_tap(&self, name: &str) -> Result<()> {
        let doing = format!("remove the tap {name} on {}", self.target.id);
        self.done(HostAsk::RemoveTap { name: name.to_owned() }, &doing)
            .map_err(|error| self.because(&doing, error))
    }
}

/// Whether it is a file's name and leads nowhere else.
fn is_plain(name: &OsStr) -> bool {
    Path::new(name).file_name() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_out_of_its_folder_is_no_files() {
        for plain in ["a", ".a", "a b", "..a", "\\", "$(x)\n"] {
            assert!(is_plain(plain.as_ref()), "{plain}");
        }
        for other in ["", ".", "..", "/", "/etc/passwd", "../a", "a/b", "a/", "./a", "a/."] {
            assert!(!is_plain(other.as_ref()), "{other}");
        }
    }
}
