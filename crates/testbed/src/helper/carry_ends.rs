//! Both ends of a file that is carried to another host, as helpers there hold them: one reads and sends, the other receives and
//! writes.

use std::error::Error;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns};
use dunlin_image::{ImageError, StreamSettings, data_bytes, has_data, receive, send};
use socket2::{Domain, Socket, Type};

use super::protocol::{CarryTold, Tell, Token};
use super::serve::{Output, explain};

/// How long to wait for the sender, and for an answer of the receiver.
const MEET_LIMIT: Duration = Duration::from_secs(10);
/// How long somebody who connects may take to show the token.
const TOKEN_LIMIT: Duration = Duration::from_secs(2);
/// How long nothing may pass until it is taken for cut off.
const STALL_LIMIT: Duration = Duration::from_secs(10);
/// How long the receiver may take to write what has arrived.
const WRITTEN_LIMIT: Duration = Duration::from_secs(30);
/// How often is told how far it is.
const TELL_EVERY_NS: i64 = 150 * MILLISECOND_NS;
const ACCEPT_STEP: Duration = Duration::from_millis(5);
/// How the receiver says that the token is right, and then that all is written.
const YES: &[u8; 1] = b"+";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// One end while it is at work. Dropping it ends that.
#[derive(Clone, Default)]
pub(super) struct Carrying(Arc<End>);

#[derive(Default)]
struct End {
    is_stopped: AtomicBool,
    stream: Mutex<Option<TcpStream>>,
}

