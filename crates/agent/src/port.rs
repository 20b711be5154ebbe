//! The virtio-serial port that leads to the client.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use dunlin_agent_proto::PORT_NAME;
use dunlin_clock::{MILLISECOND_NS, now_ns, sleep_until};

use crate::console::say;

/// How often the port is looked for.
const SEARCH_NS: i64 = 10 * MILLISECOND_NS;
/// After how many searches in vain it is said.
const PATIENCE: u32 = 500;

/// The open port; never waits.
#[derive(Debug)]
pub(crate) struct Port(File);

impl Port {
    /// Waits until the port is there: its name comes by a message of the host, some time after its driver.
    pub(crate) fn wait_for() -> Self {
        let mut searches = 0_u32;
        loop {
            match open() {
                Ok(Some(port)) => return port,
                outcome => {
                    searches += 1;
                    if searches.is_multiple_of(PATIENCE) {
                        let why = outcome.err().unwrap_or_else(|| "the VM has none of that name".into());
                        say(&format!("dunlin-agent: still waiting for the port {PORT_NAME}: {why}"));
                    }
                }
            }
            sleep_until(now_ns() + SEARCH_NS);
        }
    }

    /// What has arrived, at most a buffer full; `None` if no client is connected.
    pub(crate) fn read<'a>(&mut self, buffer: &'a mut [u8]) -> std::io::Result<Option<&'a [u8]>> {
        match self.0.read(buffer) {
            Ok(0) => Ok(None),
            Ok(bytes) => Ok(buffer.get(..bytes)),
            Err(error) if is_not_now(&error) => Ok(Some(&[])),
            Err(error) => Err(error),
        }
    }

    /// How many of the bytes were taken; 0 if none can be now.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if is_not_now(&error) => Ok(0),
            outcome => outcome,
        }
    }

    /// For waiting on it.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn is_not_now(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Opens the port of our name; `None` if there is none (yet).
fn open() -> Result<Option<Port>, String> {
    // Absent until the driver is there.
    let Ok(ports) = fs::read_dir("/sys/class/virtio-ports") else { return Ok(None) };
    for port in ports.flatten() {
        let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        if name.trim_end() == PORT_NAME {
            let device = Path::new("/dev").join(port.file_name());
            let file = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&device);
            return file
                .map(|file| Some(Port(file)))
                .map_err(|error| format!("open {}: {error}", device.display()));
        }
    }
    Ok(None)
}
