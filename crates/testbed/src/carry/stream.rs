//! A stream of ours from helper to helper.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_image::StreamSettings;
use dunlin_record::{FileCarried, StandstillStage, Transfer};

use super::{Carry, CarryProgress, Work, figure, ms};
use crate::helper::carrying::{CarryEnd, in_words};
use crate::helper::protocol::{CarryTold, Token};
use crate::{Host, Network, Result, TestbedError};

/// How often is told how far it is.
const STEP: Duration = Duration::from_millis(140);
/// How long to wait for the other end's words where one end has broken off: it may know better why.
const SECOND_WORD: Duration = Duration::from_secs(2);

pub(super) fn settings(transfer: &Transfer) -> StreamSettings {
    StreamSettings {
        compression: transfer.compression,
        level: transfer.level,
        threads: transfer.threads,
        sparse: transfer.sparse.unwrap_or(true),
    }
}

pub(super) fn carry(
    work: &Work<'_>,
    file_bytes: u64,
    on_progress: &mut dyn FnMut(CarryProgress),
) -> Result<FileCarried> {
    let Carry { from, source, to, destination, .. } = work.order;
    let settings = settings(work.order.transfer);
    let addresses = (address(work.order, &***from)?, address(work.order, &***to)?);
    let token = token().map_err(TestbedError::io("make a token for a file that is carried"))?;
    let received = work.to.carry_in(destination, token, addresses.1, (settings.threads, file_bytes));
    let (receiver, at) = received.map_err(|error| work.order.failed_on(to.id(), &error))?;
    let sending = work.from.carry_out(source, token, (addresses.0, at), settings);
    let sender = sending.map_err(|error| work.order.failed_on(from.id(), &error))?;
    let (sent, received) = Ends { work, sender, receiver }.follow(on_progress)?;
    let (
        CarryTold::Sent { file_bytes, content_bytes, sent_bytes, compress_ns, transfer_ns, checksum },
        CarryTold::Received { decompress_ns, checksum: written, .. },
    ) = (sent, received)
    else {
        return Err(work.order.failed("its helpers tell what they were not asked"));
    };
    if written != checksum {
        return Err(work.order.failed("what was written is not what was read: its checksum is another"));
    }
    Ok(FileCarried {
        file: work.order.file.to_owned(),
        file_bytes: figure(file_bytes),
        content_bytes: figure(content_bytes),
        sent_bytes: figure(sent_bytes),
        compress_ms: compress_ns.map(ms),
        transfer_ms: Some(ms(transfer_ns)),
        decompress_ms: decompress_ns.map(ms),
        overlapped: true,
        threads: settings.threads,
        verified: Some(true),
    })
}

/// Both ends at work. Dropping them ends that.
struct Ends<'a> {
    work: &'a Work<'a>,
    // First: the receiver then sees that no more comes.
    sender: CarryEnd<'a>,
    receiver: CarryEnd<'a>,
}

/// What one end came to: what it told last, or that nothing more will be heard of it.
type Last = Result<CarryTold, String>;

impl Ends<'_> {
    /// Waits until both are done.
    fn follow(mut self, on_progress: &mut dyn FnMut(CarryProgress)) -> Result<(CarryTold, CarryTold)> {
        let mut progress =
            CarryProgress { stage: StandstillStage::Transfer, done_bytes: 0, total_bytes: None };
        on_progress(progress);
        let (mut sent, mut received): (Option<Last>, Option<Last>) = (None, None);
        loop {
            self.work.check_on()?;
            let step = Deadline::after(STEP.min(self.work.deadline.left()));
            if sent.is_none() {
                sent = next(&mut self.sender, step.left(), &mut progress);
            }
            if received.is_none() {
                received = next(
                    &mut self.receiver,
                    if sent.is_some() { step.left() } else { Duration::ZERO },
                    &mut progress,
                );
            }
            on_progress(progress);
            match (&sent, &received) {
                (Some(Ok(one @ CarryTold::Sent { .. })), Some(Ok(other @ CarryTold::Received { .. }))) => {
                    return Ok((one.clone(), other.clone()));
                }
                (Some(Ok(CarryTold::Sent { .. })) | None, Some(Ok(CarryTold::Received { .. })) | None) => {}
                _ => return Err(self.why(sent, received)),
            }
        }
    }

    /// Why it broke off: what is wrong on a host explains what the other sees of it.
    fn why(mut self, mut sent: Option<Last>, mut received: Option<Last>) -> TestbedError {
        let mut nothing =
            CarryProgress { stage: StandstillStage::Transfer, done_bytes: 0, total_bytes: None };
        let is_clear = [&sent, &received]
            .into_iter()
            .flatten()
            .any(|last| cause(last).is_some_and(|(_, is_here)| is_here));
        if !is_clear {
            let deadline = Deadline::after(SECOND_WORD);
            while (sent.is_none() || received.is_none()) && !deadline.passed() {
                for (end, last) in [(&mut self.sender, &mut sent), (&mut self.receiver, &mut received)] {
                    if last.is_none() {
                        *last = next(end, deadline.step(Duration::from_millis(20)), &mut nothing);
                    }
                }
            }
        }
        let order = self.work.order;
        let causes = [(order.from, sent), (order.to, received)];
        let mut causes: Vec<(String, bool)> = causes
            .into_iter()
            .filter_map(|(host, last)| {
                cause(&last?).map(|(why, is_here)| (format!("{}: {why}", host.id()), is_here))
            })
            .collect();
        if causes.iter().any(|(_, is_here)| *is_here) {
            causes.retain(|(_, is_here)| *is_here);
        }
        let words: Vec<String> = causes.into_iter().map(|(why, _)| why).collect();
        order.failed(words.join("; "))
    }
}

/// Why an end broke off, and whether for something on its own host; nothing where it did not.
fn cause(last: &Last) -> Option<(String, bool)> {
    match last {
        Ok(CarryTold::Broke { why, is_here }) => Some((why.clone(), *is_here)),
        Ok(_) => None,
        Err(why) => Some((why.clone(), true)),
    }
}

/// What an end came to, once it has; what it tells before that is noted.
fn next(end: &mut CarryEnd<'_>, limit: Duration, progress: &mut CarryProgress) -> Option<Last> {
    let deadline = Deadline::after(limit);
    loop {
        match end.next(deadline.left()) {
            Ok(Some(CarryTold::Progress { done_bytes, total_bytes })) => {
                progress.done_bytes = done_bytes;
                progress.total_bytes = Some(total_bytes);
            }
            Ok(Some(told)) => return Some(Ok(told)),
            Ok(None) => return None,
            Err(error) => return Some(Err(in_words(&error))),
        }
    }
}

/// A host's own address on the migration network.
pub(super) fn address(order: &Carry<'_>, host: &dyn Host) -> Result<std::net::Ipv4Addr> {
    let none = || order.failed(format_args!("{} is not in the migration network", host.id()));
    host.address(Network::Migration).ok_or_else(none)
}

fn token() -> std::io::Result<Token> {
    let mut token = Token::default();
    File::open("/dev/urandom")?.read_exact(&mut token)?;
    Ok(token)
}
