//! The responding end of the TCP probes between hosts.

use std::io;
use std::net::SocketAddrV4;
use std::thread::{Builder, JoinHandle};

use dunlin_traffic::{ResponderEnd, TcpResponder};

/// A running responder. Dropping it ends it with all its connections.
pub(super) struct Responder {
    end: Option<ResponderEnd>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Responder {
    /// Starts to listen; says at which address.
    pub(super) fn start(bind: SocketAddrV4) -> io::Result<(Self, SocketAddrV4)> {
        let (responder, end) = TcpResponder::listen(bind)?;
        let at = responder.address();
        let thread = Builder::new().name("tcp-responder".into()).spawn(|| responder.serve())?;
        Ok((Self { end: Some(end), thread: Some(thread) }, at))
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // Why it took no more connections shows at the end that measures.
            let _ = thread.join();
        }
    }
}
