//! A guest that shuts itself down: its QEMU ends by itself.

use std::time::Duration;

use dunlin_clock::Deadline;

use super::vm::{END_STEP, QUIT, QemuVm};
use crate::Result;

/// How QEMU calls what a guest does by itself (`qapi/run-state.json`, `ShutdownCause`).
const BY_GUEST: &str = "guest-shutdown";
/// How long what an ended process said last may take to be read.
const WORDS_LIMIT: Duration = Duration::from_secs(2);

impl QemuVm {
    /// Waits until the process has ended because the guest shut itself down, which may have happened already.
    pub(super) fn await_own_end(&self, limit: Duration) -> Result<()> {
        let deadline = Deadline::after(limit);
        self.expect_end(true);
        let ended = self.await_end(deadline).and_then(|how| match how {
            Some(how) => self.was_by_guest(&how),
            None => Err(self.timeout("its guest to shut itself down", limit)),
        });
        if ended.is_err() {
            self.expect_end(false);
        }
        ended
    }

    /// How it ended; absent if it has not at the deadline.
    fn await_end(&self, deadline: Deadline) -> Result<Option<String>> {
        loop {
            match self.end_seen()? {
                None if !deadline.passed() => std::thread::sleep(deadline.step(END_STEP)),
                seen => return Ok(seen),
            }
        }
    }

    fn was_by_guest(&self, how: &str) -> Result<()> {
        let deadline = Deadline::after(WORDS_LIMIT);
        while how == QUIT && self.shut_down_reason().is_none() && !deadline.passed() {
            std::thread::sleep(deadline.step(END_STEP));
        }
        // Its kernel may have panicked on the way down, and reset it.
        self.check_reset()?;
        match self.shut_down_reason() {
            Some(reason) if how == QUIT && reason == BY_GUEST => Ok(()),
            Some(reason) => Err(self.unexpected_end(format!("{how}, {reason}"))),
            None => Err(self.unexpected_end(how.to_owned())),
        }
    }
}
