//! The commands that QEMU has not answered yet, those included for which nobody waits any more: it will still do them.
//!
//! QEMU takes 8 commands into its queue (`QMP_REQ_QUEUE_LEN_MAX`, `monitor/qmp.c`); then it reads no more, commands out of
//! band included, until its main loop goes on. Whoever is to break a connection that holds that loop up must leave room.

use std::collections::VecDeque;

/// So many unanswered commands are sent at most.
const ROOM: usize = 5;

/// In the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Unanswered(VecDeque<Sent>);

#[derive(Debug)]
struct Sent {
    id: u64,
    /// The command and its arguments.
    what: String,
}

impl Unanswered {
    /// The id of the same command, if it was sent and its answer will do: nothing that could change it was sent since.
    pub(super) fn same(&self, what: &str) -> Option<u64> {
        for sent in self.0.iter().rev() {
            if sent.what == what {
                return Some(sent.id);
            }
            if !is_question(&sent.what) {
                return None;
            }
        }
        None
    }

    /// Whether there is room for one more.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < ROOM
    }

    pub(super) fn sent(&mut self, id: u64, what: String) {
        self.0.push_back(Sent { id, what });
    }

    pub(super) fn answered(&mut self, id: u64) {
        self.0.retain(|sent| sent.id != id);
    }
}

fn is_question(what: &str) -> bool {
    what.starts_with("query-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_same_until_another_that_does_something_was_sent() {
        let mut unanswered = Unanswered::default();
        for (id, what) in (1..).zip(["query-status", "stop", "query-migrate", "query-status"]) {
            unanswered.sent(id, what.into());
        }
        assert_eq!(unanswered.same("query-status"), Some(4));
        assert_eq!(unanswered.same("query-migrate"), Some(3));
        assert_eq!(unanswered.same("stop"), Some(2));
        assert_eq!(unanswered.same("cont"), None);
        unanswered.sent(5, "cont".into());
        assert_eq!(unanswered.same("stop"), None, "it would be undone");
        assert_eq!(unanswered.same("query-status"), None, "its answer would be of before");
        assert!(!unanswered.has_room());
        unanswered.answered(5);
        assert_eq!((unanswered.same("stop"), unanswered.has_room()), (Some(2), true));
    }
}
