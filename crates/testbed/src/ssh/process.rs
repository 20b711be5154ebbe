//! A program that runs on a machine, as its helper tells of it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::helper::for_host::Conversation;
use crate::helper::host_protocol::{HostAsk, HostTell};
use crate::process::{End, ProcessHandle};
use crate::{Helper, Result};

/// A program that was launched on a machine.
pub(super) struct RemoteProcess {
    // Not the connection: it ends with its testbed, whoever still has what was started over it.
    helper: Arc<Helper>,
    conversation: Mutex<Conversation>,
    pid: u32,
}

impl RemoteProcess {
    /// That of which the conversation tells.
    pub(super) fn new(helper: Arc<Helper>, conversation: Conversation, pid: u32) -> Self {
        Self { helper, conversation: Mutex::new(conversation), pid }
    }
}

impl std::fmt::Debug for RemoteProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteProcess").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl ProcessHandle for RemoteProcess {
    fn pid(&self) -> Option<u32> {
        Some(self.pid)
    }

    fn try_end(&mut self) -> Result<Option<End>> {
        let conversation = self.conversation.get_mut().unwrap_or_else(PoisonError::into_inner);
        match conversation.try_next(&self.helper)? {
            Some(HostTell::Ended { how, success }) => Ok(Some(End { how, success })),
            Some(other) => Err(self.helper.misunderstood(&other)),
            None => Ok(None),
        }
    }

    fn kill(&mut self) {
        let conversation = self.conversation.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Where the connection is gone the machine's helper ends it.
        let _ = self.helper.say(HostAsk::Kill { task: conversation.id });
    }
}
