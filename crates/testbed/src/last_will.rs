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

    /// Leaves it standing: it is run at the end, and revoked by nobody.
    pub fn stands(mut self) {
        self.revoke = None;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn it_is_revoked_when_it_is_dropped_and_not_when_it_is_to_stand() {
        let revoked = Arc::new(AtomicBool::new(false));
        let will = |revoked: &Arc<AtomicBool>| {
            let revoked = Arc::clone(revoked);
            LastWill::new(move || revoked.store(true, Ordering::SeqCst))
        };
        will(&revoked).stands();
        assert!(!revoked.load(Ordering::SeqCst));
        assert_eq!(Arc::strong_count(&revoked), 1, "it holds nothing any more");
        drop(will(&revoked));
        assert!(revoked.load(Ordering::SeqCst));
    }
}
