//! The byte streams an agent can be reached by.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A two-way byte stream whose reads and writes can be bounded, and which can be ended from another thread.
pub trait Stream: Read + Write + Send {
    /// Another handle on the same stream.
    ///
    /// # Errors
    /// Where the system gives none.
    fn another(&self) -> io::Result<Box<dyn Stream>>;

    /// After what time a read or a write that can do nothing gives up with `WouldBlock` or `TimedOut`.
    ///
    /// # Errors
    /// Where the stream refuses.
    fn set_limits(&self, read: Duration, write: Duration) -> io::Result<()>;

    /// Ends the stream for all its handles.
    fn shut_down(&self);
}

macro_rules! stream {
    ($socket:ty) => {
        impl Stream for $socket {
            fn another(&self) -> io::Result<Box<dyn Stream>> {
                Ok(Box::new(self.try_clone()?))
            }

            fn set_limits(&self, read: Duration, write: Duration) -> io::Result<()> {
                self.set_read_timeout(Some(read))?;
                self.set_write_timeout(Some(write))
            }

            fn shut_down(&self) {
                // Fails only if the other side has ended it already.
                let _ = self.shutdown(Shutdown::Both);
            }
        }
    };
}

stream!(UnixStream);
stream!(TcpStream);
