//! A node's side: an sshd of Debian's package with files, users and homes that only the node sees.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_testbed::{Host, Lab, LabHost, Launch, Network, Process, Testbed};

use crate::key::Key;
use crate::{Result, SshNodesError};

/// Where Debian's package has it.
pub(crate) const SSHD: &str = "/usr/sbin/sshd";
/// The user of a node who may become root by `sudo -n`.
pub const SUDOER: &str = "sudoer";
/// The user of a node who may not.
pub const ORDINARY: &str = "ordinary";

const PORT: u16 = 22;
/// How long a server may take until it answers.
const UP_LIMIT: Duration = Duration::from_secs(10);
/// How long one of the short programs that prepare a node may take.
const SCRIPT_LIMIT: Duration = Duration::from_secs(20);

/// A node, and its sshd where that runs.
#[derive(Debug)]
pub(crate) struct Server {
    // Before the host: where that goes with this, its first process ends only after all others in the node.
    running: Mutex<Option<Process>>,
    pub(crate) host: Arc<LabHost>,
    /// By which its clients know it.
    pub(crate) key: Key,
    /// The switch's ports to it, by network; empty where it is not in it.
    ports: [String; 3],
}

impl Server {
    /// Makes a node ready to serve whoever has this public key; nothing runs yet.
    pub(crate) fn prepare(lab: &Lab, host: &Arc<LabHost>, key: Key, authorized: &str) -> Result<Self> {
        let ports = Network::ALL.map(|network| lab.switch_port(host.id(), network).unwrap_or_default());
        let server = Self { running: Mutex::new(None), host: Arc::clone(host), key, ports };
        let write = |name: &str, text: &[u8]| server.host.write_private(&server.folder().join(name), text);
        write("host_key", &server.key.private()?)?;
        write("authorized_keys", format!("{authorized}\n").as_bytes())?;
        write("sshd_config", server.config().as_bytes())?;
        let machines = |name: &str| {
            let path = Path::new("/etc").join(name);
            fs::read_to_string(&path).map_err(SshNodesError::io(format!("read {}", path.display())))
        };
        write("passwd", passwd(&machines("passwd")?).as_bytes())?;
        write("shadow", shadow(&machines("passwd")?).as_bytes())?;
        write("group", group(&machines("group")?).as_bytes())?;
        write("sudoers", format!("root ALL=(ALL) ALL\n{SUDOER} ALL=(ALL) NOPASSWD: ALL\n").as_bytes())?;
        server.sh(&format!("cd {} && {SETTLE}", server.folder().display()))?;
        Ok(server)
    }

    pub(crate) fn name(&self) -> &str {
        self.host.id().as_str()
    }

    /// The networks it is in.
    pub(crate) fn networks(&self) -> impl Iterator<Item = Network> {
        Network::ALL.into_iter().filter(|network| !self.port(*network).is_empty())
    }

    pub(crate) fn port(&self, network: Network) -> &str {
        &self.ports[network as usize]
    }

    /// Starts its sshd and waits until that answers.
    pub(crate) fn start(&self) -> Result<()> {
        self.sh("mkdir -p -m 0755 /run/sshd")?;
        let args = ["-D", "-e", "-f"].map(OsString::from).into_iter();
        let mut process = self.host.launch(Launch {
            program: SSHD.into(),
            args: args.chain([self.folder().join("sshd_config").into()]).collect(),
            stdout: "/dev/null".into(),
            stderr: self.log(),
        })?;
        let deadline = Deadline::after(UP_LIMIT);
        for network in Network::USUAL {
            self.await_answer(&mut process, self.host.address(network), deadline)?;
        }
        *self.running() = Some(process);
        Ok(())
    }

    /// Gives the node another boot id, as each boot does.
    pub(crate) fn boot(&self) -> Result<()> {
        self.sh(&format!("cat /proc/sys/kernel/random/uuid >{}", self.folder().join("boot_id").display()))?;
        Ok(())
    }

    /// Ends its sshd; sessions live on.
    pub(crate) fn stop(&self) {
        // Dropping a process ends it.
        *self.running() = None;
    }

    /// Runs a short script there as root; it must succeed.
    pub(crate) fn sh(&self, script: &str) -> Result<String> {
        sh(&self.host, script)
    }

    /// Where it lies on the node whom its sshd lets in; read anew for each who comes.
    pub(crate) fn authorized_keys(&self) -> PathBuf {
        self.folder().join("authorized_keys")
    }

