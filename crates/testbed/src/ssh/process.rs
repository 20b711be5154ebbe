//! A program that runs on a machine, as its helper tells of it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::link::{Known, Link};
use crate::helper::for_host::Conversation;
use crate::helper::host_protocol::{HostAsk, HostTell};
use crate::process::{End, ProcessHandle};
use crate::{Helper, Result};

/// A program that was launched on a machine.
pub(super) struct RemoteProcess {
    // Not the connection: it ends with its testbed, whoever still has what was started over it.
    helper: Arc<Helper>,
    conversation: Mutex<Conversation>,
    link: Weak<Link>,
    known: Known,
}

impl RemoteProcess {
    /// That of which the conversation tells.
    pub(super) fn new(
        helper: Arc<Helper>,
        conversation: Conversation,
        link: &Arc<Link>,
        known: Known,
    ) -> Self {
        Self { helper, conversation: Mutex::new(conversation), link: Arc::downgrade(link), known }
    }

    /// How it ended, where it is no more though nobody told: with its connection its helper ends it.
    fn ended_unseen(&self) -> Option<End> {
        let there = self.link.upgrade()?.still_runs(self.known)?;
        (!there).then(|| End {
            how: "how is not known: the connection to its host was lost".into(),
            success: false,
        })
    }
}

impl std::fmt::Debug for RemoteProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteProcess").field("pid", &self.known.pid).finish_non_exhaustive()
    }
}

impl ProcessHandle for RemoteProcess {
    fn pid(&self) -> Option<u32> {
        Some(self.known.pid)
    }

    fn try_end(&mut self) -> Result<Option<End>> {
        let conversation = self.conversation.get_mut().unwrap_or_else(PoisonError::into_inner);
        match conversation.try_next(&self.helper) {
            Ok(Some(HostTell::Ended { how, success })) => Ok(Some(End { how, success })),
            Ok(Some(other)) => Err(self.helper.misunderstood(&other)),
            Ok(None) => Ok(None),
            // The machine itself is asked, once it is there again.
            Err(error) => self.ended_unseen().map(Some).ok_or(error),
        }
    }

    fn kill(&mut self) {
        let conversation = self.conversation.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Where the connection is gone the machine's helper ends it.
        let _ = self.helper.say(HostAsk::Kill { task: conversation.id });
    }
}
