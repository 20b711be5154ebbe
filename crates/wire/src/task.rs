//! Work on a thread of its own that goes on until it is stopped or dropped.

use std::thread::{Builder, JoinHandle};

use dunlin_clock::Cancel;

use crate::{Result, WireError};

/// Work under way; what it comes to is known once it has ended.
#[derive(Debug)]
pub struct Task<T> {
    name: String,
    ending: Cancel,
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T> Task<T> {
    /// Starts work that ends soon after its end is asked for.
    pub(crate) fn spawn(name: &str, work: impl FnOnce(&Cancel) -> Result<T> + Send + 'static) -> Result<Self>
    where
        T: Send + 'static,
    {
        let ending = Cancel::new();
        let seen = ending.clone();
        let thread = Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&seen))
            .map_err(WireError::io("start the thread", name))?;
        Ok(Self { name: name.to_owned(), ending, thread: Some(thread) })
    }

    /// Ends the work. When this returns, whatever it handed on or wrote has been, and it holds nothing any more.
    ///
    /// # Errors
    /// Where the work broke off before; what it did until then stays.
    pub fn stop(mut self) -> Result<T> {
        self.end().unwrap_or_else(|| Err(WireError::ThreadDied { thread: self.name.clone() }))
    }

    /// Whether the work has ended by itself, which it only does where something went wrong.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn end(&mut self) -> Option<Result<T>> {
        self.ending.cancel();
        self.thread.take()?.join().ok()
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        // Whoever drops it no longer asks how it went.
        let _ = self.end();
    }
}
