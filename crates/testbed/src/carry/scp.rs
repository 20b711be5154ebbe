//! `scp`, as in Hu et al., section 4.2.4: compressed to a file first, copied, and then decompressed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::{Deadline, SECOND_NS, now_ns};
use dunlin_record::{FileCarried, FileCompression, StandstillStage, Transfer};

use super::keys::{Folder, SERVER, client_config, exchange, require, start_failed};
use super::sshd::Sshd;
use super::{Carry, CarryProgress, Work, figure, ms};
use crate::{Helper, Host, Launch, Result};

/// How often is looked how far it is, and told.
const STEP_NS: i64 = 140_000_000;
/// How often is looked whether a program has ended.
const END_STEP: Duration = Duration::from_millis(2);
/// How long nothing may arrive until the way is taken for cut off.
const STALL_NS: i64 = 10 * SECOND_NS;
/// How long a look at a file may take.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Why the programs cannot do what was asked.
pub(super) fn check(transfer: &Transfer) -> Result<(), String> {
    if transfer.threads > 1 && transfer.compression != FileCompression::Zstd {
        return Err(format!(
            "with scp only the program zstd compresses on several threads, and {} were asked for",
            transfer.threads
        ));
    }
    Ok(())
}

pub(super) fn carry(
    work: &Work<'_>,
    file_bytes: u64,
    on_progress: &mut dyn FnMut(CarryProgress),
) -> Result<FileCarried> {
    let Carry { from, source, to, destination, file, transfer, .. } = work.order;
    let compression = transfer.compression;
    let is_packed = compression != FileCompression::None;
    require(work.order, from, "scp")?;
    for host in [from, to].into_iter().filter(|_| is_packed) {
        require(work.order, host, compression.name())?;
    }
    let (here, there) = (Folder::new(from), Folder::new(to));
    exchange(work, &here, &there)?;
    let mut sshd = Sshd::start(work, &there)?;
    here.write("ssh_config", &client_config(&sshd.door, &here)?)?;
    let name = format!("packed.{}", compression.name());
    let (packed, arrived) = (here.path(&name), there.path(&name));

    let compress_ms = is_packed.then(|| {
        let mut stage = Stage {
            work,
            stage: StandstillStage::Compress,
            host: from,
            folder: &here,
            program: compression.name(),
            watched: (&work.from, &packed),
            total_bytes: None,
            on_progress: &mut *on_progress,
        };
        stage.run(pack_args(transfer, source), packed.clone(), None)
    });
    let compress_ms = compress_ms.transpose()?;
    let (sent, to_there) =
        if is_packed { (packed.as_path(), arrived.as_path()) } else { (*source, *destination) };
    let sent_bytes = if is_packed { size(work, &work.from, &packed)? } else { file_bytes };

    let mut stage = Stage {
        work,
        stage: StandstillStage::Transfer,
        host: from,
        folder: &here,
        program: "scp",
        watched: (&work.to, to_there),
        total_bytes: Some(sent_bytes),
        on_progress: &mut *on_progress,
    };
    // What has a colon in it is no other host's where a slash comes first.
    let mut target = OsString::from(format!("{SERVER}:"));
    target.push(to_there);
    let mut args: Vec<OsString> = ["-q", "-s", "-F"].map(OsString::from).into();
    args.extend([here.path("ssh_config").into(), "--".into(), sent.into(), target]);
    let transfer_ms = stage.run(args, "/dev/null".into(), Some(&mut sshd))?;
    drop(sshd);
    let came = size(work, &work.to, to_there)?;
    if came != sent_bytes {
        return Err(work.order.failed(format_args!("{}: {came} bytes came of {sent_bytes}", to.id())));
    }

    let decompress_ms = is_packed.then(|| {
        let mut stage = Stage {
            work,
            stage: StandstillStage::Decompress,
            host: to,
            folder: &there,
            program: compression.name(),
            watched: (&work.to, destination),
            total_bytes: Some(file_bytes),
            on_progress: &mut *on_progress,
        };
        let args = unpack_args(&arrived);
        stage.run(args, destination.to_path_buf(), None)
    });
    let decompress_ms = decompress_ms.transpose()?;
    let written = size(work, &work.to, destination)?;
    if written != file_bytes {
        return Err(work
            .order
            .failed(format_args!("{}: {written} bytes were written of {file_bytes}", to.id())));
    }
    Ok(FileCarried {
        file: (*file).to_owned(),
        file_bytes: figure(file_bytes),
        content_bytes: figure(file_bytes),
        sent_bytes: figure(sent_bytes),
        compress_ms,
        transfer_ms: Some(transfer_ms),
        decompress_ms,
        overlapped: false,
        threads: transfer.threads,
        verified: None,
    })
}

