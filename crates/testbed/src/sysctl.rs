//! The kernel's network settings of one namespace.

use std::fs;
use std::io;
use std::path::Path;

use crate::namespace::Namespace;
use crate::{Result, TestbedError};

/// The congestion control of the lab, as on most machines; some kernels default to BBR.
const CONGESTION_CONTROL: &str = "cubic";

/// What every namespace of the lab is set to, below `/proc/sys/net`.
const SETTINGS: [(&str, &str); 8] = [
    // Only IPv4 is measured; router solicitations and duplicate address detection would be noise on the wire.
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    // A new namespace may inherit these from the machine.
    ("ipv4/ip_forward", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // A trial must not start with what the kernel learned about the path in the one before.
    ("ipv4/tcp_no_metrics_save", "1"),
    // Room for 10 Gbit/s over 20 ms.
    ("ipv4/tcp_rmem", "4096 131072 33554432"),
    ("ipv4/tcp_wmem", "4096 65536 33554432"),
];

/// Settles a namespace.
pub(crate) fn settle(namespace: &Namespace) -> Result<()> {
    namespace.run(|| {
        for (name, value) in SETTINGS {
            match fs::write(path(name), value) {
                Ok(()) => {}
                // A kernel without IPv6 has nothing to disable.
                Err(error) if error.kind() == io::ErrorKind::NotFound && name.starts_with("ipv6/") => {}
                Err(error) => {
                    return Err(TestbedError::io(format!("set {name} in {}", namespace.name()))(error));
                }
            }
        }
        Ok(())
    })
}

/// The congestion control that the lab can have: cubic, or else this kernel's default.
pub(crate) fn congestion_control() -> Result<String> {
    let read = |name| {
        let path = path(name);
        fs::read_to_string(&path).map_err(TestbedError::io(format!("read {}", path.display())))
    };
    let available = read("ipv4/tcp_available_congestion_control")?;
    if available.split_whitespace().any(|name| name == CONGESTION_CONTROL) {
        return Ok(CONGESTION_CONTROL.to_owned());
    }
    Ok(read("ipv4/tcp_congestion_control")?.trim().to_owned())
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new("/proc/sys/net").join(name)
}
