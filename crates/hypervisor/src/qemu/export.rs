//! The destination's side of disks that move with a VM: exported over NBD by its QEMU.

use dunlin_record::{Blocks, StorageSettings, TransportKind};
use dunlin_testbed::Host;
use serde_json::{Value, json};

use super::transport::migration_address;
use super::vm::{ACT_LIMIT, QemuVm};
use crate::{HypervisorError, Result};

/// The first port tried for NBD (its own, by IANA) and how many more: QEMU does not tell which one it took by itself.
const PORT: u16 = 10_809;
const PORTS_TRIED: u16 = 32;

impl QemuVm {
    /// Lets another host write the disks; says where.
    pub(super) fn export_all(&self, how: &StorageSettings) -> Result<String> {
        let address = self.serve_disks()?;
        for disk in &self.machine.spec.disks {
            let serial = &disk.serial;
            let mut node = serial.clone();
            if how.blocks == Blocks::All {
                // What travels as data and is all zeros becomes a hole again.
                node = taker_of(serial);
                let taker = json!({
                    "driver": "raw", "node-name": node, "file": serial, "discard": "unmap", "detect-zeroes": "unmap"
                });
                self.execute("blockdev-add", taker)?;
                self.state().takers.push(node.clone());
            }
            let export =
                json!({ "type": "nbd", "id": serial, "node-name": node, "name": serial, "writable": true });
            self.execute("block-export-add", export)?;
        }
        Ok(address)
    }

    /// Takes that back: from now on nobody else writes them.
    pub(super) fn withdraw_all(&self) -> Result<()> {
        self.execute_within(ACT_LIMIT, "nbd-server-stop", json!({}))?;
        let takers = self.state().takers.clone();
        for taker in takers {
            self.execute_within(ACT_LIMIT, "blockdev-del", json!({ "node-name": taker }))?;
            self.state().takers.retain(|left| *left != taker);
        }
        Ok(())
    }

    /// Opens the NBD server where it can be reached as the migration itself.
    fn serve_disks(&self) -> Result<String> {
        let mut attempt = 0;
        loop {
            let address = nbd_address(self.transport(), &*self.host, PORT + attempt)?;
            let mut start = json!({ "addr": legacy(&server(self.transport(), &address)) });
            if let Some(id) = self.credentials_id() {
                start["tls-creds"] = id.into();
            }
            match self.execute("nbd-server-start", start) {
                Ok(_) => return Ok(address),
                Err(HypervisorError::Refused { .. }) if attempt < PORTS_TRIED => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// The node that takes a disk's copy where it is not the disk's own.
fn taker_of(serial: &str) -> String {
    format!("{serial}-taken")
}

/// Where a destination serves its disks, as the source is told.
fn nbd_address(kind: TransportKind, host: &dyn Host, port: u16) -> Result<String> {
    Ok(match kind {
        TransportKind::Tcp | TransportKind::Tls | TransportKind::Mptcp => {
            format!("{}:{port}", migration_address(host)?)
        }
        TransportKind::Unix => {
            host.scratch().join(format!("disks-{}", dunlin_clock::now_ns())).display().to_string()
        }
    })
}

/// The same as QEMU's `SocketAddress`.
pub(super) fn server(kind: TransportKind, address: &str) -> Value {
    let inet = |address: &str| {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        json!({ "type": "inet", "host": host, "port": port })
    };
    match kind {
        TransportKind::Tcp | TransportKind::Tls => inet(address),
        TransportKind::Mptcp => {
            let mut server = inet(address);
            server["mptcp"] = true.into();
            server
        }
        TransportKind::Unix => json!({ "type": "unix", "path": address }),
    }
}

/// A `SocketAddress` as a `SocketAddressLegacy`, which `nbd-server-start` takes.
fn legacy(server: &Value) -> Value {
    let mut data = server.clone();
    let kind = data.as_object_mut().and_then(|data| data.remove("type"));
    json!({ "type": kind, "data": data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_told_its_address_in_the_old_way_and_the_client_in_the_new() {
        let inet = server(TransportKind::Mptcp, "10.78.0.12:10809");
        assert_eq!(inet, json!({ "type": "inet", "host": "10.78.0.12", "port": "10809", "mptcp": true }));
        let data = json!({ "host": "10.78.0.12", "port": "10809", "mptcp": true });
        assert_eq!(legacy(&inet), json!({ "type": "inet", "data": data }));
        let unix = server(TransportKind::Unix, "/run/a:b");
        assert_eq!(legacy(&unix), json!({ "type": "unix", "data": { "path": "/run/a:b" } }));
    }
}
