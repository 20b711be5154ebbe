//! The bench's side of what a helper does for its machine: questions with one answer, conversations with several.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, TryLockError};
use std::thread::Builder;
use std::time::Duration;

use dunlin_clock::{Deadline, now_ns};

use super::host_protocol::{HostAsk, HostTell};
use super::protocol::{Ask, Request, Tell, write_frame};
use super::routes::Routes;
use super::{END_LIMIT, END_STEP, Helper, READ_LIMIT};
use crate::{Result, TestbedError};

/// How often a helper hears of us at least.
const BEAT_EVERY: Duration = Duration::from_secs(1);

impl Helper {
    /// Asks for something that is answered once.
    pub(crate) fn for_host(&self, ask: HostAsk, what: &str, limit: Duration) -> Result<HostTell> {
        self.converse(ask)?.next(self, what, limit)
    }

    /// Asks for something that is answered more than once. What is told after the conversation is dropped is nobody's.
    pub(crate) fn converse(&self, ask: HostAsk) -> Result<Conversation> {
        let conversation = self.listen_for()?;
        self.write(conversation.id, Ask::Host(ask))?;
        Ok(conversation)
    }

    /// A conversation about which something will be told because of another request, in which it is named.
    pub(crate) fn listen_for(&self) -> Result<Conversation> {
        let id = self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let reports = self.routes.open(id, None).map_err(|why| self.failed(why))?;
        Ok(Conversation { id, reports, routes: self.routes.clone() })
    }

    /// Says something that is not answered.
    pub(crate) fn say(&self, ask: HostAsk) -> Result<()> {
        let id = self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.write(id, Ask::Host(ask))
    }

    /// Whether more can be asked of it.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.why_ended().is_none()
    }

    /// Why no more can be asked of it; absent while it is well.
    pub(crate) fn why_ended(&self) -> Option<String> {
        // Without waiting for a request that it does not read.
        self.routes.has_ended().or_else(|| {
            let is_closed = match self.requests.try_lock() {
                Ok(requests) => requests.is_none(),
                // Whoever writes just now finds out.
                Err(_) => false,
            };
            is_closed.then(|| "it takes no more requests".into())
        })
    }

    /// Ends it, whoever else has it, and waits a little for its end.
    pub(crate) fn hang_up(&self) {
        let deadline = Deadline::after(END_LIMIT);
        match self.requests.try_lock() {
            Ok(mut requests) => *requests = None,
            Err(TryLockError::Poisoned(poisoned)) => *poisoned.into_inner() = None,
            // It does not read what is written just now: it hangs.
            Err(TryLockError::WouldBlock) => return,
        }
        while self.routes.has_ended().is_none() && !deadline.passed() {
            std::thread::sleep(deadline.step(END_STEP));
        }
    }

    /// Takes it for lost if nothing at all was told for so long; whoever waits for it learns of that. Something must have
    /// been asked all the time.
    pub(crate) fn give_up_after(&self, limit: Duration) {
        let silent_ns = self.routes.told_ns().map_or(0, |told_ns| now_ns() - told_ns);
        if u128::try_from(silent_ns).is_ok_and(|ns| ns > limit.as_nanos()) {
            self.routes.end(format!("nothing was heard of it for {} s", limit.as_secs()));
            // It hears nothing of us any more either, and ends. Whoever is stuck writing to it gives up by itself.
            if let Ok(mut requests) = self.requests.try_lock() {
                *requests = None;
            }
        }
    }

    /// Lets it hear of us again and again, as one wants that ends by itself when it does not.
    pub(crate) fn keep_alive(&self) -> Result<()> {
        let requests = Arc::clone(&self.requests);
        let beat = move || loop {
            std::thread::sleep(BEAT_EVERY);
            let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(pipe) = requests.as_mut() else { return };
            if write_frame(&mut pipe.within(READ_LIMIT), &Request { id: u32::MAX, ask: Ask::Beat }).is_err() {
                *requests = None;
            }
        };
        let thread = Builder::new().name(format!("beat-{}", self.host)).spawn(beat);
        thread.map(drop).map_err(TestbedError::io("start the thread that keeps a helper alive"))
    }

    /// What was told is no answer to what was asked.
    pub(crate) fn misunderstood(&self, tell: &HostTell) -> TestbedError {
        self.failed(format!("it gave an answer to another question: {tell:?}"))
    }
}

/// What is told about one request.
pub(crate) struct Conversation {
    pub(crate) id: u32,
    reports: Receiver<Tell>,
    routes: Routes,
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.routes.close(self.id);
    }
}

impl Conversation {
    /// What is told next.
    pub(crate) fn next(&self, helper: &Helper, what: &str, limit: Duration) -> Result<HostTell> {
        match self.reports.recv_timeout(limit) {
            Ok(Tell::Host(tell)) => Ok(tell),
            Ok(Tell::Failed { why }) => Err(helper.failed(why)),
            Ok(other) => Err(helper.unexpected(&other)),
            Err(RecvTimeoutError::Timeout) => Err(TestbedError::Timeout {
                waiting_for: format!("{what} by the helper on {}", helper.host),
                after_s: limit.as_secs_f64(),
            }),
            Err(RecvTimeoutError::Disconnected) => Err(helper.failed(helper.routes.why_ended())),
        }
    }

    /// What has been told already, if anything; an error where no more will be.
    pub(crate) fn try_next(&self, helper: &Helper) -> Result<Option<HostTell>> {
        match self.next(helper, "nothing", Duration::ZERO) {
            Ok(tell) => Ok(Some(tell)),
            Err(TestbedError::Timeout { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is told next; none once no more will be.
    pub(crate) fn wait(&self) -> Option<HostTell> {
        match self.reports.recv() {
            Ok(Tell::Host(tell)) => Some(tell),
            _ => None,
        }
    }
}
