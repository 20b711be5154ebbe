//! Bytes that pass through a helper: to and from a socket of its machine, into and out of a file.

use std::collections::HashMap;
use std::error::Error;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_image::is_zero;

use super::bytes::Bytes;
use super::host_protocol::HostTell;
use super::protocol::Tell;
use super::serve::Output;

/// How much is read at once.
const PIECE_BYTES: usize = 64 << 10;
/// How many pieces of a file wait to be written: more would be a copy of it in memory.
const PIECES_WAITING: usize = 8;
/// How long to wait before connecting again to a socket that is not there yet.
const CONNECT_STEP: Duration = Duration::from_millis(5);

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Where bytes go that the bench sends.
enum Sink {
    /// A socket takes what there is: its sender must never wait for it.
    Socket(Sender<Word>),
    File(SyncSender<Piece>),
}

/// What a socket is told.
enum Word {
    Bytes(Vec<u8>),
    /// That no more will come, though it is still heard.
    NoMore,
}

/// What becomes part of a file.
enum Piece {
    Bytes(Vec<u8>),
    Zeros(u64),
}

/// All that passes through.
pub(super) struct Streams {
    output: Output,
    open: HashMap<u32, Sink>,
}

impl Streams {
    pub(super) fn new(output: Output) -> Self {
        Self { output, open: HashMap::new() }
    }

    /// Connects to a socket, which may come up only within the limit, and passes on what comes.
    pub(super) fn dial(&mut self, id: u32, socket: PathBuf, limit: Duration) -> Outcome<()> {
        let (sender, to_write) = channel();
        self.open.insert(id, Sink::Socket(sender));
        let output = self.output.clone();
        self.output.tell_later(id, move || {
            let stream = connect(&socket, Deadline::after(limit))?;
            let _ = output.tell(id, Tell::Host(HostTell::Connected));
            pass(stream, id, to_write, &output)
        })?;
        Ok(())
    }

    /// Passes on what comes from a socket, and what will be sent.
    pub(super) fn join(&mut self, id: u32, stream: UnixStream) -> Outcome<()> {
        let (sender, to_write) = channel();
        let output = self.output.clone();
        self.output.tell_later(id, move || pass(stream, id, to_write, &output))?;
        self.open.insert(id, Sink::Socket(sender));
        Ok(())
    }

    /// Opens a file for what will be sent.
    pub(super) fn put(&mut self, id: u32, path: &Path, mode: u32) -> Outcome<()> {
        // Somebody else's name is not followed; one that was killed may have left its own.
        let temporary = beside(path);
        let _ = std::fs::remove_file(&temporary);
        let mut options = File::options();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
        let (sender, pieces) = sync_channel::<Piece>(PIECES_WAITING);
        self.open.insert(id, Sink::File(sender));
        let path = path.to_owned();
        self.output.tell_later(id, move || {
            let write = |piece| match piece {
                Piece::Bytes(bytes) => file.write_all(&bytes),
                Piece::Zeros(bytes) => file.seek_relative(i64::try_from(bytes).unwrap_or(0)),
            };
            // The last hole counts, too.
            let written = pieces.iter().try_for_each(write).and_then(|()| file.stream_position());
            let written = written.and_then(|length| file.set_len(length));
            // As it is here, whatever our umask.
            let written = written.and_then(|()| file.set_permissions(Permissions::from_mode(mode & 0o777)));
            // What is only half there is nobody's file.
            if let Err(error) = written.and_then(|()| std::fs::rename(&temporary, &path)) {
                let _ = std::fs::remove_file(&temporary);
                return Err(error);
            }
            Ok(Tell::Host(HostTell::Done))
        })?;
        Ok(())
    }

    /// Of what is sent to a socket there will be no more.
    pub(super) fn no_more(&mut self, task: u32) {
        if let Some(Sink::Socket(sender)) = self.open.get(&task) {
            // Where nobody takes it the socket is closed already.
            let _ = sender.send(Word::NoMore);
        }
    }

    pub(super) fn send(&mut self, task: u32, bytes: Vec<u8>) {
        let is_taken = match self.open.get(&task) {
            Some(Sink::Socket(sender)) => sender.send(Word::Bytes(bytes)).is_ok(),
            Some(Sink::File(sender)) => sender.send(Piece::Bytes(bytes)).is_ok(),
            None => false,
        };
        if !is_taken {
            self.open.remove(&task);
        }
    }

    pub(super) fn skip(&mut self, task: u32, bytes: u64) {
        if let Some(Sink::File(sender)) = self.open.get(&task)
            && sender.send(Piece::Zeros(bytes)).is_err()
        {
            self.open.remove(&task);
        }
    }

    /// No more will be sent.
    pub(super) fn close(&mut self, task: u32) {
        self.open.remove(&task);
    }

    /// Tells a file, piece by piece.
    pub(super) fn fetch(&mut self, id: u32, path: &Path) -> Outcome<()> {
        // Without waiting for somebody who would write a pipe.
        let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err("it is no file".into());
        }
        let mode = metadata.mode();
        let output = self.output.clone();
        self.output.tell_later(id, move || {
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                match file.read(&mut piece)? {
                    0 => return Ok(Tell::Host(HostTell::Closed { mode: mode & 0o777 })),
                    length => {
                        let piece = &piece[..length];
                        let told = if is_zero(piece) {
                            HostTell::Zeros(length as u64)
                        } else {
                            HostTell::Bytes(Bytes(piece.to_vec()))
                        };
                        output.tell(id, Tell::Host(told)).map_err(io::Error::other)?;
                    }
                }
            }
        })?;
        Ok(())
    }
}

/// Where a file is written until it is whole.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn connect(socket: &Path, deadline: Deadline) -> io::Result<UnixStream> {
    use ErrorKind::{ConnectionRefused, Interrupted, NotFound, WouldBlock};
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error)
                if deadline.passed()
                    || !matches!(error.kind(), NotFound | ConnectionRefused | WouldBlock | Interrupted) =>
            {
                return Err(error);
            }
            Err(_) => std::thread::sleep(deadline.step(CONNECT_STEP)),
        }
    }
}

/// Passes bytes both ways until no more come.
fn pass(stream: UnixStream, id: u32, to_write: Receiver<Word>, output: &Output) -> io::Result<Tell> {
    let writing = stream.try_clone()?;
    Builder::new().name(format!("write-{id}")).spawn(move || write_all(writing, &to_write))?;
    pass_on(stream, id, output);
    Ok(Tell::Host(HostTell::Closed { mode: 0 }))
}

fn write_all(mut stream: UnixStream, to_write: &Receiver<Word>) {
    let write = |word| match word {
        Word::Bytes(bytes) => stream.write_all(&bytes),
        Word::NoMore => stream.shutdown(Shutdown::Write),
    };
    let _ = to_write.iter().try_for_each(write);
    // Nobody sends any more, nor hears: that is what the other side is to see.
    let _ = stream.shutdown(Shutdown::Both);
}

/// Tells what comes, until no more does.
fn pass_on(mut stream: UnixStream, id: u32, output: &Output) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        if output.tell(id, Tell::Host(HostTell::Bytes(Bytes(piece[..length].to_vec())))).is_err() {
            return;
        }
    }
}
