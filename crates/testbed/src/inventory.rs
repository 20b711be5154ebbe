//! What an inventory says: real hosts reached through ssh, and what of their networks is known.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use dunlin_record::HostId;

use crate::Network;

/// Real hosts, as a user describes them in a file. Whoever makes one answers for what the fields ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Where the bench stands.
    pub bench: BenchPlace,
    /// What our guests get for addresses; absent: none.
    pub vm_addresses: Option<VmAddresses>,
    /// The configuration of ssh (`ssh -F`); absent: the user's own.
    pub ssh_config: Option<PathBuf>,
    /// The hosts in the order of the file: two at least, their names and their addresses each host's own, one of them a
    /// source and another a destination.
    pub hosts: Vec<InventoryHost>,
}

/// On which machine `dunlin` itself runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BenchPlace {
    /// On one that is none of the hosts.
    Apart,
    /// On that of one of the hosts.
    OnHost(HostId),
}

/// A range of IPv4 addresses in one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmAddresses {
    /// The first VM's.
    pub first: Ipv4Addr,
    /// The last there is, not below the first.
    pub last: Ipv4Addr,
    /// Length of the service network's prefix, the same for both.
    pub prefix: u8,
}

/// A host of an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryHost {
    /// Its name, which is safe in the name of a file.
    pub name: HostId,
    /// Where ssh finds it, as ssh(1) takes a destination. Begins with no `-`, and has neither spaces nor control characters.
    pub ssh: String,
    /// The driver of the hypervisor that it has; absent: any.
    pub driver: Option<String>,
    /// Whether our helper is run by `sudo -n`.
    pub sudo: bool,
    /// In which folder of the host the helper's own is made: an absolute path that means nothing but itself to a shell.
    pub folder: PathBuf,
    /// Whether VMs may move from it.
    pub source: bool,
    /// Whether VMs may move to it.
    pub destination: bool,
    /// The bridge that the taps of our VMs join; absent: none are made there.
    pub bridge: Option<String>,
    /// Where it has storage that other hosts have too; absent: nowhere.
    pub shared: Option<PathBuf>,
    /// How it is in the service network; absent: not, as far as is known.
    pub service: Option<Attachment>,
    /// How it is in the migration network; absent: not, as far as is known.
    pub migration: Option<Attachment>,
}

/// How a host is in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its address there.
    pub address: Ipv4Addr,
    /// The device through which it is there; absent: not known.
    pub interface: Option<String>,
    /// What the switch calls its port to it (`ifName`); absent: not known.
    pub port: Option<String>,
}

impl Inventory {
    /// The first host that VMs may move from, and the first other that they may move to.
    #[must_use]
    pub fn route(&self) -> Option<(&InventoryHost, &InventoryHost)> {
        let to =
            |from: &InventoryHost| self.hosts.iter().find(|host| host.destination && host.name != from.name);
        self.hosts.iter().filter(|host| host.source).find_map(|from| Some((from, to(from)?)))
    }
}

impl VmAddresses {
    /// That of the VM with this number, from 0; absent where there are not so many.
    #[must_use]
    pub fn get(&self, number: u8) -> Option<Ipv4Addr> {
        let address = Ipv4Addr::from(u32::from(self.first).checked_add(number.into())?);
        (address <= self.last).then_some(address)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::from(self.last).saturating_sub(self.first.into()).saturating_add(1)
    }
}

impl InventoryHost {
    /// How it is in a network.
    #[must_use]
    pub fn attachment(&self, network: Network) -> Option<&Attachment> {
        match network {
            Network::Service => self.service.as_ref(),
            Network::Migration => self.migration.as_ref(),
            // Whoever serves storage to real hosts is none of the inventory's, nor is the network to it.
            Network::Storage => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, source: bool, destination: bool) -> InventoryHost {
        InventoryHost {
            name: HostId::new(name),
            ssh: name.into(),
            driver: None,
            sudo: false,
            folder: "/var/tmp".into(),
            source,
            destination,
            bridge: None,
            shared: None,
            service: None,
            migration: None,
        }
    }

    #[test]
    fn vms_move_from_the_first_source_to_the_first_other_destination() {
        let route = |hosts: &[InventoryHost]| {
            let inventory = Inventory {
                bench: BenchPlace::Apart,
                vm_addresses: None,
                ssh_config: None,
                hosts: hosts.to_vec(),
            };
            inventory.route().map(|(from, to)| format!("{} {}", from.name, to.name))
        };
        let both = host("both", true, true);
        let (source, destination) = (host("source", true, false), host("destination", false, true));
        assert_eq!(route(&[both.clone(), source.clone(), destination.clone()]).unwrap(), "both destination");
        assert_eq!(route(&[destination.clone(), both.clone()]).unwrap(), "both destination");
        assert_eq!(
            route(&[both.clone(), source.clone()]).unwrap(),
            "source both",
            "the first has nowhere to go"
        );
        assert_eq!(route(&[source.clone(), source]), None);
        assert_eq!(route(&[destination, both.clone()]).unwrap(), "both destination");
        assert_eq!(route(&[both]), None);
    }

    #[test]
    fn each_vm_has_an_address_while_there_are_some() {
        let range = VmAddresses { first: [192, 0, 2, 254].into(), last: [192, 0, 3, 1].into(), prefix: 22 };
        assert_eq!(range.count(), 4);
        assert_eq!(range.get(0), Some([192, 0, 2, 254].into()));
        assert_eq!(range.get(3), Some([192, 0, 3, 1].into()));
        assert_eq!(range.get(4), None);
        let end = VmAddresses { first: Ipv4Addr::BROADCAST, last: Ipv4Addr::BROADCAST, prefix: 1 };
        assert_eq!(end.get(1), None);
    }
}
