//! A QEMU of the tests' own, killed at the end.
#![expect(clippy::unwrap_used, reason = "a test ends where its VM cannot be had")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns, sleep_until};
use dunlin_guest::{Image, PORT_NAME, kernel_args};

const QEMU: &str = "qemu-system-x86_64";
const LIMIT: Duration = Duration::from_secs(60);

/// Says why QEMU cannot be run, if so.
pub(crate) fn check_qemu() -> Result<(), String> {
    let outcome = Command::new(QEMU).arg("--version").stdout(Stdio::null()).status();
    outcome.map(drop).map_err(|error| format!("{QEMU} cannot be run: {error}"))
}

/// A running QEMU and the folder of its sockets and console.
pub(crate) struct Vm {
    process: Child,
    dir: tempfile::TempDir,
}

impl Vm {
    pub(crate) fn start(image: &Image, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = |name: &str| {
            format!("socket,id={name},path={},server=on,wait=off", dir.path().join(name).display())
        };
        let process = Command::new(QEMU)
            .args([
                "-accel",
                "tcg",
                "-machine",
                "q35",
                "-cpu",
                "max",
                "-m",
                "256",
                "-nodefaults",
                "-no-reboot",
            ])
            .args(["-display", "none", "-append", &kernel_args(None, "")])
            .arg("-kernel")
            .arg(&image.kernel)
            .arg("-initrd")
            .arg(&image.initramfs)
            .args(["-serial", &format!("file:{}", dir.path().join("console").display())])
            .args(["-chardev", &socket("qmp"), "-mon", "chardev=qmp,mode=control"])
            .args(["-chardev", &socket("agent"), "-device", "virtio-serial-pci"])
            .args(["-device", &format!("virtserialport,chardev=agent,name={PORT_NAME}")])
            .args(more)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new stream to the agent's port.
    pub(crate) fn agent(&self) -> UnixStream {
        self.connect("agent")
    }

    /// The outcome, or the console where it is an error.
    pub(crate) fn up<T, E: std::fmt::Display>(&self, outcome: Result<T, E>) -> T {
        outcome.unwrap_or_else(|error| panic!("{error}; console:\n{}", self.console()))
    }

    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("console")).unwrap_or_default()).into_owned()
    }

    /// Moves the VM to one that listens at `address`, and waits until it has left.
    pub(crate) fn move_to(&self, address: &str, limit: Duration) {
        let mut monitor = self.monitor();
        let capability = r#"{"capability":"return-path","state":true}"#;
        let set = r#"{"execute":"migrate-set-capabilities","arguments":{"capabilities":[CAPABILITY]}}"#;
        monitor.ask(&set.replace("CAPABILITY", capability));
        monitor.migrate(address, limit);
    }

    /// Stops the VM and saves it to a file. Not with return-path: a file says nothing back.
    pub(crate) fn save_to(&self, file: &Path, limit: Duration) {
        let mut monitor = self.monitor();
        monitor.ask(r#"{"execute":"stop"}"#);
        monitor.migrate(&format!("exec:cat > {}", file.display()), limit);
    }

    /// Lets a VM run that was saved stopped, once it is loaded.
    pub(crate) fn resume(&self, limit: Duration) {
        let mut monitor = self.monitor();
        let deadline = Deadline::after(limit);
        while !monitor.ask(r#"{"execute":"query-status"}"#).contains(r#""status": "paused""#) {
            assert!(!deadline.passed(), "the VM is not loaded");
            sleep_until(now_ns() + 10 * MILLISECOND_NS);
        }
        monitor.ask(r#"{"execute":"cont"}"#);
    }

    fn monitor(&self) -> Monitor {
        Monitor::open(self.connect("qmp"))
    }

    fn connect(&self, name: &str) -> UnixStream {
        let deadline = Deadline::after(LIMIT);
        loop {
            match UnixStream::connect(self.path(name)) {
                Ok(stream) => return stream,
                Err(error) => assert!(!deadline.passed(), "connect to {name}: {error}"),
            }
            sleep_until(now_ns() + 10 * MILLISECOND_NS);
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// As much of QMP as a move needs.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn open(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut monitor = Self(BufReader::new(stream));
        assert!(monitor.line().contains("QMP"));
        monitor.ask(r#"{"execute":"qmp_capabilities"}"#);
        monitor
    }

    fn migrate(&mut self, address: &str, limit: Duration) {
        self.ask(&format!(r#"{{"execute":"migrate","arguments":{{"uri":"{address}"}}}}"#));
        let deadline = Deadline::after(limit);
        loop {
            let said = self.ask(r#"{"execute":"query-migrate"}"#);
            if said.contains(r#""status": "completed""#) {
                return;
            }
            assert!(!said.contains(r#""status": "failed""#) && !deadline.passed(), "{said}");
            sleep_until(now_ns() + 50 * MILLISECOND_NS);
        }
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.0.get_mut(), "{command}").unwrap();
        loop {
            let line = self.line();
            assert!(!line.contains(r#""error":"#), "{command}: {line}");
            if line.contains(r#""return":"#) {
                return line;
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "QEMU has closed the monitor");
        line
    }
}
