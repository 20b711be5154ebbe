//! Keys and settings by which one `scp` reaches one sshd, and nobody else: all in a folder of each host, which goes at the end.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::now_ns;

use super::{Carry, Work};
use crate::{Host, Result, TestbedError};

/// How long a short program may take.
const LIMIT: Duration = Duration::from_secs(20);
/// By which the client knows the server.
pub(super) const SERVER: &str = "dunlin-destination";

/// A folder on a host that only its user may enter. Dropping it removes it.
pub(super) struct Folder<'a> {
    host: &'a Arc<dyn Host>,
    path: PathBuf,
}

impl<'a> Folder<'a> {
    /// Its name; it is made with the first file that is written there.
    pub(super) fn new(host: &'a Arc<dyn Host>) -> Self {
        let name = format!("carry-{}-{}", std::process::id(), now_ns());
        Self { host, path: host.scratch().join(name) }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        self.host.write_private(&self.path(name), text.as_bytes())
    }

    /// What a program said, in one line.
    pub(super) fn said(&self, name: &str) -> String {
        let said = self.host.read(&self.path(name)).unwrap_or_default();
        let lines: Vec<String> =
            String::from_utf8_lossy(&said).lines().map(|line| line.trim().to_owned()).collect();
        lines.join(" / ")
    }

    /// Makes a key there, whose private half stays there; tells the other.
    fn make_key(&self, order: &Carry<'_>, name: &str) -> Result<String> {
        let path = self.path(name);
        let args = ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"].map(OsString::from);
        let args: Vec<OsString> = args.into_iter().chain([path.into()]).collect();
        run(order, self.host, "ssh-keygen", &args)?;
        let public = self.host.read(&self.path(&format!("{name}.pub")))?;
        Ok(String::from_utf8_lossy(&public).trim().to_owned())
    }
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        // Where the host is lost, it goes with what ends there.
        let _ = self.host.remove(&self.path);
    }
}

/// Where the server listens, for whom.
pub(super) struct Door {
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
    pub(super) user: String,
}

/// Makes both hosts' keys and the settings of both ends, but for the server's port.
pub(super) fn exchange(work: &Work<'_>, source: &Folder<'_>, destination: &Folder<'_>) -> Result<()> {
    // They make the folders.
    source.write("about", "of a file that is carried by scp\n")?;
    destination.write("about", "of a file that is carried by scp\n")?;
    let server = destination.make_key(work.order, "host_key")?;
    let client = source.make_key(work.order, "key")?;
    destination.write("authorized_keys", &format!("restrict {client}\n"))?;
    source.write("known_hosts", &format!("{SERVER} {server}\n"))
}

/// What the server is told. It takes this one key and gives no shell.
pub(super) fn server_config(door: &Door, folder: &Folder<'_>) -> Result<String> {
    let Door { address, port, user } = door;
    let (host_key, keys) = (quoted(&folder.path("host_key"))?, quoted(&folder.path("authorized_keys"))?);
    Ok(format!(
        "ListenAddress {address}:{port}\nHostKey {host_key}\nAuthorizedKeysFile {keys}\nAllowUsers {user}\n{SERVER_ALWAYS}"
    ))
}

/// The folder is nobody else's, but lies where others may write: `StrictModes` would not have that.
const SERVER_ALWAYS: &str = "\
StrictModes no
AuthenticationMethods publickey
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
PrintMotd no
PrintLastLog no
PermitTTY no
PermitTunnel no
AllowTcpForwarding no
AllowAgentForwarding no
AllowStreamLocalForwarding no
X11Forwarding no
PermitUserRC no
LoginGraceTime 10
MaxStartups 4
ClientAliveInterval 5
ClientAliveCountMax 2
Subsystem sftp internal-sftp
ForceCommand internal-sftp
";

/// What the client is told.
pub(super) fn client_config(door: &Door, folder: &Folder<'_>) -> Result<String> {
    let Door { address, port, user } = door;
    let (key, known_hosts) = (quoted(&folder.path("key"))?, quoted(&folder.path("known_hosts"))?);
    Ok(format!(
        "Host {SERVER}\nHostName {address}\nPort {port}\nUser {user}\nHostKeyAlias {SERVER}\nIdentityFile {key}\n\
         UserKnownHostsFile {known_hosts}\n{CLIENT_ALWAYS}"
    ))
}

const CLIENT_ALWAYS: &str = "\
GlobalKnownHostsFile /dev/null
IdentitiesOnly yes
IdentityAgent none
PreferredAuthentications publickey
StrictHostKeyChecking yes
UpdateHostKeys no
BatchMode yes
ConnectTimeout 10
ServerAliveInterval 5
ServerAliveCountMax 2
ControlPath none
Compression no
ForwardAgent no
ForwardX11 no
";

/// A path as settings of ssh and sshd hold it.
fn quoted(path: &Path) -> Result<String> {
    let plain = path.to_str().filter(|path| !path.contains(['"', '\\', '\n', '\r']) && !path.contains("${"));
    let refused = || TestbedError::Unsupported {
        what: format!("scp with keys in {}", path.display()),
        because: "settings of ssh cannot hold such a name".into(),
    };
    Ok(format!("\"{}\"", plain.ok_or_else(refused)?.replace('%', "%%")))
}

/// Runs a short program to its end; it must succeed. Tells what it said.
pub(super) fn run(
    order: &Carry<'_>,
    host: &Arc<dyn Host>,
    program: &str,
    args: &[OsString],
) -> Result<String> {
    let output = host
        .run(Path::new(program), args, LIMIT)
        .map_err(|error| start_failed(order, host, program, &error))?;
    if !output.success {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(order.failed(format_args!("{}: {program}: {}: {}", host.id(), output.how, said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a host has a program. That is better known before a file was compressed and copied.
pub(super) fn require(order: &Carry<'_>, host: &Arc<dyn Host>, program: &str) -> Result<()> {
    // Whatever it makes of that.
    let started = host.run(Path::new(program), &["--version".into()], LIMIT);
    started.map(drop).map_err(|error| start_failed(order, host, program, &error))
}

/// A program could not be started: if it is not there, told is what has it.
pub(super) fn start_failed(
    order: &Carry<'_>,
    host: &Arc<dyn Host>,
    program: &str,
    error: &TestbedError,
) -> TestbedError {
    let said = dunlin_record::in_one_line(error);
    if !said.contains("No such file") {
        return order.failed_on(host.id(), error);
    }
    let package = match program {
        "scp" | "ssh" | "ssh-keygen" => "openssh-client",
        "sshd" => "openssh-server",
        other => other,
    };
    order.failed(format_args!("{}: there is no {program}, which the package {package} has", host.id()))
}
