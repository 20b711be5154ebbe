//! The virtio-serial port that leads to the client.

use std::fmt::{Display, Formatter};
use std::fs::{self, DirEntry, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dunlin_agent_proto::PORT_NAME;
use dunlin_clock::{MILLISECOND_NS, now_ns, sleep_until};

use crate::console::say;
use crate::ending::Ending;

/// Where the kernel lists the ports.
const PORTS: &str = "/sys/class/virtio-ports";
/// How often our guests look for the port.
const SEARCH_NS: i64 = 10 * MILLISECOND_NS;
/// After how many searches in vain it is said.
const PATIENCE: u32 = 500;
/// How often a program looks for it.
const SEARCH_MS: i32 = 500;
/// After how many more searches in vain a program says it again.
const PATIENCE_AS_PROGRAM: u32 = 600;

/// The open port; never waits.
#[derive(Debug)]
pub(crate) struct Port {
    file: File,
    name: String,
}

impl Port {
    /// Waits until our guest's port is there: its name comes by a message of the host, some time after its driver.
    pub(crate) fn wait_for() -> Self {
        let mut searches = 0_u32;
        loop {
            match open(PORT_NAME) {
                Ok(Some(port)) => return port,
                outcome => {
                    searches += 1;
                    if searches.is_multiple_of(PATIENCE) {
                        say(&still_waiting(PORT_NAME, outcome));
                    }
                }
            }
            sleep_until(now_ns() + SEARCH_NS);
        }
    }

    /// Waits until the VM has a port of this name, as long as it takes: a device may be plugged in while the VM runs.
    /// `None` if the program is asked to end first.
    pub(crate) fn wait_as_program(name: &str, ending: &Ending) -> Result<Option<Self>, String> {
        let mut searches = 0_u32;
        loop {
            match open(name) {
                Ok(Some(port)) => return Ok(Some(port)),
                // Nothing makes this better while it waits.
                Err(error) if error.source.kind() == ErrorKind::PermissionDenied => {
                    return Err(format!("{error} (the agent is to be started by root)"));
                }
                outcome => {
                    if searches.is_multiple_of(PATIENCE_AS_PROGRAM) {
                        say(&still_waiting(name, outcome));
                    }
                    searches += 1;
                }
            }
            if ending.wait(SEARCH_MS) {
                return Ok(None);
            }
        }
    }

    /// The port's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What has arrived, at most a buffer full; `None` if no client is connected.
    pub(crate) fn read<'a>(&mut self, buffer: &'a mut [u8]) -> std::io::Result<Option<&'a [u8]>> {
        match self.file.read(buffer) {
            Ok(0) => Ok(None),
            Ok(bytes) => Ok(buffer.get(..bytes)),
            Err(error) if is_not_now(&error) => Ok(Some(&[])),
            Err(error) => Err(error),
        }
    }

    /// How many of the bytes were taken; 0 if none can be now.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.file.write(bytes) {
            Err(error) if is_not_now(&error) => Ok(0),
            outcome => outcome,
        }
    }

    /// For waiting on it.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

fn is_not_now(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn still_waiting(name: &str, outcome: Result<Option<Port>, OpenError>) -> String {
    let why = outcome.err().map_or_else(|| "the VM has none of that name".into(), |error| error.to_string());
    format!("dunlin-agent: still waiting for the port {name}: {why}")
}

/// A port that is there and cannot be opened.
#[derive(Debug)]
struct OpenError {
    device: PathBuf,
    source: std::io::Error,
}

impl Display for OpenError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "open {}: {}", self.device.display(), self.source)
    }
}

/// Opens the port of a name; `None` if there is none (yet).
fn open(name: &str) -> Result<Option<Port>, OpenError> {
    let Some(device) = find(Path::new(PORTS), name) else { return Ok(None) };
    match File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&device) {
        Ok(file) => Ok(Some(Port { file, name: name.into() })),
        // It went in between, or what makes devices of ports has not come to it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenError { device, source }),
    }
}

/// The device of the port of this name: as the kernel lists it in `ports`, or as udev links it where that is not to be
/// seen.
fn find(ports: &Path, name: &str) -> Option<PathBuf> {
    let linked = || Some(Path::new("/dev/virtio-ports").join(name)).filter(|device| device.exists());
    // Absent until the driver is there.
    let Ok(listed) = fs::read_dir(ports) else { return linked() };
    let is_named = |port: &DirEntry| {
        fs::read_to_string(port.path().join("name")).is_ok_and(|found| found.trim_end() == name)
    };
    let found = listed.flatten().find(is_named);
    found.map(|port| Path::new("/dev").join(port.file_name())).or_else(linked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_its_whole_name() {
        let ports = crate::folder::Folder::make(&std::env::temp_dir()).unwrap();
        for (device, name) in
            [("vport1p1", "org.qemu.guest_agent.0\n"), ("vport1p2", "dunlin.agent\n"), ("x", "")]
        {
            fs::create_dir(ports.path().join(device)).unwrap();
            fs::write(ports.path().join(device).join("name"), name).unwrap();
        }
        assert_eq!(find(ports.path(), PORT_NAME), Some("/dev/vport1p2".into()));
        assert_eq!(find(ports.path(), "dunlin.agen"), None);
        assert_eq!(find(&ports.path().join("none"), "dunlin.agen"), None);
    }

    #[test]
    fn a_program_that_waits_for_its_port_ends_when_it_is_asked_to() {
        let ending = Ending::watch().unwrap();
        #[expect(unsafe_code, reason = "a signal to this thread alone, which has it blocked")]
        // SAFETY: as said.
        unsafe {
            libc::pthread_kill(libc::pthread_self(), libc::SIGTERM)
        };
        assert!(Port::wait_as_program("no.such.port", &ending).unwrap().is_none());
    }
}
