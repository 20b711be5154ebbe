//! A second link between the lab's hosts, past the switch, and what tells MPTCP of it (RFC 8684; ip-mptcp(8)).

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use dunlin_clock::Deadline;

use super::PREFIX;
use super::wiring::{Cable, station};
use crate::local_process::LocalProcess;
use crate::namespace::Namespace;
use crate::netlink::{End, Netlink};
use crate::{Network, Process, Relay, Result, TestbedError};

/// The device of the second link on each host.
pub const SECOND_LINK: &str = "migration-2";
/// The kernel's switch for MPTCP in a namespace.
const ENABLED: &str = "/proc/sys/net/mptcp/enabled";
/// Where the kernel waits for second subflows.
const JOIN_PORT: &str = "4485";
const IP_LIMIT: Duration = Duration::from_secs(10);

/// Fails where MPTCP over two links cannot be had on this machine.
///
/// # Errors
/// Where the kernel does not know MPTCP.
pub fn check_mptcp() -> Result<()> {
    match fs::metadata(ENABLED) {
        Ok(_) => Ok(()),
        Err(_) => Err(unsupported("this kernel does not know it")),
    }
}

/// Lays the link. The hosts are told by their last byte.
pub(super) fn lay(cable: Cable<'_>, hosts: [(&Namespace, u8); 2]) -> Result<Option<Relay>> {
    let end = |(namespace, last): (_, u8)| End {
        namespace,
        device: SECOND_LINK,
        mac: station(4, Network::Migration, last),
    };
    let relay = cable.lay(end(hosts[0]), end(hosts[1]))?;
    for (namespace, last) in hosts {
        let mut netlink = Netlink::open(namespace)?;
        netlink.set_up(SECOND_LINK)?;
        netlink.add_address(SECOND_LINK, address(last), PREFIX, cable.congestion_control)?;
        namespace.run(|| fs::write(ENABLED, "1").map_err(TestbedError::io(format!("write {ENABLED}"))))?;
        ip(namespace, &["mptcp", "limits", "set", "subflow", "1", "add_addr_accepted", "1"])?;
    }
    // One host tells the other of its second address, to which that opens the second subflow, whichever of them opened the
    // first. The kernel itself listens there: QEMU listens at the first address alone, and no longer than it must. If both
    // told, both would open one at once, and where these cross each is one more than the other host takes.
    let (signalling, last) = hosts[1];
    let address = address(last).to_string();
    let endpoint = ["mptcp", "endpoint", "add", &address, "port", JOIN_PORT, "dev", SECOND_LINK, "signal"];
    ip(signalling, &endpoint)?;
    Ok(relay)
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 79, 0, last)
}

/// Runs `ip` in a namespace.
fn ip(namespace: &Namespace, words: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let Ok(child) = namespace.spawn(command) else {
        return Err(unsupported("the program ip is not installed (Debian: iproute2)"));
    };
    match Process::new(LocalProcess::new(child)).wait(Deadline::after(IP_LIMIT))?.as_deref() {
        Some("exit status 0") => Ok(()),
        how => {
            let how = how.unwrap_or("it does not end");
            Err(unsupported(&format!("ip {} failed: {how}", words.join(" "))))
        }
    }
}

fn unsupported(because: &str) -> TestbedError {
    TestbedError::Unsupported { what: "MPTCP over two links".into(), because: because.into() }
}
