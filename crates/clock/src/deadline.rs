//! The limit of a wait.

use std::time::Duration;

use crate::now_ns;

/// A moment on the bench's clock after which a wait gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    due_ns: i64,
}

impl Deadline {
    /// The moment `limit` from now.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self::at(now_ns().saturating_add(i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// The moment `due_ns` of the bench's clock.
    #[must_use]
    pub fn at(due_ns: i64) -> Self {
        Self { due_ns }
    }

    /// The moment itself, in nanoseconds of the bench's clock.
    #[must_use]
    pub fn due_ns(&self) -> i64 {
        self.due_ns
    }

    /// What is left; zero once it has passed.
    #[must_use]
    pub fn left(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.due_ns.saturating_sub(now_ns())).unwrap_or(0))
    }

    /// Whether the moment has passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }

    /// The earlier of this and `limit` from now: a step of a longer wait.
    #[must_use]
    pub fn step(&self, limit: Duration) -> Duration {
        self.left().min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_in_the_past_has_nothing_left() {
        let deadline = Deadline::at(now_ns() - 1);
        assert!(deadline.passed());
        assert_eq!(deadline.left(), Duration::ZERO);
        assert!(!Deadline::after(Duration::from_secs(60)).passed());
        assert!(!Deadline::after(Duration::MAX).passed());
    }
}
