//! The way to a helper: a pipe that nobody waits for without a limit.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::process::ChildStdin;
use std::time::Duration;

use dunlin_clock::Deadline;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The standard input of a helper.
#[derive(Debug)]
pub(super) struct RequestPipe(ChildStdin);

impl RequestPipe {
    pub(super) fn new(pipe: ChildStdin) -> io::Result<Self> {
        let flags = OFlag::from_bits_truncate(fcntl(&pipe, FcntlArg::F_GETFL)?);
        fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self(pipe))
    }

    /// For one request, which must all be read by its helper within the limit. After an error part of it may be written:
    /// nothing more must be.
    pub(super) fn within(&mut self, limit: Duration) -> RequestWriter<'_> {
        RequestWriter { pipe: self, limit, deadline: Deadline::after(limit) }
    }
}

/// Takes one request.
pub(super) struct RequestWriter<'a> {
    pipe: &'a mut RequestPipe,
    limit: Duration,
    deadline: Deadline,
}

impl Write for RequestWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let pipe = &mut self.pipe.0;
        loop {
            match pipe.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return written,
            }
            if self.deadline.passed() {
                let why = format!("it did not read one within {:.1} s", self.limit.as_secs_f64());
                return Err(io::Error::new(ErrorKind::TimedOut, why));
            }
            let wait = PollTimeout::try_from(self.deadline.left()).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)], wait) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn helper(script: &str) -> (Child, RequestPipe) {
        let mut command = Command::new("sh");
        let mut child = command.args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let pipe = RequestPipe::new(child.stdin.take().unwrap()).unwrap();
        (child, pipe)
    }

    #[test]
    fn a_helper_that_does_not_read_holds_nobody_up_and_nor_does_one_that_reads_a_little_now_and_then() {
        for script in
            ["exec sleep 600", "while dd bs=1024 count=1 of=/dev/null 2>/dev/null; do sleep 0.02; done"]
        {
            let (mut child, mut pipe) = helper(script);
            let request = vec![0; 16 << 20];
            let error = pipe.within(Duration::from_millis(200)).write_all(&request).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{script}");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_request_longer_than_the_pipe_reaches_a_helper_that_reads() {
        let (mut child, mut pipe) = helper("test $(wc -c) = 4194304");
        pipe.within(Duration::from_secs(20)).write_all(&vec![0; 4 << 20]).unwrap();
        drop(pipe);
        assert!(child.wait().unwrap().success());
    }
}
