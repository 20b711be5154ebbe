//! A web server whose memory grows by call (the Xen paper, section V: apache with `memory_balloon`).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use dunlin_agent_proto::Work;
use dunlin_traffic::{HTTP_PORT, HttpServer, ServerSettings};

use super::is_stopped;
use crate::memory;

/// Memory that calls cannot take: the agent and the kernel go on needing some.
const RESERVE_BYTES: u64 = 16 << 20;
/// How often it is seen whether to stop.
const STOP_STEP: Duration = Duration::from_millis(50);

/// Starts the server on every address of the guest, with so many times 10 MiB allocated and written.
pub(super) fn prepare(increase_calls: u32) -> Result<HttpServer, String> {
    serve(HTTP_PORT, increase_calls)
}

fn serve(port: u16, increase_calls: u32) -> Result<HttpServer, String> {
    let settings = ServerSettings {
        address: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port),
        memory_limit_bytes: memory::read()?.available_bytes.saturating_sub(RESERVE_BYTES),
        increase_calls,
    };
    HttpServer::start(&settings).map_err(|error| format!("serve HTTP on port {port}: {error}"))
}

/// Serves until it is stopped.
pub(super) fn work(server: HttpServer, stop: &AtomicBool) -> Result<Work, String> {
    while !is_stopped(stop) {
        std::thread::sleep(STOP_STEP);
    }
    let served = server.stop().map_err(|last_words| format!("serve HTTP: a thread died: {last_words}"))?;
    Ok(Work::HttpServer {
        answered: served.answered,
        refused: served.refused,
        broken: served.broken,
        held_bytes: served.held_bytes,
        corrupt_pages: served.corrupt_pages,
        wrong_results: served.wrong_results,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_serves_until_it_is_stopped_and_says_what_it_held() {
        let server = serve(0, 2).unwrap();
        let stop = AtomicBool::new(true);
        let Work::HttpServer { answered, held_bytes, corrupt_pages, .. } = work(server, &stop).unwrap()
        else {
            panic!("a server tells of serving");
        };
        assert_eq!((answered, held_bytes, corrupt_pages), (0, 20 << 20, 0));
        let refused = serve(0, u32::MAX / 2).unwrap_err();
        assert!(refused.contains("do not fit into"), "{refused}");
    }
}
