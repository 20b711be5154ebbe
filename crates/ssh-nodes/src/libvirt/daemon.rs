//! A node's libvirtd, and the node's own folders in the place of the machine's.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_testbed::{Host, LabHost, Launch, Network, Output, Process};

use super::certificates::{Authority, Certificates};
use super::settings::{self, Tcp};
use super::{Domain, Qemu, qemu};
use crate::key::Key;
use crate::server::{self, Server};
use crate::{Result, SshNodesError};

/// Where Debian's packages have them.
pub(super) const LIBVIRTD: &str = "/usr/sbin/libvirtd";
pub(super) const VIRSH: &str = "/usr/bin/virsh";
pub(super) const QEMU: &str = "/usr/bin/qemu-system-x86_64";
/// Folders that the package makes, and what a node's own is called. `/etc` and `/run` are a node's own as a whole.
pub(super) const FOLDERS: [(&str, &str); 3] =
    [("/var/lib/libvirt", "lib"), ("/var/cache/libvirt", "cache"), ("/var/log/libvirt", "log")];

/// How long a daemon may take until it answers: it asks QEMU what that can first.
const UP_LIMIT: Duration = Duration::from_secs(30);
/// How long one that answers may take to be done with it.
const DOWN_LIMIT: Duration = Duration::from_secs(15);
/// How long one run of virsh may take.
const VIRSH_LIMIT: Duration = Duration::from_secs(60);
/// How long virsh may take to say whether the daemon answers.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// A node, and its libvirtd where that runs.
#[derive(Debug)]
pub(super) struct Daemon {
    // Before the host: where that goes with this, its first process ends only after all others in the node.
    running: Mutex<Option<Process>>,
    host: Arc<LabHost>,
    /// By which the node's sshd is known.
    host_key: String,
    /// Whom the node's sshd lets in besides the bench: the lines before any of ours.
    authorized: String,
    authorized_keys: PathBuf,
    /// By which the node's root is known to the others.
    key: Key,
    uuid: String,
}

impl Daemon {
    /// Puts the node's own folders in the place of the machine's; nothing runs yet.
    pub(super) fn prepare(server: &Server, key: Key) -> Result<Self> {
        let folder = server.host.scratch().join("libvirt");
        let shown = folder.display();
        server.sh(&format!("mkdir -p {shown} && cd {shown} && {SETTLE}"))?;
        for (machines, own) in FOLDERS {
            server.sh(&format!("mkdir -p {shown}/{own} && mount --bind {shown}/{own} {machines}"))?;
        }
        let authorized_keys = server.authorized_keys();
        let authorized = String::from_utf8_lossy(&server.host.read(&authorized_keys)?).into_owned();
        Ok(Self {
            running: Mutex::new(None),
            host: Arc::clone(&server.host),
            host_key: server.key.public.clone(),
            authorized,
            authorized_keys,
            key,
            uuid: server.sh("cat /proc/sys/kernel/random/uuid")?,
        })
    }

    pub(super) fn name(&self) -> &str {
        self.host.id().as_str()
    }

    /// Starts it anew and waits until it answers.
    pub(super) fn start(&self) -> Result<()> {
        self.launch()?;
        self.await_answer()
    }

    /// Starts it anew.
    pub(super) fn launch(&self) -> Result<()> {
        self.kill();
        // Its error messages are those of its source, whatever language the bench speaks.
        let process = self.host.launch(Launch {
            program: "env".into(),
            args: ["LC_ALL=C", "LANGUAGE=C", LIBVIRTD, "--listen"].map(Into::into).into(),
            stdout: "/dev/null".into(),
            stderr: self.folder().join("said"),
        })?;
        *self.running() = Some(process);
        Ok(())
    }