    /// What its sshd has said since it was started.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.host.read(&self.log()).unwrap_or_default()).into_owned()
    }

    fn await_answer(&self, process: &mut Process, address: Ipv4Addr, deadline: Deadline) -> Result<()> {
        let failed = |how: String| SshNodesError::Failed {
            what: format!("the start of {SSHD} on {}", self.name()),
            said: format!("{how}: {}", self.said().trim()),
        };
        while !answers((address, PORT).into(), deadline) {
            if let Some(how) = process.try_wait()? {
                return Err(failed(how));
            }
            if deadline.passed() {
                return Err(failed(format!("no answer within {} s", UP_LIMIT.as_secs())));
            }
            std::thread::sleep(deadline.step(Duration::from_millis(10)));
        }
        Ok(())
    }

    fn config(&self) -> String {
        let folder = self.folder();
        let mut text = format!("Port {PORT}\n");
        for network in Network::USUAL {
            let _ = writeln!(text, "ListenAddress {}", self.host.address(network));
        }
        let _ = writeln!(text, "HostKey {}", folder.join("host_key").display());
        let _ = writeln!(text, "AuthorizedKeysFile {}", self.authorized_keys().display());
        text + CONFIG
    }

    fn folder(&self) -> PathBuf {
        self.host.scratch().join("sshd")
    }

    fn log(&self) -> PathBuf {
        self.folder().join("log")
    }

    fn running(&self) -> MutexGuard<'_, Option<Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All else is as sshd has it by itself, as on a real host.
const CONFIG: &str = "\
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
PrintMotd no
PrintLastLog no
LogLevel VERBOSE
Subsystem sftp internal-sftp
";

/// Puts the node's own files in the place of the machine's, in the folder where they lie. Users must be able to read some.
/// Homes are the node's own: nothing that a test leaves there stays.
const SETTLE: &str = "\
chmod 0755 /run/dunlin .. . && chmod 0644 authorized_keys passwd group && chmod 0440 sudoers && \
for file in passwd shadow group sudoers; do \
    if [ -e /etc/$file ]; then mount --bind $file /etc/$file || exit; fi; \
done && \
cat /proc/sys/kernel/random/uuid >boot_id && mount --bind boot_id /proc/sys/kernel/random/boot_id && \
mkdir -p -m 0755 /run/home && \
for user in root sudoer ordinary; do mkdir -p -m 0700 /run/home/$user && chown $user: /run/home/$user || exit; done";

/// The machine's users with our own before them: what stands first counts. Their shell is one that reads no files of the
/// machine's.
fn passwd(machines: &str) -> String {
    let others = machines.lines().filter(|line| !line.starts_with("root:"));
    let ours = [("root", 0), (SUDOER, FIRST_ID), (ORDINARY, FIRST_ID + 1)];
    let ours = ours.map(|(name, id)| format!("{name}:x:{id}:{id}::/run/home/{name}:/bin/sh"));
    lines(ours.iter().map(String::as_str).chain(others))
}

/// Nobody has a password, and nobody is locked, which to sshd is another thing.
fn shadow(machines_passwd: &str) -> String {
    let others = machines_passwd.lines().filter_map(|line| line.split(':').next());
    let names = others.filter(|name| !name.is_empty()).chain([SUDOER, ORDINARY]);
    lines(
        names
            .map(|name| format!("{name}:*:19000:0:99999:7:::"))
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str),
    )
}

fn group(machines: &str) -> String {
    let ours = [(SUDOER, FIRST_ID), (ORDINARY, FIRST_ID + 1)].map(|(name, id)| format!("{name}:x:{id}:"));
    lines(machines.lines().chain(ours.iter().map(String::as_str)))
}

/// The id of the first user of ours, above those that Debian gives to users.
const FIRST_ID: u32 = 61_001;

fn lines<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// Runs a short script on a node as root; it must succeed.
pub(crate) fn sh(host: &LabHost, script: &str) -> Result<String> {
    let output = host.run(Path::new("sh"), &["-c".into(), script.into()], SCRIPT_LIMIT)?;
    if !output.success {
        let said = format!("{}: {}", output.how, String::from_utf8_lossy(&output.stderr).trim());
        return Err(SshNodesError::Failed { what: format!("{script:?} on {}", host.id()), said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether an sshd answers there: it says who it is before it is asked.
fn answers(address: SocketAddr, deadline: Deadline) -> bool {
    let limit = deadline.step(Duration::from_secs(1)).max(Duration::from_millis(1));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, limit) else { return false };
    let mut greeting = [0; 4];
    stream.set_read_timeout(Some(limit)).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && greeting == *b"SSH-"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_the_machines_but_for_root_and_have_no_passwords() {
        let machines = "root:x:0:0:root:/root:/bin/bash\nsshd:x:104:65534::/run/sshd:/usr/sbin/nologin\n";
        let users = passwd(machines);
        assert!(users.starts_with("root:x:0:0::/run/home/root:/bin/sh\nsudoer:x:61001:61001:"), "{users}");
        assert!(users.ends_with("\nsshd:x:104:65534::/run/sshd:/usr/sbin/nologin\n"), "{users}");
        let names = |text: &str| {
            let mut names: Vec<_> =
                text.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&users), names(&shadow(machines)));
        assert!(shadow(machines).lines().all(|line| line.split(':').nth(1) == Some("*")));
        assert_eq!(group("root:x:0:\n"), "root:x:0:\nsudoer:x:61001:\nordinary:x:61002:\n");
    }
}