impl Carrying {
    pub(super) fn stop(&self) {
        self.0.is_stopped.store(true, SeqCst);
        if let Some(stream) = &*self.0.stream() {
            // Whoever waits for it sees that at once.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(SeqCst)
    }

    fn hold(&self, stream: &TcpStream) -> io::Result<()> {
        *self.0.stream() = Some(stream.try_clone()?);
        if self.is_stopped() { Err(io::Error::other("it was stopped")) } else { Ok(()) }
    }
}

impl End {
    fn stream(&self) -> MutexGuard<'_, Option<TcpStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an end broke off.
enum Broke {
    /// The way to the other end, or what came on it: the other end may know better why.
    Way(String),
    /// Something here.
    Here(String),
}

/// What one end is to do with a file.
pub(super) struct Order {
    pub(super) path: PathBuf,
    pub(super) token: Token,
}

/// Waits for a sender that shows the token, and writes what it sends to a file that is there and holds nothing yet; on a failure it
/// is again as it was.
pub(super) fn start_receiving(
    id: u32,
    output: &Output,
    Order { path, token }: Order,
    bind: SocketAddrV4,
    (threads, expected): (u32, u64),
) -> Outcome<(Carrying, SocketAddrV4)> {
    let file = open(&path, File::options().read(true).write(true))?;
    if has_data(&file)? {
        return Err(format!("{} holds something already", path.display()).into());
    }
    let length = file.metadata()?.len();
    let listener = TcpListener::bind(bind)?;
    let SocketAddr::V4(at) = listener.local_addr()? else { return Err("bound to no IPv4 address".into()) };
    let carrying = Carrying::default();
    let its = carrying.clone();
    output.tell_later(id, move || {
        let received = take_sender(&listener, &token, &its, MEET_LIMIT).and_then(|mut stream| {
            drop(listener);
            let received = receive(&mut Way(&stream), &file, threads, Some(expected))
                .map_err(|error| broke(&error, &path, &its))?;
            // Whoever sent it may have given up on us meanwhile; all is there nevertheless.
            let _ = stream.write_all(YES);
            Ok(received)
        });
        Ok(Tell::Carry(received.map_or_else(
            |why| {
                let restored = restore(&file, length);
                told(why, restored.err().map(|error| format!("; nor can it be emptied: {error}")))
            },
            |received| CarryTold::Received {
                content_bytes: received.content_bytes,
                decompress_ns: received.decompress_ns,
                checksum: received.checksum,
            },
        )))
    })?;
    Ok((carrying, at))
}

/// Sends a file to whoever takes the token, and tells how far it is.
pub(super) fn start_sending(
    id: u32,
    output: &Output,
    Order { path, token }: Order,
    (from, to): (Ipv4Addr, SocketAddrV4),
    settings: StreamSettings,
) -> Outcome<Carrying> {
    let file = open(&path, File::options().read(true))?;
    settings.check()?;
    let total_bytes = if settings.sparse { data_bytes(&file)? } else { file.metadata()?.len() };
    let carrying = Carrying::default();
    let (its, output_then) = (carrying.clone(), output.clone());
    output.tell_later(id, move || {
        let tell = |done_bytes| {
            // Where the bench is gone, so are we soon.
            let _ = output_then.tell(id, Tell::Carry(CarryTold::Progress { done_bytes, total_bytes }));
        };
        let sent = || {
            let mut stream = meet(from, to, &token, &its)?;
            tell(0);
            let mut told_ns = now_ns();
            let began_ns = told_ns;
            let sent = send(&file, &mut Way(&stream), settings, &mut |done_bytes| {
                if now_ns() - told_ns >= TELL_EVERY_NS {
                    told_ns = now_ns();
                    tell(done_bytes);
                }
            });
            let sent = sent.map_err(|error| broke(&error, &path, &its))?;
            hear_yes(&mut stream, WRITTEN_LIMIT)
                .map_err(|why| Broke::Way(format!("the receiver did not say that all is written: {why}")))?;
            tell(total_bytes);
            Ok(CarryTold::Sent {
                file_bytes: sent.file_bytes,
                content_bytes: sent.content_bytes,
                sent_bytes: sent.sent_bytes,
                compress_ns: sent.compress_ns,
                transfer_ns: now_ns() - began_ns,
                checksum: sent.checksum,
            })
        };
        Ok(Tell::Carry(sent().unwrap_or_else(|why| told(why, None))))
    })?;
    Ok(carrying)
}

/// Makes a hole of all of a file, of its former length.
pub(super) fn restore(file: &File, length: u64) -> io::Result<()> {
    file.set_len(0)?;
    file.set_len(length)
}

/// Opens what must be a file, without waiting for somebody at the other end of a pipe.
pub(super) fn open(path: &Path, options: &mut std::fs::OpenOptions) -> Outcome<File> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let file = options.custom_flags(libc::O_NONBLOCK).open(path).map_err(named)?;
    if !file.metadata().map_err(named)?.is_file() {
        return Err(format!("{} is no file", path.display()).into());
    }
    Ok(file)
}

fn told(why: Broke, more: Option<String>) -> CarryTold {
    let (why, is_here) = match why {
        Broke::Here(why) => (why, true),
        Broke::Way(why) => (why, false),
    };
    CarryTold::Broke { why: why + &more.unwrap_or_default(), is_here }
}

fn broke(error: &ImageError, path: &Path, carrying: &Carrying) -> Broke {
    if carrying.is_stopped() {
        Broke::Way("it was stopped".into())
    } else if error.is_of_stream() {
        Broke::Way(explain(error))
    } else {
        Broke::Here(format!("{}: {}", path.display(), explain(error)))
    }
}

/// The one that shows the right token; others are sent away.
fn take_sender(
    listener: &TcpListener,
    token: &Token,
    carrying: &Carrying,
    limit: Duration,
) -> Result<TcpStream, Broke> {
    let deadline = Deadline::after(limit);
    let here = |error: io::Error| Broke::Here(format!("wait for the sender: {error}"));
    listener.set_nonblocking(true).map_err(here)?;
    let mut wrong = 0;
    loop {
        if carrying.is_stopped() {
            return Err(Broke::Way("it was stopped".into()));
        }
        match listener.accept() {
            Ok((stream, _)) => match try_token(stream, token) {
                Some(stream) => {
                    carrying.hold(&stream).map_err(|error| Broke::Way(error.to_string()))?;
                    return Ok(stream);
                }
                None => wrong += 1,
            },
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(here(error)),
        }
        if deadline.passed() {
            let others =
                if wrong == 0 { String::new() } else { format!(", but {wrong} with a wrong token, or none") };
            let limit_s = limit.as_secs_f64();
            return Err(Broke::Way(format!("no sender came within {limit_s} s{others}")));
        }
        std::thread::sleep(deadline.step(ACCEPT_STEP));
    }
}

fn try_token(mut stream: TcpStream, token: &Token) -> Option<TcpStream> {
    let mut shown = Token::default();
    stream.set_nonblocking(false).ok()?;
    // All of it: who shows a byte now and then would keep the right one out.
    let deadline = Deadline::after(TOKEN_LIMIT);
    let mut rest = &mut shown[..];
    while !rest.is_empty() {
        limit(&stream, deadline.left().max(Duration::from_millis(1))).ok()?;
        let read = stream.read(rest).ok().filter(|read| *read > 0 && !deadline.passed())?;
        rest = &mut rest[read..];
    }
    // Whoever guesses must not learn by the time it takes how much is right.
    let differ = shown.iter().zip(token).fold(0, |differ, (one, other)| differ | (one ^ other));
    if differ != 0 {
        return None;
    }
    stream.write_all(YES).ok()?;
    limit(&stream, STALL_LIMIT).ok()?;
    Some(stream)
}

/// Connects to the receiver from our own address on its network, and shows the token.
fn meet(from: Ipv4Addr, to: SocketAddrV4, token: &Token, carrying: &Carrying) -> Result<TcpStream, Broke> {
    let way = |error: io::Error| Broke::Way(format!("reach {to} from {from}: {error}"));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(way)?;
    socket.bind(&SocketAddrV4::new(from, 0).into()).map_err(way)?;
    socket.connect_timeout(&to.into(), MEET_LIMIT).map_err(way)?;
    let mut stream = TcpStream::from(socket);
    carrying.hold(&stream).map_err(way)?;
    limit(&stream, STALL_LIMIT).and_then(|()| stream.set_nodelay(true)).map_err(way)?;
    stream.write_all(token).map_err(way)?;
    hear_yes(&mut stream, MEET_LIMIT)
        .map_err(|why| Broke::Way(format!("the receiver at {to} did not take our token: {why}")))?;
    limit(&stream, STALL_LIMIT).map_err(way)?;
    Ok(stream)
}

fn hear_yes(stream: &mut TcpStream, within: Duration) -> io::Result<()> {
    let mut said = [0];
    stream.set_read_timeout(Some(within))?;
    match stream.read_exact(&mut said) {
        Ok(()) if said == *YES => Ok(()),
        Ok(()) => Err(io::Error::other("it said something else")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(io::Error::other(format!("it said nothing for {} s", within.as_secs())))
        }
        Err(error) => Err(error),
    }
}

fn limit(stream: &TcpStream, limit: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))
}

