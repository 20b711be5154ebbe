//! The client's side: configurations for `ssh -F`, one that is right and others that are each wrong in one thing.

use std::fs;
use std::path::{Path, PathBuf};

use dunlin_testbed::Network;

use crate::key::Key;
use crate::server::{ORDINARY, SUDOER, Server};
use crate::{Result, SshNodesError};

/// Where nobody is, on the service network.
const NOBODY: &str = "10.77.0.250";

/// What a client knows of the nodes. Each is a configuration of its own, in which a node has its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// It has the key that nodes know, knows their keys, and reaches them over the service network.
    Right,
    /// The same over the migration network.
    OverMigration,
    /// As the right one, but it comes as [`SUDOER`] instead of root.
    AsSudoer,
    /// As the right one, but it comes as [`ORDINARY`] instead of root.
    AsOrdinary,
    /// Its key is one that no node knows.
    WrongKey,
    /// It knows no node's key.
    UnknownHost,
    /// It knows other keys of the nodes than they have, as when a host was installed anew, or is an impostor.
    ChangedHost,
    /// It looks for the nodes where nobody answers.
    NobodyThere,
}

impl Client {
    const ALL: [Self; 8] = [
        Self::Right,
        Self::OverMigration,
        Self::AsSudoer,
        Self::AsOrdinary,
        Self::WrongKey,
        Self::UnknownHost,
        Self::ChangedHost,
        Self::NobodyThere,
    ];

    /// Where its configuration lies.
    pub(crate) fn config(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            Self::Right => "ssh_config",
            Self::OverMigration => "ssh_config-over-migration",
            Self::AsSudoer => "ssh_config-as-sudoer",
            Self::AsOrdinary => "ssh_config-as-ordinary",
            Self::WrongKey => "ssh_config-wrong-key",
            Self::UnknownHost => "ssh_config-unknown-host",
            Self::ChangedHost => "ssh_config-changed-host",
            Self::NobodyThere => "ssh_config-nobody-there",
        })
    }
}

/// Writes all configurations to a folder.
pub(crate) fn write_configs(folder: &Path, servers: &[Server], key: &Key) -> Result<()> {
    let other = Key::make(folder, "other")?;
    let known = |key_of: &dyn Fn(&Server) -> String| {
        let line = |server: &Server| {
            let [service, migration] = Network::USUAL.map(|network| server.host.address(network));
            format!("{},{service},{migration} {}\n", server.name(), key_of(server))
        };
        servers.iter().map(line).collect::<String>()
    };
    let right = write(folder, "known_hosts", &known(&|server| server.key.public.clone()))?;
    let changed = write(folder, "known_hosts-changed", &known(&|_| other.public.clone()))?;
    let none = write(folder, "known_hosts-none", "")?;
    for client in Client::ALL {
        let identity = if client == Client::WrongKey { &other } else { key };
        let known_hosts = match client {
            Client::UnknownHost => &none,
            Client::ChangedHost => &changed,
            _ => &right,
        };
        let address = |server: &Server| match client {
            Client::NobodyThere => NOBODY.to_owned(),
            Client::OverMigration => server.host.address(Network::Migration).to_string(),
            _ => server.host.address(Network::Service).to_string(),
        };
        let mut text: String = servers
            .iter()
            .map(|server| format!("Host {}\n    HostName {}\n", server.name(), address(server)))
            .collect();
        let user = match client {
            Client::AsSudoer => SUDOER,
            Client::AsOrdinary => ORDINARY,
            _ => "root",
        };
        text.push_str(&all_hosts(user, &identity.path, known_hosts));
        write_file(&client.config(folder), &text)?;
    }
    Ok(())
}

/// What holds of all hosts. Where ssh is given a configuration it reads neither the user's nor the machine's.
fn all_hosts(user: &str, identity: &Path, known_hosts: &Path) -> String {
    format!(
        "Host *\n    User {user}\n    IdentityFile {}\n    IdentitiesOnly yes\n    IdentityAgent none\n    \
         UserKnownHostsFile {}\n    GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n",
        identity.display(),
        known_hosts.display()
    )
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    write_file(&path, text)?;
    Ok(path)
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(SshNodesError::io(format!("write {}", path.display())))
}
