//! What a helper says on its way to whoever asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::process::ChildStdout;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dunlin_clock::now_ns;
use dunlin_wire::RowSink;

use super::protocol::{GREETING, GREETING_BYTES, Report, Tell, VERSION, read_frame};

/// Who is told what the helper reports about a request.
#[derive(Clone, Default)]
pub(super) struct Routes(Arc<Mutex<RouteTable>>);

#[derive(Default)]
struct RouteTable {
    open: HashMap<u32, Route>,
    ended: Option<String>,
    /// When something was told last, by the bench's clock; absent: nothing yet.
    told_ns: Option<i64>,
}

struct Route {
    replies: Sender<Tell>,
    sink: Option<RowSink>,
}

impl Routes {
    fn table(&self) -> MutexGuard<'_, RouteTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a route for a request; fails with the reason if no more reports will come.
    pub(super) fn open(&self, id: u32, sink: Option<RowSink>) -> Result<Receiver<Tell>, String> {
        let mut table = self.table();
        if let Some(why) = &table.ended {
            return Err(why.clone());
        }
        let (replies, reports) = channel();
        table.open.insert(id, Route { replies, sink });
        Ok(reports)
    }

    pub(super) fn close(&self, id: u32) {
        self.table().open.remove(&id);
    }

    fn pass_on(&self, Report { id, tell }: Report) {
        // A report about a closed route came too late for whoever gave up waiting.
        let mut table = self.table();
        table.told_ns = Some(now_ns());
        let Some(route) = table.open.get_mut(&id) else { return };
        match (tell, &mut route.sink) {
            (Tell::Rows(rows), Some(sink)) => sink(&rows),
            (tell, _) => drop(route.replies.send(tell)),
        }
    }

    /// No more reports will come: whoever waits for one learns why.
    pub(super) fn end(&self, why: String) {
        let mut table = self.table();
        table.ended.get_or_insert(why);
        table.open.clear();
    }

    /// Why no more reports will come; absent as long as some may.
    pub(super) fn has_ended(&self) -> Option<String> {
        self.table().ended.clone()
    }

    /// When something was told last; absent: nothing yet.
    pub(super) fn told_ns(&self) -> Option<i64> {
        self.table().told_ns
    }

    pub(super) fn why_ended(&self) -> String {
        self.table().ended.clone().unwrap_or_else(|| "it ended, or the connection to it was lost".into())
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").finish_non_exhaustive()
    }
}

/// Reads all that a helper says, and passes it on.
pub(super) fn read_reports(reports: ChildStdout, routes: &Routes) {
    let mut reports = BufReader::new(reports);
    if let Err(why) = read_greeting(&mut reports) {
        return routes.end(why);
    }
    let why = loop {
        match read_frame(&mut reports) {
            Ok(Some(report)) => routes.pass_on(report),
            Ok(None) => break "it ended, or the connection to it was lost".to_owned(),
            Err(error) => break format!("what it says cannot be read: {error}"),
        }
    };
    routes.end(why);
}

/// Refuses another version, and whatever is no helper of ours.
fn read_greeting(reports: &mut impl BufRead) -> Result<(), String> {
    let mut line = Vec::new();
    let read = reports.by_ref().take(GREETING_BYTES).read_until(b'\n', &mut line);
    if !read.is_ok_and(|length| length > 0) {
        return Err("it ended".into());
    }
    let line = String::from_utf8_lossy(&line);
    match line.strip_prefix(GREETING).and_then(|version| version.trim_end().parse::<u32>().ok()) {
        Some(VERSION) => Ok(()),
        Some(other) => Err(format!(
            "it speaks version {other} of the helper's protocol, this dunlin speaks {VERSION}: put the same dunlin on all \
             hosts"
        )),
        None => Err(format!("what answers there is no helper of dunlin's: {:?}", line.trim_end())),
    }
}
