//! The nodes as an inventory of hosts, as somebody would write it who has such hosts.

use std::fmt::Write;
use std::path::Path;

use dunlin_testbed::{Host, Network};

use crate::server::Server;

/// The text of an inventory whose client's configuration lies at this path, and whose hosts name this driver, if any.
pub(crate) fn text(servers: &[Server], config: &Path, driver: Option<&str>) -> String {
    let mut text = format!(
        "[vms]\naddresses = \"10.77.0.100-10.77.0.119\"\nprefix = 24\n\n[ssh]\nconfig = {}\n",
        quoted(&config.display().to_string())
    );
    for server in servers {
        let name = quoted(server.name());
        let _ = writeln!(text, "\n[[host]]\nname = {name}\nssh = {name}\nbridge = \"service\"");
        if let Some(driver) = driver {
            let _ = writeln!(text, "driver = {}", quoted(driver));
        }
        let host: &dyn Host = &*server.host;
        for network in Network::USUAL {
            let (address, interface) = (host.address(network), host.interface(network));
            if let Some((address, interface)) = address.zip(interface) {
                let _ = writeln!(text, "\n[host.{network}]\naddress = \"{address}\"");
                let _ = writeln!(text, "interface = {}", quoted(interface));
            }
        }
    }
    text
}

/// A string of TOML's.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