/// A connection on which nothing passes for ever.
struct Way<'a>(&'a TcpStream);

impl Way<'_> {
    fn say(error: io::Error) -> io::Error {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                let why = format!(
                    "no byte passed for {} s: the way is cut, or the other end hangs",
                    STALL_LIMIT.as_secs()
                );
                io::Error::new(ErrorKind::TimedOut, why)
            }
            _ => error,
        }
    }
}

impl Read for Way<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes).map_err(Self::say)
    }
}

impl Write for Way<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(Self::say)
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(bytes).map_err(Self::say)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(300);

    fn listener() -> (TcpListener, SocketAddrV4) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
    }

    fn meet_there(at: SocketAddrV4, token: Token) -> Result<TcpStream, String> {
        meet(Ipv4Addr::LOCALHOST, at, &token, &Carrying::default()).map_err(why)
    }

    fn why(broke: Broke) -> String {
        let (Broke::Way(why) | Broke::Here(why)) = broke;
        why
    }

    #[test]
    fn who_shows_no_token_or_a_wrong_one_is_sent_away_and_who_shows_the_right_one_is_taken() {
        let (listener, at) = listener();
        let taking = std::thread::spawn(move || {
            take_sender(&listener, &[7; 32], &Carrying::default(), MEET_LIMIT).map(drop).map_err(why)
        });
        let said = meet_there(at, [8; 32]).unwrap_err();
        assert!(said.contains("did not take our token"), "{said}");
        TcpStream::connect(at).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        meet_there(at, [7; 32]).unwrap();
        taking.join().unwrap().unwrap();
        assert!(meet_there(at, [7; 32]).is_err(), "one is taken, and no more");
    }

    #[test]
    fn who_shows_a_byte_now_and_then_does_not_keep_the_right_one_out() {
        let (listener, at) = listener();
        let mut slow = TcpStream::connect(at).unwrap();
        let taking = std::thread::spawn(move || {
            take_sender(&listener, &[7; 32], &Carrying::default(), MEET_LIMIT).map(drop).map_err(why)
        });
        let is_done = Arc::new(AtomicBool::new(false));
        let its = Arc::clone(&is_done);
        let showing = std::thread::spawn(move || {
            while !its.load(SeqCst) && slow.write_all(&[7]).is_ok() {
                std::thread::sleep(TOKEN_LIMIT / 2);
            }
        });
        let met = meet_there(at, [7; 32]).map(drop);
        is_done.store(true, SeqCst);
        met.unwrap();
        taking.join().unwrap().unwrap();
        showing.join().unwrap();
    }

    #[test]
    fn nobody_is_waited_for_without_a_limit() {
        let (listener, at) = listener();
        let taking = std::thread::spawn(move || {
            take_sender(&listener, &[7; 32], &Carrying::default(), SOON).map(drop).map_err(why)
        });
        assert!(meet_there(at, [8; 32]).is_err());
        let said = taking.join().unwrap().unwrap_err();
        assert_eq!(said, "no sender came within 0.3 s, but 1 with a wrong token, or none");
    }

    #[test]
    fn who_waits_is_stopped() {
        let (listener, _) = listener();
        let (carrying, its) = (Carrying::default(), Carrying::default());
        let stopped = Carrying(Arc::clone(&carrying.0));
        let taking = std::thread::spawn(move || {
            take_sender(&listener, &[7; 32], &stopped, MEET_LIMIT).map(drop).map_err(why)
        });
        carrying.stop();
        assert_eq!(taking.join().unwrap().unwrap_err(), "it was stopped");
        its.stop();
        let (_listener, at) = self::listener();
        assert!(
            meet(Ipv4Addr::LOCALHOST, at, &[7; 32], &its).is_err_and(|broke| why(broke).contains("stopped"))
        );
    }
}
