//! A server of storage on a host: started, asked to serve images, and broken for a while where a test wants it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_record::{ImageFormat, StorageServer};

use super::iscsi::Iscsi;
use super::name;
use super::nbd::Nbd;
use super::nfs::Nfs;
use super::program::{Daemon, Ground};
use crate::{DiskPlace, Host, Result, TestbedError};

/// How long a server may take until it answers.
pub(super) const START_LIMIT: Duration = Duration::from_secs(15);
/// Room for what `qemu-img measure` rounds down.
const SPARE_BYTES: u64 = 1 << 20;

/// What each kind does in its own way. Exports go with the programs; they are made again after each start.
pub(super) trait Server: Send + std::fmt::Debug {
    /// Starts its programs and waits until they answer.
    fn start(&mut self, ground: &Ground) -> Result<Vec<Daemon>>;
    /// Serves an image.
    fn export(&mut self, ground: &Ground, image: &Path, name: &str) -> Result<DiskPlace>;
    /// Serves it no more.
    fn withdraw(&mut self, ground: &Ground, name: &str) -> Result<()>;
}

/// A server of storage on a host. It ends when dropped, and with the testbed.
pub struct StorageService {
    ground: Ground,
    kind: StorageServer,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    server: Box<dyn Server>,
    /// None where it was killed.
    daemons: Vec<Daemon>,
    exports: Vec<(String, PathBuf)>,
}

impl StorageService {
    /// Starts a server of a kind on a host, at that address of the host's, for images in that folder there, and waits until it
    /// answers. Several kinds may run on one host at once, one server of each.
    ///
    /// # Errors
    /// Where the host lacks a program, the folder's path has characters that a server would take for something else, or the
    /// server does not come up. A folder that both hosts see needs no server; NFS and iSCSI need a host that is disposable
    /// ([`Host::is_disposable`]).
    pub fn start(host: &Arc<dyn Host>, kind: StorageServer, at: Ipv4Addr, folder: &Path) -> Result<Self> {
        let (server, what): (Box<dyn Server>, _) = match kind {
            StorageServer::Nbd => (Box::new(Nbd::default()), "NBD server"),
            StorageServer::Iscsi => (Box::new(Iscsi::default()), "iSCSI server"),
            StorageServer::Nfs => (Box::new(Nfs), "NFS server"),
            StorageServer::Folder => {
                return Err(TestbedError::Unsupported {
                    what: format!("a server on {} of a folder that hosts share", host.id()),
                    because: "they see it without one".into(),
                });
            }
        };
        if kind != StorageServer::Nbd && !host.is_disposable() {
            return Err(TestbedError::Unsupported {
                what: format!("an {what} on {}", host.id()),
                because: "it would leave traces: only nodes of a lab have a /run that goes with them".into(),
            });
        }
        name::check_folder(folder)?;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let work = host.scratch().join(format!("{}-{number}", kind.name()));
        // Makes the folder.
        host.write_private(&work.join("server"), what.as_bytes())?;
        let ground = Ground { host: Arc::clone(host), at, images: folder.to_owned(), work, what };
        let service = Self {
            ground,
            kind,
            state: Mutex::new(State { server, daemons: Vec::new(), exports: Vec::new() }),
        };
        service.restart()?;
        Ok(service)
    }

    /// What it speaks.
    #[must_use]
    pub fn kind(&self) -> StorageServer {
        self.kind
    }

