//! libvirt on the nodes of a lab: each has a `libvirtd` of its own, from Debian's package, with files, names and keys that only
//! the node sees. Only tests use it.
//!
//! ```no_run
//! use dunlin_ssh_nodes::{LibvirtNodes, SshNodes};
//!
//! fn test(nodes: &SshNodes) {
//!     let libvirt = LibvirtNodes::up(nodes).unwrap();
//!     let output = libvirt.virsh("host-a", &["-c", "qemu+tls://host-b/system", "hostname"]).unwrap();
//!     assert_eq!(output.stdout, b"host-b\n\n");
//!     libvirt.kill("host-a").unwrap();
//!     libvirt.start("host-a").unwrap();
//! }
//! ```
//!
//! A daemon reaches another one by `qemu+tcp`, `qemu+tls` and `qemu+ssh`, under a node's name (where hosts speak with each
//! other, as its `/etc/hosts` has it) and under `NAME.service`. What libvirt keeps on a disk outlives a power cut of the node,
//! what it keeps in `/run` does not. All of it ends with the lab.

mod certificates;
mod daemon;
mod domain;
mod fault;
mod qemu;
mod settings;
mod shared;

use std::path::Path;

use dunlin_testbed::Output;
use tempfile::TempDir;

use self::certificates::Authority;
use self::daemon::Daemon;
use crate::key::Key;
use crate::server::Server;
use crate::{Result, SshNodes, SshNodesError};

pub use self::domain::Domain;
pub use self::fault::AccessFault;
pub use self::qemu::Qemu;

/// The nodes of a lab, each with a libvirtd. To be dropped before the lab.
#[derive(Debug)]
pub struct LibvirtNodes {
    daemons: Vec<Daemon>,
    /// Whose certificates the daemons trust.
    authority: Authority,
    /// What all nodes and the bench see.
    shared: TempDir,
}

impl LibvirtNodes {
    /// Why this machine, or this user, cannot have such nodes; nothing where it can. Works in the lab and outside.
    #[must_use]
    pub fn lack() -> Option<String> {
        let needed = [
            (daemon::LIBVIRTD, "libvirt-daemon, libvirt-daemon-driver-qemu"),
            (daemon::VIRSH, "libvirt-clients"),
            (daemon::QEMU, "qemu-system-x86"),
        ];
        if let Some((program, package)) = needed.into_iter().find(|(path, _)| !Path::new(path).exists()) {
            return Some(format!("there is no {program} ({package})"));
        }
        let folders = daemon::FOLDERS.map(|(folder, _)| folder).into_iter().chain([settings::FOLDER]);
        if let Some(folder) = folders.into_iter().find(|folder| !Path::new(folder).is_dir()) {
            return Some(format!("there is no {folder} (libvirt-daemon-system)"));
        }
        SshNodes::lack()
    }

    /// Makes the nodes ready and starts libvirtd on all of them.
    ///
    /// # Errors
    /// Where something is refused, or a daemon does not come up. See [`Self::lack`] for what is needed.
    pub fn up(nodes: &SshNodes) -> Result<Self> {
        let libvirt = Self::prepare(nodes)?;
        libvirt.daemons.iter().try_for_each(Daemon::launch)?;
        libvirt.daemons.iter().try_for_each(Daemon::await_answer)?;
        Ok(libvirt)
    }

    /// Makes the nodes ready, and starts nothing.
    ///
    /// # Errors
    /// Where something is refused.
    pub fn prepare(nodes: &SshNodes) -> Result<Self> {
        let shared = shared::make(nodes)?;
        let authority = Authority::make()?;
        let prepare = |server: &Server| {
            let key = Key::make(nodes.folder(), &format!("libvirt-{}", server.name()))?;
            Daemon::prepare(server, key)
        };
        let daemons = nodes.servers.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let libvirt = Self { daemons, authority, shared };
        for daemon in &libvirt.daemons {
            libvirt.give_access(daemon)?;
        }
        Ok(libvirt)
    }

    /// Starts a node's libvirtd, and waits until it answers. One that runs is killed first.
    ///
    /// # Errors
    /// Where it does not.
    pub fn start(&self, name: &str) -> Result<()> {
        self.daemon(name)?.start()
    }

