//! Brings a file of a VM that stands still to the other host (Hu et al., section 4.2.4), so that no byte of it passes the bench.

mod destination;
mod keys;
mod scp;
mod sshd;
mod stream;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::{Cancel, Deadline};
use dunlin_record::{FileCarried, HostId, StandstillStage, Transfer, TransferWay};

use crate::helper::carrying::in_words;
use crate::{Host, Result, TestbedError};
use destination::Destination;

/// A file to be brought to another host.
pub struct Carry<'a> {
    /// Where it is.
    pub from: &'a Arc<dyn Host>,
    /// Its whole path there. It must not change meanwhile.
    pub source: &'a Path,
    /// Where it is to be.
    pub to: &'a Arc<dyn Host>,
    /// Its whole path there. It is made (mode 0600) if it is not there; one that is there is taken if it is but a hole, and then
    /// gets the source's length.
    pub destination: &'a Path,
    /// Which it is, for what is told of it, as in `disk`.
    pub file: &'a str,
    /// How.
    pub transfer: &'a Transfer,
    /// Ends it when asked.
    pub cancel: &'a Cancel,
    /// In which all of it must be done. A way on which nothing passes for 10 s is given up sooner.
    pub limit: Duration,
}

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CarryProgress {
    /// What is being done: [`StandstillStage::Compress`], `Transfer` or `Decompress`.
    pub stage: StandstillStage,
    /// Bytes done in this stage. A stream counts what was sent of the file before it was compressed, or passed over as zeros; `scp`
    /// what has arrived of the file that it copies; programs that compress or decompress what they have written.
    pub done_bytes: u64,
    /// How many there will be, where that is known.
    pub total_bytes: Option<u64>,
}

/// Brings a file to another host. Told is each begin of a stage, and how far it is some 7 times a second, whether that has changed
/// or not.
///
/// By [`TransferWay::Stream`] it is read, compressed, sent, decompressed and written at the same time, from helper to helper, over
/// the migration network; `verified` then says that what was written has the checksum of what was read, for else it fails. By
/// [`TransferWay::Scp`] it is first compressed by a program (`gzip`, `zstd`) to a file in the source's [`Host::scratch`], unless it is
/// not to be, copied by `scp` over the migration network to an sshd of ours that takes nobody else, and decompressed there by the
/// program: there must be room for that in both hosts' scratch folders. Nobody compares then. `scp` copies
/// holes as zeros. An ordinary user's lab cannot do it, as sshd changes users.
///
/// If it fails, or is cancelled, a file that it made is removed, and one that was there is a hole again, of its former length; all
/// that it started has ended. Where a host is not reached any more, that is left to what ends there with the testbed.
///
/// # Errors
/// Where it cannot be done that way, anything is refused or breaks off on a host or between them, it takes longer than the limit, or
/// it is cancelled; what is said names the host.
pub fn carry(order: &Carry<'_>, on_progress: &mut dyn FnMut(CarryProgress)) -> Result<FileCarried> {
    order.check()?;
    let deadline = Deadline::after(order.limit);
    // First, so that it is only undone once nobody works on it any more, also where somebody panics.
    let mut destination = Destination::of(order);
    let work = Work { order, deadline, from: order.from.helper()?, to: order.to.helper()? };
    let source = work.look_at_source()?;
    destination.prepare(&work)?;
    let carried = match order.transfer.way {
        TransferWay::Stream => stream::carry(&work, source, on_progress),
        TransferWay::Scp => scp::carry(&work, source, on_progress),
    };
    if carried.is_ok() {
        destination.keep();
    }
    carried
}

impl Carry<'_> {
    fn check(&self) -> Result<()> {
        let refuse = |because: &str| {
            Err(TestbedError::Unsupported {
                what: format!("to carry {}", self.file),
                because: because.into(),
            })
        };
        if !self.source.is_absolute() || !self.destination.is_absolute() {
            return refuse("its paths must be whole ones");
        }
        let is_scp = self.transfer.way == TransferWay::Scp;
        if is_scp && self.transfer.sparse == Some(true) {
            return refuse("scp copies holes as zeros, and so cannot leave them out");
        }
        let settings = stream::settings(self.transfer);
        settings.check().or_else(|error| refuse(&error.to_string()))?;
        if is_scp { scp::check(self.transfer).or_else(|because| refuse(&because)) } else { Ok(()) }
    }

    /// It was not carried, for something on a host, or between them.
    fn failed(&self, why: impl fmt::Display) -> TestbedError {
        TestbedError::Carry {
            file: self.file.to_owned(),
            from: self.from.id().to_string(),
            to: self.to.id().to_string(),
            why: why.to_string(),
        }
    }

    /// The same for what a host was asked.
    fn failed_on(&self, host: &HostId, error: &TestbedError) -> TestbedError {
        self.failed(format_args!("{host}: {}", in_words(error)))
    }
}

/// A file that is being carried, and who does it.
struct Work<'a> {
    order: &'a Carry<'a>,
    deadline: Deadline,
    from: crate::Helper,
    to: crate::Helper,
}

impl Work<'_> {
    /// The source's length.
    fn look_at_source(&self) -> Result<u64> {
        let Carry { from, source, .. } = self.order;
        let look = self.from.look_at_file(source, self.deadline.left());
        match look.map_err(|error| self.order.failed_on(from.id(), &error))? {
            Some(look) if look.is_file => Ok(look.bytes),
            Some(_) => Err(self.order.failed(format_args!("{}: {} is no file", from.id(), source.display()))),
            None => Err(self.order.failed(format_args!("{}: there is no {}", from.id(), source.display()))),
        }
    }

    /// Whether it is to end, and why.
    fn check_on(&self) -> Result<()> {
        if self.order.cancel.is_cancelled() {
            return Err(self.order.failed("it was cancelled"));
        }
        if self.deadline.passed() {
            let waiting_for = format!(
                "{} having come from {} to {}",
                self.order.file,
                self.order.from.id(),
                self.order.to.id()
            );
            return Err(TestbedError::Timeout { waiting_for, after_s: self.order.limit.as_secs_f64() });
        }
        Ok(())
    }
}

/// A figure as the record has it.
fn figure(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn ms(ns: i64) -> f64 {
    ns as f64 / dunlin_clock::MILLISECOND_NS as f64
}
