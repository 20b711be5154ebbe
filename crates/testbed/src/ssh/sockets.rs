//! A socket of a machine, or what a program there reads and says, as a socket of ours: bytes go both ways through the machine's helper.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::helper::bytes::Bytes;
use crate::helper::for_host::Conversation;
use crate::helper::host_protocol::{HostAsk, HostTell};
use crate::{Helper, Result, TestbedError};

/// How much is sent at once.
const PIECE_BYTES: usize = 64 << 10;
/// How much longer than its own limit a question may take on its way.
const WAY_LIMIT: Duration = Duration::from_secs(8);

/// Connects to a socket there.
pub(super) fn dial(helper: &Arc<Helper>, socket: &Path, limit: Duration) -> Result<UnixStream> {
    let ask = HostAsk::Dial {
        socket: socket.to_owned(),
        limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
    };
    let conversation = helper.converse(ask)?;
    let id = conversation.id;
    // What comes up there later is not to find us.
    let give_up = || drop(helper.say(HostAsk::Close { task: id }));
    let doing = format!("a connection to {} on {}", socket.display(), helper.host());
    match conversation.next(helper, &doing, limit.saturating_add(WAY_LIMIT)) {
        Ok(HostTell::Connected) => {}
        Ok(other) => return Err(helper.misunderstood(&other)),
        Err(error) => {
            give_up();
            return Err(error);
        }
    }
    stream(helper, conversation, &doing).inspect_err(|_| give_up())
}

/// What is sent and told in a conversation, as a stream.
pub(super) fn stream(helper: &Arc<Helper>, conversation: Conversation, doing: &str) -> Result<UnixStream> {
    let id = conversation.id;
    let pair = UnixStream::pair().and_then(|(ours, theirs)| Ok((ours, theirs.try_clone()?, theirs)));
    let (ours, mut reading, mut writing) = pair.map_err(TestbedError::io(doing.to_owned()))?;
    let thread = |name: &str| Builder::new().name(format!("{name}-{id}"));
    // Whoever ends the helper need not wait for those who have sockets.
    let sender = Arc::downgrade(helper);
    let say = move |ask| sender.upgrade().is_some_and(|helper| helper.say(ask).is_ok());
    let send = move || {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = reading.read(&mut piece) {
            if !say(HostAsk::Send { task: id, bytes: Bytes(piece[..length].to_vec()) }) {
                break;
            }
        }
        // Where the connection is gone what is there is, too.
        say(HostAsk::NoMore { task: id });
        wait_until_closed(&reading);
        say(HostAsk::Close { task: id });
    };
    let receive = move || {
        while let Some(HostTell::Bytes(Bytes(bytes))) = conversation.wait() {
            if writing.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = writing.shutdown(Shutdown::Both);
    };
    let started = thread("to-socket").spawn(send).and_then(|_| thread("from-socket").spawn(receive));
    started.map_err(TestbedError::io("start the threads of a connection"))?;
    Ok(ours)
}

/// Waits until nobody has the other end any more, or this one was shut down: until then it may still be read there.
fn wait_until_closed(stream: &UnixStream) {
    // The end of both ways is told without being asked for (poll(2), `POLLHUP`).
    let mut waited = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    while let Err(Errno::EINTR) = poll(&mut waited, PollTimeout::NONE) {}
}
