//! Nodes of a lab as hosts behind ssh: each has an sshd of its own, from Debian's package, so that tests and people can treat
//! it as a real host. Only tests use it.
//!
//! The client runs on the lab's bench, that is in the process that owns the lab or in what that starts:
//!
//! ```no_run
//! use dunlin_record::Links;
//! use dunlin_ssh_nodes::{Client, SshNodes};
//! use dunlin_testbed::{HostKind, Inside, Lab, LabSpec};
//!
//! fn test(inside: &Inside) {
//!     let spec = LabSpec { kind: HostKind::Node, clock_offsets_s: vec![0, 5000], ..LabSpec::new(Links::default()) };
//!     let lab = Lab::up(inside, &spec).unwrap();
//!     let nodes = SshNodes::up(&lab).unwrap();
//!     let output = nodes.ssh(Client::Right).args(["host-a", "uname", "-n"]).output().unwrap();
//!     assert_eq!(output.stdout, b"host-a\n");
//!     nodes.power_off("host-b").unwrap();
//! }
//! ```
//!
//! All of it ends with the lab: processes, homes, and the client's folder, which lies in the lab's own `/run`.

mod client;
mod error;
mod fault;
mod inventory;
mod key;
mod libvirt;
mod server;
mod stage;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dunlin_testbed::{Host, Lab};
use tempfile::TempDir;

pub use client::Client;
pub use error::{Result, SshNodesError};
use key::Key;
pub use libvirt::{AccessFault, Domain, LibvirtNodes, Qemu};
use server::Server;
pub use server::{ORDINARY, SUDOER};
pub use stage::on_libvirt_nodes;

/// The nodes of a lab, each behind an sshd.
#[derive(Debug)]
pub struct SshNodes {
    servers: Vec<Server>,
    /// The client's: private, and gone when this is dropped.
    folder: TempDir,
}

impl SshNodes {
    /// Why this machine, or this user, cannot have such nodes; nothing where it can. Works in the lab and outside.
    #[must_use]
    pub fn lack() -> Option<String> {
        if !Path::new(server::SSHD).exists() {
            return Some(format!("there is no {} (openssh-server)", server::SSHD));
        }
        let runs = |program: &str| Command::new(program).arg("-?").stdin(Stdio::null()).output().is_ok();
        if let Some(program) = ["ssh", "ssh-keygen"].into_iter().find(|program| !runs(program)) {
            return Some(format!("there is no {program} (openssh-client)"));
        }
        let users = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        // All ids there are, as they are: a user's own lab has fewer.
        users
            .split_whitespace()
            .ne(["0", "0", "4294967295"])
            .then(|| "sshd changes users, which only root's lab can".into())
    }

    /// Makes the nodes of a lab ready and starts sshd on all of them.
    ///
    /// # Errors
    /// Where something is refused, or a server does not come up. See [`Self::lack`] for what is needed.
    pub fn up(lab: &Lab) -> Result<Self> {
        let nodes = Self::prepare(lab)?;
        nodes.servers.iter().try_for_each(Server::start)?;
        Ok(nodes)
    }

    /// Makes the nodes of a lab ready, and starts nothing: hosts that are up, but do not serve.
    ///
    /// # Errors
    /// Where something is refused. A lab of namespaces instead of nodes is.
    pub fn prepare(lab: &Lab) -> Result<Self> {
        let io = |error| SshNodesError::io("make the client's folder")(error);
        // In the lab's own /run, which goes with the lab even if nobody is left to remove it.
        let place = lab.hosts().first().and_then(|host| host.scratch().parent().map(Path::to_owned));
        let folder = tempfile::Builder::new()
            .prefix("ssh-")
            .tempdir_in(place.as_deref().unwrap_or(Path::new("/run")))
            .map_err(io)?;
        let key = Key::make(folder.path(), "key")?;
        let serve = |host| {
            let host: &std::sync::Arc<dunlin_testbed::LabHost> = host;
            if host.first_process().is_none() {
                return Err(SshNodesError::NoSuchNode { name: host.id().to_string() });
            }
            Server::prepare(
                lab,
                host,
                Key::make(folder.path(), &format!("host_key-{}", host.id()))?,
                &key.public,
            )
        };
        let servers = lab.hosts().iter().map(serve).collect::<Result<Vec<_>>>()?;
        client::write_configs(folder.path(), &servers, &key)?;
        Ok(Self { servers, folder })
    }

    /// Starts a node's sshd, and waits until it answers.
    ///
    /// # Errors
    /// Where it does not.
    pub fn start(&self, name: &str) -> Result<()> {
        self.server(name)?.start()
    }

    /// Ends a node's sshd alone; sessions live on. To end these too, see [`Self::end_all`].
    ///
    /// # Errors
    /// Where there is no such node.
    pub fn stop(&self, name: &str) -> Result<()> {
        self.server(name)?.stop();
        Ok(())
    }

    /// The configuration for `ssh -F`, in which nodes have their own names.
    #[must_use]
    pub fn config(&self, client: Client) -> PathBuf {
        client.config(self.folder.path())
    }

    /// A client that asks nothing of whoever sits there; what remains to be said is the node and the command.
    #[must_use]
    pub fn ssh(&self, client: Client) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(self.config(client)).args(["-o", "BatchMode=yes"]).stdin(Stdio::null());
        command
    }

    /// The nodes as an inventory of hosts (`hosts.toml`), for a client of this kind.
    #[must_use]
    pub fn inventory(&self, client: Client) -> String {
        inventory::text(&self.servers, &self.config(client), None)
    }

    /// The same with the driver named that each host's hypervisor takes.
    #[must_use]
    pub fn inventory_with_driver(&self, client: Client, driver: &str) -> String {
        inventory::text(&self.servers, &self.config(client), Some(driver))
    }

    /// The client's folder: its configurations, keys, and room for what a test wants gone with the lab.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a node's sshd has said since it was started last.
    ///
    /// # Errors
    /// Where there is no such node.
    pub fn said(&self, name: &str) -> Result<String> {
        Ok(self.server(name)?.said())
    }

    /// Does something on a node as root, not through ssh: looks at it, or makes a fault that has no name here.
    ///
    /// # Errors
    /// Where the script fails, or takes long.
    pub fn sh(&self, name: &str, script: &str) -> Result<String> {
        self.server(name)?.sh(script)
    }

    fn server(&self, name: &str) -> Result<&Server> {
        let found = self.servers.iter().find(|server| server.name() == name);
        found.ok_or_else(|| SshNodesError::NoSuchNode { name: name.to_owned() })
    }
}

/// Runs a short program on the bench, which must succeed.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output =
        command.stdin(Stdio::null()).output().map_err(SshNodesError::io(format!("run {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Err(SshNodesError::Failed { what: format!("{command:?}"), said })
}
