//! How QEMU is told over what to migrate: capabilities, parameters, credentials and addresses of each transport.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_record::{Transport, TransportKind};
use dunlin_testbed::{Host, Network};
use serde_json::{Value, json};

use crate::certificates::{Certificates, SERVER_NAME};
use crate::{HypervisorError, Result, Side};

/// Capabilities and parameters of a migration, by QEMU's own names.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct MigrationSettings {
    /// On or off.
    pub(super) capabilities: BTreeMap<String, bool>,
    /// Values.
    pub(super) parameters: BTreeMap<String, Value>,
}

impl MigrationSettings {
    /// The arguments of `migrate-set-capabilities`.
    pub(super) fn capabilities_argument(&self) -> Value {
        let each = self.capabilities.iter();
        let all: Vec<Value> =
            each.map(|(name, state)| json!({ "capability": name, "state": state })).collect();
        json!({ "capabilities": all })
    }
}

/// The capabilities and parameters that a transport needs, by QEMU's names.
pub(super) fn settings(transport: &Transport) -> MigrationSettings {
    let mut settings = MigrationSettings::default();
    if let Some(channels) = transport.channels {
        settings.capabilities.insert("multifd".into(), true);
        settings.parameters.insert("multifd-channels".into(), channels.into());
    }
    if let Some(compression) = transport.compression {
        settings.parameters.insert("multifd-compression".into(), compression.name().into());
    }
    settings
}

/// Where a destination is told to listen.
pub(super) fn listening_address(kind: TransportKind, host: &dyn Host) -> Result<String> {
    let address = migration_address(host)?;
    Ok(match kind {
        TransportKind::Tcp | TransportKind::Tls => format!("tcp:{address}:0"),
        TransportKind::Mptcp => format!("tcp:{address}:0,mptcp=on"),
        TransportKind::Unix => {
            let socket = host.scratch().join(format!("migration-{}", dunlin_clock::now_ns()));
            let text = socket.to_str().filter(|text| !text.contains(','));
            format!("unix:{}", text.ok_or_else(|| unsupported_path(&socket))?)
        }
    })
}

/// A host's address on the migration network.
pub(super) fn migration_address(host: &dyn Host) -> Result<Ipv4Addr> {
    host.address(Network::Migration).ok_or_else(|| HypervisorError::Unsupported {
        what: format!("a migration to {}", host.id()),
        because: "its address on the migration network is not known".into(),
    })
}

/// Where the source finds a destination that listens at an address, by what the destination says (`socket-address` of
/// `query-migrate`).
pub(super) fn source_address(kind: TransportKind, listening: &str, answer: &Value) -> Option<String> {
    if kind == TransportKind::Unix {
        return Some(listening.to_owned());
    }
    let port = answer["socket-address"][0]["port"].as_str()?;
    Some(listening.replacen(":0", &format!(":{port}"), 1))
}

/// Credentials of one end of a migration by TLS: files that QEMU reads when it is told to. They go when this is dropped.
pub(super) struct Credentials {
    host: Arc<dyn Host>,
    folder: PathBuf,
    side: Side,
    id: String,
}

impl Credentials {
    /// Writes the files, readable by nobody else, to a folder on the host.
    pub(super) fn write(certificates: &Certificates, side: Side, host: &Arc<dyn Host>) -> Result<Self> {
        let id = format!("tls-{}", dunlin_clock::now_ns());
        let folder = host.scratch().join(&id);
        let credentials = Self { host: Arc::clone(host), folder: folder.clone(), side, id };
        let (certificate, key) = match side {
            Side::Source => &certificates.client,
            Side::Destination => &certificates.server,
        };
        let end = credentials.endpoint();
        for (name, text) in [
            ("ca-cert.pem".to_owned(), &certificates.authority),
            (format!("{end}-cert.pem"), certificate),
            (format!("{end}-key.pem"), key),
        ] {
            host.write_private(&folder.join(name), text.as_bytes())?;
        }
        Ok(credentials)
    }

    /// By which QEMU knows them.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The arguments of `object-add` that make QEMU read them.
    pub(super) fn object(&self) -> Value {
        json!({
            "qom-type": "tls-creds-x509",
            "id": self.id,
            "dir": self.folder.to_string_lossy(),
            "endpoint": self.endpoint(),
            "verify-peer": true,
        })
    }

    /// The parameters that make a migration use them.
    pub(super) fn parameters(&self) -> Vec<(String, Value)> {
        let mut parameters = vec![("tls-creds".to_owned(), self.id.clone().into())];
        if self.side == Side::Source {
            parameters.push(("tls-hostname".into(), SERVER_NAME.into()));
        }
        parameters
    }

    fn endpoint(&self) -> &'static str {
        match self.side {
            Side::Source => "client",
            Side::Destination => "server",
        }
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        // Fails only where they are gone with the host's scratch folder.
        let _ = self.host.remove(&self.folder);
    }
}

fn unsupported_path(path: &Path) -> HypervisorError {
    HypervisorError::Unsupported {
        what: format!("a migration through {}", path.display()),
        because: "QEMU's address syntax cannot carry this path".into(),
    }
}

#[cfg(test)]
mod tests {
    use dunlin_record::ChannelCompression;

    use super::*;

    #[test]
    fn channels_are_multifd() {
        let plain = settings(&Transport::default());
        assert_eq!(plain, MigrationSettings::default());
        let channels = Transport {
            channels: Some(4),
            compression: Some(ChannelCompression::Zstd),
            ..Transport::default()
        };
        let settings = settings(&channels);
        assert!(settings.capabilities["multifd"]);
        assert_eq!(settings.parameters["multifd-channels"], 4);
        assert_eq!(settings.parameters["multifd-compression"], "zstd");
    }

    #[test]
    fn the_source_is_told_the_port_that_the_destination_got() {
        let answer = json!({ "socket-address": [{ "type": "inet", "host": "10.78.0.12", "port": "40003" }] });
        let at = |kind, listening| source_address(kind, listening, &answer).unwrap();
        assert_eq!(at(TransportKind::Tls, "tcp:10.78.0.12:0"), "tcp:10.78.0.12:40003");
        assert_eq!(at(TransportKind::Mptcp, "tcp:10.78.0.12:0,mptcp=on"), "tcp:10.78.0.12:40003,mptcp=on");
        assert_eq!(at(TransportKind::Unix, "unix:/run/a:0/b"), "unix:/run/a:0/b");
        assert_eq!(source_address(TransportKind::Tcp, "tcp:10.78.0.12:0", &json!({})), None);
    }
}
