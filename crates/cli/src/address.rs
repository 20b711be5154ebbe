//! Addresses as arguments.

use std::net::SocketAddrV4;

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
