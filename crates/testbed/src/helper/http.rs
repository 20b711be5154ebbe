//! The bench's side of web pages on a helper's host: served there, and asked for from there.

use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dunlin_probe::LoadSummary;
use dunlin_traffic::{LoadSpec, Served, ServerSettings};

use super::protocol::{Ask, Tell};
use super::{Helper, HelperTask, START_LIMIT};
use crate::Result;

/// How long 10 MiB may take to be written on a busy machine.
const INCREASE_LIMIT: Duration = Duration::from_millis(100);

/// A load on a helper's host. It ends by [`Helper::stop_load`], or with its helper.
#[derive(Debug)]
pub struct HostLoad {
    task: HelperTask,
    /// How long answers took, which is told at its end.
    responses_ns: Arc<Mutex<Vec<i64>>>,
}

impl Helper {
    /// Serves the guests' web pages on the host; says at which address. Port 0 takes a free one. It ends by
    /// [`Self::stop_http`].
    ///
    /// # Errors
    /// Where the helper cannot.
    pub fn serve_http(&self, settings: &ServerSettings) -> Result<(HelperTask, SocketAddrV4)> {
        let ServerSettings { address, memory_limit_bytes, increase_calls } = *settings;
        let pending =
            self.ask(Ask::HttpServer { bind: address, memory_limit_bytes, increase_calls }, None)?;
        let limit = START_LIMIT + INCREASE_LIMIT * increase_calls;
        match pending.next("a web server", limit)? {
            Tell::Listening { at } => Ok((pending.keep(), at)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Ends a web server, and says what it did.
    ///
    /// # Errors
    /// Where one of its threads had died, or it does not end within `limit`.
    pub fn stop_http(&self, task: HelperTask, limit: Duration) -> Result<Served> {
        match self.end(task, "the end of a web server", limit)? {
            Tell::Served { answered, refused, broken, held_bytes, corrupt_pages, wrong_results } => {
                Ok(Served { answered, refused, broken, held_bytes, corrupt_pages, wrong_results })
            }
            other => Err(self.unexpected(&other)),
        }
    }

    /// Asks for a page from the host again and again: see [`dunlin_probe::start_load`].
    ///
    /// # Errors
    /// Where the helper cannot.
    pub fn load_http(&self, spec: &LoadSpec) -> Result<HostLoad> {
        let responses_ns = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&responses_ns);
        let sink = move |more: &[i64]| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(more);
        };
        let LoadSpec { target, path, interval_ns } = spec.clone();
        let task = self.begin(Ask::HttpLoad { target, path, interval_ns }, Some(Box::new(sink)))?;
        Ok(HostLoad { task, responses_ns })
    }

    /// Ends a load; where it `waits`, answers are taken for as long as any can come, which is some 5 s.
    ///
    /// # Errors
    /// Where it does not end within `limit`.
    pub fn stop_load(&self, load: &HostLoad, waits: bool, limit: Duration) -> Result<LoadSummary> {
        let HelperTask(task) = load.task;
        let ended = self.ask(Ask::EndLoad { task, waits }, None)?.next("the end of a load", limit);
        self.routes.close(task);
        match ended? {
            Tell::Loaded { requests, failed, cpu_busy_ns, cpu_all_ns } => {
                let responses_ns =
                    std::mem::take(&mut *load.responses_ns.lock().unwrap_or_else(PoisonError::into_inner));
                Ok(LoadSummary { requests, failed, responses_ns, cpu_busy_ns, cpu_all_ns })
            }
            other => Err(self.unexpected(&other)),
        }
    }
}
