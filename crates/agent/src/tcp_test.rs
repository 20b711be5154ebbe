//! The responding end of the TCP probes.

use std::net::{Ipv4Addr, SocketAddrV4};

use dunlin_traffic::{TCP_TEST_PORT, TcpResponder};

use crate::console::say;

/// Starts it on a thread of its own. Unlike the UDP echo it gets no priority: it shows what an ordinary service gets.
pub(crate) fn start() -> Result<(), String> {
    let said = |error: std::io::Error| format!("listen on TCP port {TCP_TEST_PORT}: {error}");
    let (responder, end) =
        TcpResponder::listen(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, TCP_TEST_PORT)).map_err(said)?;
    let serve = move || {
        // It ends with the guest.
        let _end = end;
        if let Err(error) = responder.serve() {
            say(&format!("dunlin-agent: TCP port {TCP_TEST_PORT} takes no more connections: {error}"));
        }
    };
    std::thread::Builder::new().name("tcp-test".into()).spawn(serve).map(drop).map_err(said)
}