    /// Waits until it answers.
    pub(super) fn await_answer(&self) -> Result<()> {
        let deadline = Deadline::after(UP_LIMIT);
        let failed = |how: String| SshNodesError::Failed {
            what: format!("the start of {LIBVIRTD} on {}", self.name()),
            said: format!("{how}: {}", self.log().trim()),
        };
        loop {
            if let Some(how) = self.running().as_mut().map(Process::try_wait).transpose()?.flatten() {
                return Err(failed(how));
            }
            let asked = self.ask(&["-c", "qemu:///system", "version"], deadline.step(ASK_LIMIT));
            match asked {
                Ok(output) if output.success => return Ok(()),
                _ if deadline.passed() => {
                    return Err(failed(format!("no answer within {} s", UP_LIMIT.as_secs())));
                }
                _ => std::thread::sleep(deadline.step(Duration::from_millis(50))),
            }
        }
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn stop(&self) -> Result<()> {
        self.signal("TERM")?;
        let mut running = self.running();
        let Some(process) = running.as_mut() else { return Ok(()) };
        if process.wait(Deadline::after(DOWN_LIMIT))?.is_none() {
            let said = format!("it still runs {} s after SIGTERM", DOWN_LIMIT.as_secs());
            return Err(SshNodesError::Failed {
                what: format!("the end of libvirtd on {}", self.name()),
                said,
            });
        }
        *running = None;
        Ok(())
    }

    pub(super) fn kill(&self) {
        // Dropping a process kills it. QEMUs are in groups of their own.
        *self.running() = None;
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.running().as_ref().and_then(Process::pid);
        let Some(pid) = pid else {
            let what = format!("the signal {signal} to libvirtd on {}", self.name());
            return Err(SshNodesError::Failed { what, said: "none runs there".into() });
        };
        server::sh(&self.host, &format!("kill -{signal} {pid}"))?;
        Ok(())
    }

    pub(super) fn virsh(&self, args: &[&str]) -> Result<Output> {
        self.ask(args, VIRSH_LIMIT)
    }

    fn ask(&self, args: &[&str], limit: Duration) -> Result<Output> {
        let args = ["LC_ALL=C", "LANGUAGE=C", VIRSH].iter().chain(args).map(Into::into).collect::<Vec<_>>();
        Ok(self.host.run(Path::new("env"), &args, limit)?)
    }

    pub(super) fn write_domain(&self, domain: &Domain) -> Result<PathBuf> {
        let file = self.folder().join("domain.xml");
        self.write(&file, &domain.xml())?;
        Ok(file)
    }

    pub(super) fn qemus(&self) -> Result<Vec<Qemu>> {
        Ok(qemu::read(&server::sh(&self.host, qemu::SCRIPT)?))
    }

    pub(super) fn log(&self) -> String {
        let read = |path: &Path| self.host.read(path).unwrap_or_default();
        let both = [read(Path::new(settings::LOG)), read(&self.folder().join("said"))].concat();
        String::from_utf8_lossy(&both).into_owned()
    }

    /// Takes effect with its next start.
    pub(super) fn write_settings(&self, tcp: Tcp) -> Result<()> {
        let folder = Path::new(settings::FOLDER);
        self.write(&folder.join("libvirtd.conf"), &settings::libvirtd(&self.uuid, tcp))?;
        self.write(&folder.join("qemu.conf"), settings::QEMU)
    }

    /// Gives the node certificates of this authority, where libvirt and QEMU look for them. libvirtd reads its own when it
    /// starts, all others are read for each connection.
    pub(super) fn write_certificates(&self, authority: &Authority) -> Result<()> {
        let Certificates { server, client } = self.issue(authority)?;
        self.write_client_certificate(&client)?;
        let pki = Path::new("/etc/pki");
        for (name, text) in [
            ("CA/cacert.pem", &authority.certificate()),
            ("libvirt/servercert.pem", &server.0),
            ("libvirt/private/serverkey.pem", &server.1),
            ("qemu/ca-cert.pem", &authority.certificate()),
            ("qemu/server-cert.pem", &server.0),
            ("qemu/server-key.pem", &server.1),
            ("qemu/client-cert.pem", &client.0),
            ("qemu/client-key.pem", &client.1),
        ] {
            self.write(&pki.join(name), text)?;
        }
        Ok(())
    }

    pub(super) fn issue(&self, authority: &Authority) -> Result<Certificates> {
        authority.issue(self.name(), Network::USUAL.map(|network| self.host.address(network)))
    }

    /// By which libvirt's client on this node is known to other daemons.
    pub(super) fn write_client_certificate(&self, (certificate, key): &(String, String)) -> Result<()> {
        self.write(Path::new(CLIENT_CERTIFICATE), certificate)?;
        self.write(Path::new(CLIENT_KEY), key)
    }

    pub(super) fn remove_client_certificate(&self) -> Result<()> {
        for file in [CLIENT_CERTIFICATE, CLIENT_KEY] {
            self.host.remove(Path::new(file))?;
        }
        Ok(())
    }

    /// Lets root of the other nodes in through this node's sshd, and root of this node know the others' sshds.
    pub(super) fn write_keys(&self, all: &[Self]) -> Result<()> {
        let home = Path::new("/run/home/root/.ssh");
        self.write_bytes(&home.join("id_ed25519"), &self.key.private()?)?;
        self.write(&home.join("config"), "IdentityAgent none\nIdentityFile ~/.ssh/id_ed25519\n")?;
        let known = |daemon: &Self| {
            let name = daemon.name();
            let [service, migration] = Network::USUAL.map(|network| daemon.host.address(network));
            format!("{name},{name}.service,{name}.migration,{service},{migration} {}\n", daemon.host_key)
        };
        self.write(&home.join("known_hosts"), &all.iter().map(known).collect::<String>())?;
        self.write_authorized(all)
    }

    /// Lets root of these nodes in through this node's sshd, and of no others.
    pub(super) fn write_authorized(&self, nodes: &[Self]) -> Result<()> {
        let others = nodes.iter().map(|other| format!("{}\n", other.key.public));
        self.write(&self.authorized_keys, &others.fold(self.authorized.clone(), |text, line| text + &line))
    }

    pub(super) fn forget_host_keys(&self) -> Result<()> {
        self.write(Path::new("/run/home/root/.ssh/known_hosts"), "")
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        self.write_bytes(path, text.as_bytes())
    }

    fn write_bytes(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.host.remove(path)?;
        Ok(self.host.write_private(path, bytes)?)
    }

    fn folder(&self) -> PathBuf {
        self.host.scratch().join("libvirt")
    }

    fn running(&self) -> MutexGuard<'_, Option<Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const CLIENT_CERTIFICATE: &str = "/etc/pki/libvirt/clientcert.pem";
const CLIENT_KEY: &str = "/etc/pki/libvirt/private/clientkey.pem";

/// A copy of `/etc`, with what the node had there already: libvirt's client looks for certificates in `/etc/pki` alone, which
/// the machine need not have.
const SETTLE: &str = "cp -a /etc etc && mkdir -p etc/pki && mount --bind etc /etc";
