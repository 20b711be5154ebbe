//! What a host is to run when its testbed ends.

use std::fmt;

/// A program that a host runs when its testbed ends, as [`crate::Host::at_end`] asked for. Dropping it revokes that.
#[must_use = "it is revoked when it is dropped"]
pub struct LastWill {
    revoke: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl LastWill {
    /// One of which the host is told by `revoke` that it is not to be run after all.
    pub fn new(revoke: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { revoke: Some(Box::new(revoke)) }
    }

    /// One of which nothing is ever run: of a host where nothing outlives the testbed, so that nothing is left to be done.
    pub fn needless() -> Self {
        Self { revoke: None }
    }
}

impl fmt::Debug for LastWill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastWill").field("is_needless", &self.revoke.is_none()).finish()
    }
}

impl Drop for LastWill {
    fn drop(&mut self) {
        if let Some(revoke) = self.revoke.take() {
            revoke();
        }
    }
}
