//! The bench's side of files that are carried from host to host by the helpers there.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use dunlin_image::StreamSettings;

use super::protocol::{Ask, CarryTold, FileLook, Tell, Token};
use super::{END_LIMIT, Helper, Pending, START_LIMIT};
use crate::{Result, TestbedError};

/// One end of a file that is being carried. Dropping it ends that.
pub(crate) struct CarryEnd<'a> {
    pending: Pending<'a>,
    is_over: bool,
}

impl Helper {
    /// What is at a path; nothing where nothing is.
    pub(crate) fn look_at_file(&self, path: &Path, limit: Duration) -> Result<Option<FileLook>> {
        match self.ask_once(Ask::LookAtFile { path: path.to_owned() }, "a look at a file", limit)? {
            Tell::File(look) => Ok(look),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Makes a hole of all of a file that is there, of a length.
    pub(crate) fn empty_file(&self, path: &Path, length: u64) -> Result<()> {
        match self.ask_once(
            Ask::EmptyFile { path: path.to_owned(), length },
            "a file being emptied",
            START_LIMIT,
        )? {
            Tell::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// A TCP port of an address that nobody had just now.
    pub(crate) fn free_port(&self, address: Ipv4Addr) -> Result<u16> {
        match self.ask_once(Ask::FreePort { address }, "a free port", START_LIMIT)? {
            Tell::Listening { at } => Ok(at.port()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Ends a process of its host and all that descend from it.
    pub(crate) fn end_tree(&self, pid: u32) -> Result<()> {
        match self.ask_once(Ask::EndTree { pid }, "the end of a program", START_LIMIT)? {
            Tell::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Waits on its host for who shows the token, and writes a file of so many bytes; says where.
    pub(crate) fn carry_in(
        &self,
        path: &Path,
        token: Token,
        bind: Ipv4Addr,
        (threads, expected): (u32, u64),
    ) -> Result<(CarryEnd<'_>, SocketAddrV4)> {
        let bind = SocketAddrV4::new(bind, 0);
        let ask = Ask::CarryIn { bind, path: path.to_owned(), token, threads, expected };
        let pending = self.ask(ask, None)?;
        match pending.next("the reception of a file", START_LIMIT)? {
            Tell::Listening { at } => Ok((CarryEnd { pending, is_over: false }, at)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Sends a file of its host to who waits for it with the token, from an address of its own.
    pub(crate) fn carry_out(
        &self,
        path: &Path,
        token: Token,
        (from, to): (Ipv4Addr, SocketAddrV4),
        settings: StreamSettings,
    ) -> Result<CarryEnd<'_>> {
        let StreamSettings { compression, level, threads, sparse } = settings;
        let ask =
            Ask::CarryOut { from, to, path: path.to_owned(), token, compression, level, threads, sparse };
        let pending = self.ask(ask, None)?;
        match pending.next("the sending of a file", START_LIMIT)? {
            Tell::Started => Ok(CarryEnd { pending, is_over: false }),
            other => Err(self.unexpected(&other)),
        }
    }

    fn ask_once(&self, ask: Ask, what: &str, limit: Duration) -> Result<Tell> {
        self.ask(ask, None)?.next(what, limit)
    }
}

impl CarryEnd<'_> {
    /// What it tells next; nothing where that takes longer.
    pub(crate) fn next(&mut self, limit: Duration) -> Result<Option<CarryTold>> {
        let helper = self.pending.helper;
        let told = match self.pending.reports.recv_timeout(limit) {
            Ok(told) => told,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                self.is_over = true;
                return Err(helper.failed(helper.routes.why_ended()));
            }
        };
        self.is_over = !matches!(told, Tell::Carry(CarryTold::Progress { .. }));
        match told {
            Tell::Carry(told) => Ok(Some(told)),
            Tell::Failed { why } => Err(helper.failed(why)),
            other => Err(helper.unexpected(&other)),
        }
    }

    /// Ends it, and waits a little until it says so.
    pub(crate) fn stop(&mut self) {
        if self.is_over {
            return;
        }
        let helper: &Helper = self.pending.helper;
        let asked = helper.ask(Ask::Stop { task: self.pending.id }, None);
        if asked.and_then(|pending| pending.next("the end of a carried file", END_LIMIT)).is_ok() {
            let deadline = dunlin_clock::Deadline::after(END_LIMIT);
            while !self.is_over && !deadline.passed() {
                let _ = self.next(deadline.left());
            }
        }
    }
}

impl Drop for CarryEnd<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// That a host could not be asked at all, in its own words.
pub(crate) fn in_words(error: &TestbedError) -> String {
    match error {
        TestbedError::Helper { why, .. } => why.clone(),
        other => dunlin_record::in_one_line(other),
    }
}
