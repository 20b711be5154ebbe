//! Addresses as arguments.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Where a server listens. Nobody but this machine reaches it unless that is asked for.
#[derive(clap::Args)]
pub(crate) struct Bind {
    /// The address to serve on, as in 10.0.0.1; 0.0.0.0 for all of this machine's
    #[arg(long, value_name = "ADDRESS", default_value_t = Ipv4Addr::LOCALHOST)]
    bind: Ipv4Addr,
}

impl Bind {
    pub(crate) fn with_port(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.bind, port)
    }
}

/// What a server says once it listens.
pub(crate) fn serving(address: SocketAddrV4) -> String {
    let to_whom = if address.ip().is_loopback() { ", for this machine alone (see --bind)" } else { "" };
    format!("serving on {address}{to_whom}, until Ctrl-C")
}

/// An address, with a port of its own where it names none.
pub(crate) fn with_port<const PORT: u16>(text: &str) -> Result<SocketAddrV4, String> {
    let without_port = || text.parse().map(|address| SocketAddrV4::new(address, PORT));
    text.parse()
        .or_else(|_| without_port())
        .map_err(|_| format!("expected an address as in 10.0.0.1 or 10.0.0.1:{PORT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_with_or_without_a_port() {
        assert_eq!(with_port::<8080>("10.0.0.1").map(|at| at.port()), Ok(8080));
        assert_eq!(with_port::<8080>("10.0.0.1:81").map(|at| at.port()), Ok(81));
        assert!(with_port::<8080>("localhost").unwrap_err().contains(":8080"));
    }
}