    /// The host it runs on.
    #[must_use]
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.ground.host
    }

    /// The folder of its images, on its host.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.ground.images
    }

    /// Serves an image of its folder, for writing, under a name that no other has; whoever reaches the server may then open it,
    /// and several at once: see [`crate::Leases`]. (An NFS server serves all images of its folder, by their paths.)
    ///
    /// The file must have its length by then. A qcow2 image that is served by NBD or iSCSI cannot become longer by itself: its
    /// file is made as long here as the image can become, by a hole.
    ///
    /// # Errors
    /// Where the server is not there, there is no such image in its folder, the name cannot be one or is taken.
    pub fn export(&self, image: &Path, format: ImageFormat, name: &str) -> Result<DiskPlace> {
        name::check_name(name)?;
        name::check_image(image, self.folder())?;
        let mut state = self.state();
        self.ground.check(&mut state.daemons)?;
        if state.exports.iter().any(|(known, _)| known == name) {
            return Err(self.ground.failed(format!("it has an export {name} already")));
        }
        let length = self.length(image)?;
        if format == ImageFormat::Qcow2 && self.kind != StorageServer::Nfs {
            self.lengthen(image, length)?;
        }
        let place = state.server.export(&self.ground, image, name)?;
        state.exports.push((name.to_owned(), image.to_owned()));
        Ok(place)
    }

    /// Serves it no more; its clients are told to go. Well where there is none of this name.
    ///
    /// # Errors
    /// Where the server does not do it.
    pub fn withdraw(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        if state.exports.iter().all(|(known, _)| known != name) {
            return Ok(());
        }
        state.exports.retain(|(known, _)| known != name);
        if state.daemons.is_empty() {
            return Ok(());
        }
        state.server.withdraw(&self.ground, name)
    }

    /// Ends its programs at once, as a power cut would; what they wrote stays. Its clients are to come back by themselves.
    pub fn kill(&self) {
        let mut state = self.state();
        state.daemons.iter_mut().for_each(Daemon::kill);
    }

    /// Starts it again, at the same address and with the same exports; ends it first where it runs.
    ///
    /// # Errors
    /// Where it does not come up, or an export cannot be made again.
    pub fn restart(&self) -> Result<()> {
        let mut state = self.state();
        let State { server, daemons, exports } = &mut *state;
        daemons.clear();
        *daemons = server.start(&self.ground)?;
        for (name, image) in exports {
            server.export(&self.ground, image, name)?;
        }
        Ok(())
    }

    /// Has its programs stand still (`SIGSTOP`): its connections stay, and nobody answers.
    ///
    /// # Errors
    /// Where they cannot be told.
    pub fn freeze(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// Where they cannot be told.
    pub fn thaw(&self) -> Result<()> {
        self.signal("CONT")
    }

    /// Its programs and their processes, as its host knows them.
    #[must_use]
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        let known = |daemon: &Daemon| Some((daemon.name(), daemon.pid()?));
        self.state().daemons.iter().filter_map(known).collect()
    }

    /// Whether all its programs run; they may stand still.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.check().is_ok()
    }

    /// Fails where one of its programs has ended, and says how.
    ///
    /// # Errors
    /// Where one has, or its host does not say.
    pub fn check(&self) -> Result<()> {
        self.ground.check(&mut self.state().daemons)
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let mut state = self.state();
        self.ground.check(&mut state.daemons)?;
        state.daemons.iter().try_for_each(|daemon| self.ground.signal(daemon, signal))
    }

    /// An image's length; fails where it is no file.
    fn length(&self, image: &Path) -> Result<u64> {
        // Through a link, as a nameless file is reached.
        let args = ["-L".into(), "-c".into(), "%F %s".into(), "--".into(), image.into()];
        let said = self.ground.succeed(Path::new("stat"), &args)?;
        let (kind, length) = said.trim().rsplit_once(' ').unwrap_or_default();
        let length = length.parse().ok().filter(|_| kind.starts_with("regular"));
        length.ok_or_else(|| self.ground.failed(format!("{} is no file but a {kind}", image.display())))
    }

    /// Makes a qcow2 image's file as long as it can become.
    fn lengthen(&self, image: &Path, length: u64) -> Result<()> {
        let qemu_img = self.ground.find("qemu-img", "qemu-utils")?;
        let ask = |words: &[&str]| {
            let words = words.iter().map(Into::into).chain(["--".into(), image.into()]);
            let said = self.ground.succeed(&qemu_img, &words.collect::<Vec<_>>())?;
            serde_json::from_str::<serde_json::Value>(&said)
                .map_err(|error| self.ground.failed(format!("qemu-img said something else: {error}")))
        };
        let info = ask(&["info", "--output=json", "-f", "qcow2"])?;
        let cluster = info["cluster-size"].as_u64().unwrap_or(65_536);
        let specific = &info["format-specific"]["data"];
        let refcount = specific["refcount-bits"].as_u64().unwrap_or(16);
        let extended = if specific["extended-l2"] == true { "on" } else { "off" };
        let like = format!("cluster_size={cluster},refcount_bits={refcount},extended_l2={extended}");
        let measured = ask(&["measure", "--output=json", "-f", "qcow2", "-O", "qcow2", "-o", &like])?;
        let Some(whole) = measured["fully-allocated"].as_u64() else {
            return Err(self.ground.failed("qemu-img does not tell how long an image can become".into()));
        };
        let whole = whole.next_multiple_of(cluster.max(512)) + SPARE_BYTES;
        if whole <= length {
            return Ok(());
        }
        let args = ["-s".into(), whole.to_string().into(), "--".into(), image.into()];
        self.ground.succeed(Path::new("truncate"), &args).map(drop)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for StorageService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.ground.host.id();
        f.debug_struct("StorageService").field("host", host).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Drop for StorageService {
    fn drop(&mut self) {
        self.state().daemons.clear();
        // Where the host is gone, its scratch folder goes with it.
        let _ = self.ground.host.remove(&self.ground.work);
    }
}