    /// Asks a node's libvirtd to end, and waits until it has. Its QEMUs live on.
    ///
    /// # Errors
    /// Where none runs, or it does not end in time, as one that hangs.
    pub fn stop(&self, name: &str) -> Result<()> {
        self.daemon(name)?.stop()
    }

    /// The two after each other.
    ///
    /// # Errors
    /// As [`Self::stop`] and [`Self::start`].
    pub fn restart(&self, name: &str) -> Result<()> {
        self.stop(name)?;
        self.start(name)
    }

    /// Kills a node's libvirtd (SIGKILL). Its QEMUs live on.
    ///
    /// # Errors
    /// Where there is no such node.
    pub fn kill(&self, name: &str) -> Result<()> {
        self.daemon(name)?.kill();
        Ok(())
    }

    /// Lets a node's libvirtd hang (SIGSTOP): connections stay, and hear nothing. Its QEMUs go on.
    ///
    /// # Errors
    /// Where none runs.
    pub fn hang(&self, name: &str) -> Result<()> {
        self.daemon(name)?.signal("STOP")
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// Where none runs.
    pub fn go_on(&self, name: &str) -> Result<()> {
        self.daemon(name)?.signal("CONT")
    }

    /// Runs virsh on a node as root, not through ssh, in the language of the source; it is ended after a minute. Without `-c`
    /// it asks the node's own libvirtd.
    ///
    /// # Errors
    /// Where it cannot be run, or does not end in time. What it is refused is told in the output.
    pub fn virsh(&self, name: &str, args: &[&str]) -> Result<Output> {
        self.daemon(name)?.virsh(args)
    }

    /// What virsh says, which must succeed.
    ///
    /// # Errors
    /// As [`Self::virsh`], or where virsh fails.
    pub fn virsh_said(&self, name: &str, args: &[&str]) -> Result<String> {
        let output = self.virsh(name, args)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.success {
            return Ok(text(&output.stdout));
        }
        let said = format!("{}: {}", output.how, text(&output.stderr));
        Err(SshNodesError::Failed { what: format!("virsh {} on {name}", args.join(" ")), said })
    }

    /// Starts a domain on a node by `virsh create`.
    ///
    /// # Errors
    /// Where libvirt refuses it.
    pub fn create(&self, name: &str, domain: &Domain) -> Result<()> {
        let daemon = self.daemon(name)?;
        let file = daemon.write_domain(domain)?;
        self.virsh_said(name, &["create", &file.display().to_string()])?;
        Ok(())
    }

    /// The QEMUs of domains that run on a node, whether or not its libvirtd knows them.
    ///
    /// # Errors
    /// Where the node's processes cannot be read.
    pub fn qemus(&self, name: &str) -> Result<Vec<Qemu>> {
        self.daemon(name)?.qemus()
    }

    /// How many QEMUs of the domain with this UUID run, on all nodes together.
    ///
    /// # Errors
    /// As [`Self::qemus`].
    pub fn copies(&self, uuid: &str) -> Result<usize> {
        let all = self.daemons.iter().map(Daemon::qemus).collect::<Result<Vec<_>>>()?;
        Ok(all.iter().flatten().filter(|qemu| qemu.uuid == uuid).count())
    }

    /// What a node's libvirtd has noted in its log, whenever it was started, and has said at its last start.
    ///
    /// # Errors
    /// Where there is no such node.
    pub fn log(&self, name: &str) -> Result<String> {
        Ok(self.daemon(name)?.log())
    }

    /// A folder that all nodes and the bench see under this name, with the same files: for disks of VMs. It lies in memory.
    #[must_use]
    pub fn shared(&self) -> &Path {
        self.shared.path()
    }

    fn daemon(&self, name: &str) -> Result<&Daemon> {
        let found = self.daemons.iter().find(|daemon| daemon.name() == name);
        found.ok_or_else(|| SshNodesError::NoSuchNode { name: name.to_owned() })
    }

    /// Gives a node all that lets it reach the others, and the others it.
    fn give_access(&self, daemon: &Daemon) -> Result<()> {
        daemon.write_settings(settings::Tcp::Open)?;
        daemon.write_certificates(&self.authority)?;
        daemon.write_keys(&self.daemons)
    }
}
