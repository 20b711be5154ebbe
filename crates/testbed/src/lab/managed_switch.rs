//! The lab's switch as a managed one: net-snmp's agent in its network namespace, which tells what its ports counted.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::{SnmpAuth, SnmpPrivacy};
use dunlin_wire::{Secret, SnmpAccess, SnmpAgent, set_snmp_integer};

use super::{Lab, SWITCH, address};
use crate::bootstrap::SCRATCH;
use crate::local_process::LocalProcess;
use crate::{Network, Process, Result, TestbedError};

/// Debian keeps it out of an ordinary user's `PATH`.
const PROGRAMS: [&str; 2] = ["/usr/sbin/snmpd", "/usr/local/sbin/snmpd"];
/// How long it may take to answer.
const START_LIMIT: Duration = Duration::from_secs(10);
/// `nsCacheTimeout` (NET-SNMP-AGENT-MIB) of `ifTable`: for how many seconds it believes what it has read, 3 by default.
const CACHE_TIMEOUT: [u64; 20] = [1, 3, 6, 1, 4, 1, 8072, 1, 5, 3, 1, 2, 1, 3, 6, 1, 2, 1, 2, 2];
/// Who may set it.
const MANAGER: &str = "dunlin-lab";

/// An agent on the lab's switch. Dropping it ends it.
#[derive(Debug)]
pub struct ManagedSwitch {
    _process: Process,
    agent: SnmpAgent,
}

impl ManagedSwitch {
    /// Fails where the lab's switch could not be managed.
    ///
    /// # Errors
    /// Where there is no `snmpd`.
    pub fn check() -> Result<()> {
        program().map(drop)
    }

    /// The agent as it is to be asked.
    #[must_use]
    pub fn agent(&self) -> &SnmpAgent {
        &self.agent
    }
}

impl Lab {
    /// Starts an agent on the switch that can be asked as `agent` says, at the switch's address on the service network.
    /// It reads its counters anew for every question.
    ///
    /// # Errors
    /// Where there is no `snmpd`, or it does not answer.
    pub fn manage_switch(&self, agent: &SnmpAgent) -> Result<ManagedSwitch> {
        let at = SocketAddr::from((address(Network::Service, SWITCH), agent.address.port()));
        let agent = SnmpAgent { address: at, ..agent.clone() };
        check(&agent.access)?;
        let folder = Path::new(SCRATCH).join(self.switch.name());
        fs::create_dir_all(&folder).map_err(TestbedError::io(format!("create {}", folder.display())))?;
        let settings = folder.join("snmpd.conf");
        write_secretly(&settings, &configuration(&agent.access))?;
        let mut command = Command::new(program()?);
        command
            // In the foreground, with this file alone, and its words to another.
            .args(["-f", "-C", "-c"])
            .arg(&settings)
            .arg("-Lf")
            .arg(folder.join("snmpd.log"))
            .arg(format!("udp:{at}"))
            // Where it keeps its users' keys.
            .env("SNMP_PERSISTENT_DIR", &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let mut process = Process::new(LocalProcess::new(self.switch.spawn(command)?));
        let manager = SnmpAccess::Community(Secret::new(MANAGER));
        let manager = SnmpAgent { access: manager, timeout: Duration::from_millis(100), ..agent.clone() };
        let deadline = Deadline::after(START_LIMIT);
        while let Err(error) = set_snmp_integer(&manager, &CACHE_TIMEOUT, 0) {
            if let Some(how) = process.try_wait()? {
                return Err(unsupported(format!("its snmpd ended ({how})")));
            }
            if deadline.passed() {
                return Err(unsupported(format!("its snmpd does not answer: {error}")));
            }
            std::thread::sleep(deadline.step(Duration::from_millis(20)));
        }
        Ok(ManagedSwitch { _process: process, agent })
    }
}

fn program() -> Result<&'static Path> {
    let found = PROGRAMS.iter().map(Path::new).find(|program| program.is_file());
    found.ok_or_else(|| unsupported("snmpd is not installed (Debian: snmpd)".into()))
}

