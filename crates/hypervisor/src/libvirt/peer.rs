//! Whether one host's daemon gets at the other's, and at the right one.

use super::features::host_uuid;
use super::hypervisor::LibvirtHypervisor;
use super::same::LOOK_LIMIT;
use super::settings::Connect;
use super::virsh::{SLOW_LIMIT, Virsh};
use crate::{HypervisorError, Obstacle, Result};

/// Whose daemon a URI leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The other host's, or nobody tells.
    Right,
    /// That of the host which asked.
    Own,
    /// That of a host which is neither.
    Third,
    /// Both hosts call themselves the same: libvirt takes them for one.
    Alike,
}

/// What speaks against it, there and on the way back.
pub(super) fn obstacles(from: &LibvirtHypervisor, to: &LibvirtHypervisor) -> Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    for (own, other) in [(from, to), (to, from)] {
        let peer = other.peer_uri()?;
        let virsh = Virsh { host: own.virsh.host.clone(), uri: peer.clone() };
        let (own_id, other_id) = (own.virsh.host.id(), other.virsh.host.id());
        let why = match virsh.say(&["capabilities"], LOOK_LIMIT) {
            Ok(said) => {
                let whose = whose_of(own, other, host_uuid(&said).as_deref())?;
                found.extend(wrong_host(whose, own, other, &peer));
                continue;
            }
            Err(HypervisorError::Testbed(error)) => return Err(error.into()),
            Err(HypervisorError::Refused { description, .. }) => description,
            Err(HypervisorError::Monitor { source, .. }) => source.to_string(),
            Err(error) => error.to_string(),
        };
        let (key, connect) = (other.peer_key(), own.settings.connect);
        found.push(Obstacle {
            what: format!("{own_id} does not reach libvirt at {peer}: {why}"),
            mend: remedy(key, connect, own_id.as_str(), other_id.as_str()),
        });
    }
    Ok(found)
}

fn whose_of(own: &LibvirtHypervisor, other: &LibvirtHypervisor, answered: Option<&str>) -> Result<Whose> {
    let known = |features: &super::features::Features| features.host_uuid.clone();
    if whose(answered, known(&own.features).as_deref(), known(&other.features).as_deref()) == Whose::Right {
        return Ok(Whose::Right);
    }
    // A host whose firmware tells no UUID gives itself another one at each start of its daemon.
    let now = |virsh: &Virsh| -> Result<Option<String>> {
        Ok(host_uuid(&virsh.say(&["capabilities"], SLOW_LIMIT)?))
    };
    Ok(whose(answered, now(&own.virsh)?.as_deref(), now(&other.virsh)?.as_deref()))
}

fn whose(answered: Option<&str>, own: Option<&str>, other: Option<&str>) -> Whose {
    let (Some(answered), Some(other)) = (answered, other) else { return Whose::Right };
    match (answered == other, own == Some(answered)) {
        (true, true) => Whose::Alike,
        (true, false) => Whose::Right,
        (false, true) => Whose::Own,
        (false, false) => Whose::Third,
    }
}

fn wrong_host(
    whose: Whose,
    own: &LibvirtHypervisor,
    other: &LibvirtHypervisor,
    peer: &str,
) -> Option<Obstacle> {
    let (here, there) = (own.virsh.host.id(), other.virsh.host.id());
    let what = match whose {
        Whose::Right => return None,
        Whose::Own => format!("{peer}, asked on {here}, leads back to {here} instead of {there}"),
        Whose::Third => format!("{peer}, asked on {here}, leads to another host than {there}"),
        Whose::Alike => {
            let what =
                format!("{here} and {there} have the same host UUID, so that libvirt takes them for one");
            let mend = "give one of them another (host_uuid in /etc/libvirt/libvirtd.conf, or virtqemud.conf), and \
                        restart its daemon";
            return Some(Obstacle { what, mend: mend.into() });
        }
    };
    let mend = match other.peer_key() {
        Some(key) => format!("let {key} of the scenario lead to {there}"),
        None => format!(
            "it is made of the address of {there} in the inventory: correct that, or name {} in the scenario",
            other.peer_key_name()
        ),
    };
    Some(Obstacle { what, mend })
}

/// What may mend a connection that is not made. A URI that the scenario names is the first thing to be doubted.
fn remedy(key: Option<&str>, connect: Connect, here: &str, there: &str) -> String {
    if let Some(key) = key {
        return format!(
            "look at {key} of the scenario, which names that URI; `virsh -c URI list` on {here} must work without a question"
        );
    }
    let hint = match connect {
        Connect::Ssh => format!("let root of {here} log in to {there} by a key, and know its host key"),
        Connect::Tls => format!(
            "give both certificates (see libvirt's \"TLS certificates\"), and let {there} listen for TLS"
        ),
        Connect::Tcp => format!("let libvirtd of {there} listen (libvirtd-tcp.socket, auth_tcp)"),
    };
    format!(
        "{hint}; `virsh -c URI list` on {here} must work without a question; another URI is named by libvirt.source_uri and \
         libvirt.destination_uri"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_that_leads_to_another_host_is_known_by_its_uuid() {
        assert_eq!(whose(Some("b"), Some("a"), Some("b")), Whose::Right);
        assert_eq!(whose(Some("a"), Some("a"), Some("b")), Whose::Own);
        assert_eq!(whose(Some("c"), Some("a"), Some("b")), Whose::Third);
        assert_eq!(whose(Some("c"), None, Some("b")), Whose::Third);
        assert_eq!(whose(Some("a"), Some("a"), Some("a")), Whose::Alike);
        for (answered, other) in [(None, Some("b")), (Some("a"), None), (None, None)] {
            assert_eq!(
                whose(answered, Some("a"), other),
                Whose::Right,
                "what is not told is not held against it"
            );
        }
    }

    #[test]
    fn a_uri_of_the_scenarios_is_doubted_first() {
        let named = remedy(Some("libvirt.destination_uri"), Connect::Ssh, "host-a", "host-b");
        assert!(named.starts_with("look at libvirt.destination_uri"), "{named}");
        let made = remedy(None, Connect::Ssh, "host-a", "host-b");
        assert!(made.starts_with("let root of host-a log in to host-b"), "{made}");
        assert!(remedy(None, Connect::Tcp, "host-a", "host-b").contains("auth_tcp"));
    }
}