/// A file may be reached by a link to it, as an open one below `/proc` is, which the programs refuse unless they are forced.
fn pack_args(transfer: &Transfer, source: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["-q".into(), "-f".into(), "-c".into()];
    if transfer.compression == FileCompression::Zstd {
        args.push(format!("-T{}", transfer.threads).into());
    }
    if let Some(level) = transfer.level {
        if level > 19 {
            args.push("--ultra".into());
        }
        args.push(format!("-{level}").into());
    }
    args.extend(["--".into(), source.into()]);
    args
}

fn unpack_args(packed: &Path) -> Vec<OsString> {
    vec!["-q".into(), "-d".into(), "-c".into(), "--".into(), packed.into()]
}

fn size(work: &Work<'_>, helper: &Helper, path: &Path) -> Result<u64> {
    let look = helper.look_at_file(path, LOOK_LIMIT);
    let look = look.map_err(|error| work.order.failed_on(helper.host(), &error))?;
    let gone = || work.order.failed(format_args!("{}: {} is gone", helper.host(), path.display()));
    look.map(|look| look.bytes).ok_or_else(gone)
}

/// A program at work.
struct Stage<'a> {
    work: &'a Work<'a>,
    stage: StandstillStage,
    host: &'a Arc<dyn Host>,
    /// Where it says what is wrong.
    folder: &'a Folder<'a>,
    program: &'static str,
    /// By whose size is told how far it is.
    watched: (&'a Helper, &'a Path),
    total_bytes: Option<u64>,
    on_progress: &'a mut dyn FnMut(CarryProgress),
}

impl Stage<'_> {
    /// Runs it to its end; tells how long that took, in ms.
    fn run(
        &mut self,
        args: Vec<OsString>,
        stdout: PathBuf,
        mut server: Option<&mut Sshd<'_>>,
    ) -> Result<f64> {
        let order = self.work.order;
        let log = format!("{}.log", self.program);
        self.tell(0);
        let began_ns = now_ns();
        let launch = Launch { program: self.program.into(), args, stdout, stderr: self.folder.path(&log) };
        let launched = self.host.launch(launch);
        let mut process = launched.map_err(|error| start_failed(order, self.host, self.program, &error))?;
        let (mut looked_ns, mut moved_ns, mut done_bytes) = (began_ns, began_ns, 0);
        let how = loop {
            if let Some(how) = process.wait(Deadline::after(END_STEP))? {
                break how;
            }
            self.work.check_on()?;
            if now_ns() - looked_ns < STEP_NS {
                continue;
            }
            looked_ns = now_ns();
            let (helper, path) = self.watched;
            // One that was made for it has no length yet, nor may it be there.
            let look = helper.look_at_file(path, LOOK_LIMIT);
            let look = look.map_err(|error| order.failed_on(helper.host(), &error))?;
            let now_bytes = look.map_or(0, |look| look.bytes);
            if now_bytes != done_bytes {
                (done_bytes, moved_ns) = (now_bytes, now_ns());
            }
            self.tell(done_bytes);
            if let Some(why) = server.as_mut().and_then(|server| server.why_ended()) {
                return Err(order.failed(format_args!("{}: {why}", order.to.id())));
            }
            if self.stage == StandstillStage::Transfer
                && now_ns() - moved_ns > STALL_NS
                && self.total_bytes != Some(done_bytes)
            {
                let why = "no byte passed for 10 s: the way is cut, or the other end hangs";
                return Err(order.failed(format_args!("{}: {}: {why}", self.host.id(), self.program)));
            }
        };
        let took_ms = ms(now_ns() - began_ns);
        if how != "exit status 0" {
            let said = format!("{}: {}: {how}: {}", self.host.id(), self.program, self.folder.said(&log));
            return Err(match self.why_there(server) {
                Some(why) => order.failed(format_args!("{}: {why}; {said}", order.to.id())),
                None => order.failed(said),
            });
        }
        if let Some(total_bytes) = self.total_bytes {
            self.tell(total_bytes);
        }
        Ok(took_ms)
    }

    /// What the destination knows of why a copy failed: its client is told no more than that it has.
    fn why_there(&self, server: Option<&mut Sshd<'_>>) -> Option<String> {
        let server = server?;
        if let Some(ended) = server.why_ended() {
            return Some(ended);
        }
        let (helper, path) = self.watched;
        // Its length may be that of the whole, though writing failed.
        if let Ok(Some(look)) = helper.look_at_file(path, LOOK_LIMIT)
            && let (Some(room_bytes), Some(total_bytes)) = (look.room_bytes, self.total_bytes)
            && room_bytes < total_bytes.saturating_sub(look.allocated_bytes)
        {
            return Some(format!("{}: No space left on device, but for {room_bytes} bytes", path.display()));
        }
        Some(server.complained()).filter(|said| !said.is_empty())
    }

    fn tell(&mut self, done_bytes: u64) {
        (self.on_progress)(CarryProgress { stage: self.stage, done_bytes, total_bytes: self.total_bytes });
    }
}