fn unsupported(because: String) -> TestbedError {
    TestbedError::Unsupported { what: "SNMP on the lab's switch".into(), because }
}

/// The agent's settings (snmpd.conf(5)): who may read, and who may set how long counters are believed.
fn configuration(access: &SnmpAccess) -> String {
    let reader = match access {
        SnmpAccess::Community(community) => format!("rocommunity {}", quoted(community)),
        SnmpAccess::User { name, authentication: None } => {
            format!("createUser {name}\nrouser {name} noauth")
        }
        SnmpAccess::User { name, authentication: Some(authentication) } => {
            let protocol = match authentication.protocol {
                SnmpAuth::Sha1 => "SHA",
                SnmpAuth::Sha256 => "SHA-256",
            };
            let password = quoted(&authentication.password);
            let (privacy, level) = match &authentication.privacy {
                None => (String::new(), "auth"),
                Some((SnmpPrivacy::Aes128, password)) => (format!(" AES {}", quoted(password)), "priv"),
            };
            format!("createUser {name} {protocol} {password}{privacy}\nrouser {name} {level}")
        }
    };
    format!("{reader}\nrwcommunity {MANAGER} default .1.3.6.1.4.1.8072.1.5\n")
}

/// Refuses words that would end a line of the settings, or a word of it.
fn check(access: &SnmpAccess) -> Result<()> {
    let (name, secrets) = match access {
        SnmpAccess::Community(community) => ("", vec![community]),
        SnmpAccess::User { name, authentication } => {
            let of = authentication.iter();
            let secrets =
                of.flat_map(|it| [Some(&it.password), it.privacy.as_ref().map(|(_, secret)| secret)]);
            (name.as_str(), secrets.flatten().collect())
        }
    };
    let name_is_plain = name.chars().all(|it| it.is_ascii_graphic() && it != '"');
    if name_is_plain && secrets.iter().all(|secret| !secret.reveal().contains(char::is_control)) {
        return Ok(());
    }
    Err(unsupported("its snmpd takes no user with blanks and no secret with line breaks".into()))
}

/// In quotes, as net-snmp reads words with spaces.
fn quoted(secret: &Secret) -> String {
    format!("\"{}\"", secret.reveal().replace('\\', "\\\\").replace('"', "\\\""))
}

fn write_secretly(path: &Path, text: &str) -> Result<()> {
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(TestbedError::io(format!("write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use dunlin_wire::SnmpAuthentication;

    use super::*;

    #[test]
    fn words_that_would_become_settings_of_their_own_are_refused() {
        let community = |text: &str| check(&SnmpAccess::Community(Secret::new(text)));
        assert!(community("with a blank").is_ok() && community("a\nrwcommunity b").is_err());
        let user = |name: &str| check(&SnmpAccess::User { name: name.into(), authentication: None });
        assert!(user("dunlin").is_ok() && user("a b").is_err());
    }

    #[test]
    fn each_way_of_access_is_one_that_snmpd_grants() {
        let granted = |access| configuration(&access).lines().map(str::to_owned).collect::<Vec<_>>();
        let community = granted(SnmpAccess::Community(Secret::new("a \"b\"")));
        assert_eq!(community[0], r#"rocommunity "a \"b\"""#);
        let user = |authentication| granted(SnmpAccess::User { name: "u".into(), authentication });
        assert_eq!(user(None)[..2], ["createUser u", "rouser u noauth"]);
        let authentication = SnmpAuthentication {
            protocol: SnmpAuth::Sha256,
            password: Secret::new("password"),
            privacy: Some((SnmpPrivacy::Aes128, Secret::new("passphrase"))),
        };
        let private = user(Some(authentication));
        assert_eq!(private[0], r#"createUser u SHA-256 "password" AES "passphrase""#);
        assert_eq!(private[1], "rouser u priv");
    }
}
