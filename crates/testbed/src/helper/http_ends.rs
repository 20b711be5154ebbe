//! The helper's own side of web pages: a server and loads on its host. What may take long is done on threads of their own, as
//! a helper that hears nothing for long takes the bench for gone.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dunlin_probe::RunningLoad;
use dunlin_traffic::{HttpServer, Served, ServerSettings};
use dunlin_wire::RowSink;

use super::protocol::Tell;
use super::serve::Output;

/// How many answers' times are told at once.
const BATCH: usize = 1 << 16;

/// A server of the guests' web pages. Dropping it ends it.
pub(super) struct PageServer(Arc<Mutex<Option<HttpServer>>>);

impl PageServer {
    /// Starts one, and tells where it listens once it does: what it is to hold is written before.
    pub(super) fn start(id: u32, settings: ServerSettings, output: &Output) -> io::Result<Self> {
        let server = Arc::new(Mutex::new(None));
        let place = Arc::downgrade(&server);
        output.tell_later(id, move || {
            let running = HttpServer::start(&settings)?;
            let at = running.address();
            // Nobody may want it any more.
            let place = place.upgrade().ok_or(io::ErrorKind::Interrupted)?;
            *lock(&place) = Some(running);
            Ok(Tell::Listening { at })
        })?;
        Ok(Self(server))
    }

    /// Ends it, and tells what it did.
    pub(super) fn end(self, id: u32, output: &Output) -> io::Result<()> {
        let server = lock(&self.0).take();
        output.tell_later(id, move || {
            let server = server.ok_or_else(|| io::Error::other("it does not serve"))?;
            let Served { answered, refused, broken, held_bytes, corrupt_pages, wrong_results } =
                server.stop().map_err(|words| io::Error::other(format!("the server died: {words}")))?;
            Ok(Tell::Served { answered, refused, broken, held_bytes, corrupt_pages, wrong_results })
        })
    }
}

/// Ends a load, and tells what it came to: first how long the answers took, to the sink.
pub(super) fn end_load(
    id: u32,
    load: RunningLoad,
    waits: bool,
    mut sink: RowSink,
    output: &Output,
) -> io::Result<()> {
    output.tell_later(id, move || {
        let summary = load.stop(waits);
        summary.responses_ns.chunks(BATCH).for_each(&mut sink);
        Ok(Tell::Loaded {
            requests: summary.requests,
            failed: summary.failed,
            cpu_busy_ns: summary.cpu_busy_ns,
            cpu_all_ns: summary.cpu_all_ns,
        })
    })
}

/// A thread that panicked while holding the lock leaves nothing half-done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
