//! Makes a bare kernel a guest: file systems, drivers, settings, the address.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use dunlin_agent_proto::{ADDRESS_ARGUMENT, Network};

use crate::console::Troubles;
use crate::{network, sys};

/// The names of the modules' files in the order to load them, one a line; written by the image's builder.
const MODULES_ORDER: &str = "/modules/order";

/// Kernel settings: room for the packets that pile up while the VM is moved and arrive at once.
const SETTINGS: [(&str, &str); 2] =
    [("/proc/sys/net/core/netdev_max_backlog", "20000"), ("/proc/sys/kernel/printk_ratelimit", "0")];

/// Mounts the kernel's file systems, loads the drivers and sets what is to be set.
pub(crate) fn prepare(troubles: &mut Troubles) {
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        troubles.note(mount(kind, target));
    }
    let order = fs::read_to_string(MODULES_ORDER).unwrap_or_default();
    for name in order.lines() {
        troubles.note(load_module(&Path::new("/modules").join(name)));
    }
    for (path, value) in SETTINGS {
        troubles.note(fs::write(path, value).map_err(|error| format!("set {path}: {error}")));
    }
}

/// Brings up the loopback interface, and the card with the address on the kernel's command line if there is one.
pub(crate) fn configure_network(troubles: &mut Troubles) {
    troubles.note(network::bring_up("lo"));
    match fs::read_to_string("/proc/cmdline") {
        Ok(line) => match address_argument(&line) {
            Some(Ok(address)) => troubles.note(network::configure(&address)),
            Some(Err(trouble)) => troubles.note(Err(trouble)),
            None => {}
        },
        Err(error) => troubles.note(Err(format!("read the kernel's command line: {error}"))),
    }
}

fn mount(kind: &str, target: &str) -> Result<(), String> {
    let said = |error: std::io::Error| format!("mount {kind} on {target}: {error}");
    fs::create_dir_all(target).map_err(said)?;
    match sys::mount(Path::new(kind), kind, target) {
        // Some kernels mount devtmpfs themselves.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        outcome => outcome.map_err(said),
    }
}

fn load_module(path: &Path) -> Result<(), String> {
    let outcome = fs::File::open(path).and_then(|file| sys::load_module(&file));
    outcome.map_err(|error| format!("load the module {}: {error}", path.display()))
}

/// The address given on a kernel's command line; `None` if none is.
fn address_argument(line: &str) -> Option<Result<Network, String>> {
    let value =
        line.split_whitespace().find_map(|word| word.strip_prefix(ADDRESS_ARGUMENT)?.strip_prefix('='))?;
    let parsed = value.split_once('/').and_then(|(address, prefix)| {
        let address: Ipv4Addr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        Some(Network { address, prefix, neighbours: Vec::new() })
    });
    Some(parsed.ok_or_else(|| format!("{ADDRESS_ARGUMENT}={value}: expected an address like 10.77.0.10/24")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_among_the_kernels_words() {
        let network = address_argument("quiet dunlin.address=10.77.0.10/24 panic=-1\n").unwrap().unwrap();
        assert_eq!(network.address, Ipv4Addr::new(10, 77, 0, 10));
        assert_eq!(network.prefix, 24);
        assert_eq!(address_argument("quiet dunlin.addresses=1"), None);
    }

    #[test]
    fn a_wrong_address_is_named() {
        for wrong in ["10.77.0.10", "10.77.0/24", "10.77.0.10/x", ""] {
            let said = address_argument(&format!("dunlin.address={wrong}")).unwrap().unwrap_err();
            assert!(said.contains(&format!("={wrong}:")), "{said}");
        }
    }
}
