//! NBD, served by QEMU's storage daemon: an export an image.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_clock::Deadline;
use serde_json::json;

use super::monitor::Monitor;
use super::name;
use super::program::{Daemon, Ground};
use super::service::{START_LIMIT, Server};
use crate::{DiskPlace, Result};

/// The port of the protocol.
const PORT: u16 = 10809;
const PROGRAM: &str = "qemu-storage-daemon";
/// The first version that does all that is asked of it here.
const LEAST_MAJOR: u64 = 6;
/// How long a connection to its monitor may take.
const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// How long clients may take to be gone from an export that is withdrawn.
const WITHDRAW_LIMIT: Duration = Duration::from_secs(10);

/// The server, and by which number it knows each export.
#[derive(Debug, Default)]
pub(super) struct Nbd {
    numbers: BTreeMap<String, u32>,
    next: u32,
}

impl Server for Nbd {
    fn start(&mut self, ground: &Ground) -> Result<Vec<Daemon>> {
        let program = ground.find(PROGRAM, "qemu-utils")?;
        let socket = socket(ground);
        ground.host.remove(&socket)?;
        let args = [
            "--chardev".to_owned(),
            format!("socket,id=monitor,server=on,wait=off,path={}", escaped(&socket)),
            "--monitor".into(),
            "chardev=monitor".into(),
            "--nbd-server".into(),
            format!("addr.type=inet,addr.host={},addr.port={PORT}", ground.at),
        ];
        let mut daemons = vec![ground.launch(PROGRAM, &program, args.map(Into::into).into())?];
        let deadline = Deadline::after(START_LIMIT);
        // One that cannot serve ends without a word of greeting.
        let ask = || {
            let stream = ground.host.dial(&socket, Duration::from_millis(200));
            Ok(stream.and_then(Monitor::greet).ok())
        };
        let monitor = ground.await_answer(&mut daemons, deadline, ask)?;
        if monitor.major < LEAST_MAJOR {
            let why = format!("{PROGRAM} is of version {}, and {LEAST_MAJOR} is needed", monitor.major);
            return Err(ground.failed(why));
        }
        Ok(daemons)
    }

    fn export(&mut self, ground: &Ground, image: &Path, name: &str) -> Result<DiskPlace> {
        let path = name::check_image(image, &ground.images)?;
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None => {
                self.next += 1;
                self.next
            }
        };
        let (file, disk, id) = nodes(number);
        let mut monitor = monitor(ground)?;
        let add = |monitor: &mut Monitor| {
            let node = json!({ "driver": "file", "node-name": file, "filename": path, "discard": "unmap" });
            monitor.ask("blockdev-add", &node)?;
            let node = json!({ "driver": "raw", "node-name": disk, "file": file, "discard": "unmap" });
            monitor.ask("blockdev-add", &node)?;
            let export =
                json!({ "type": "nbd", "id": id, "node-name": disk, "name": name, "writable": true });
            monitor.ask("block-export-add", &export)
        };
        if let Err(error) = add(&mut monitor) {
            // What was made of it goes; what was not cannot.
            let _ = monitor.ask("blockdev-del", &json!({ "node-name": disk }));
            let _ = monitor.ask("blockdev-del", &json!({ "node-name": file }));
            return Err(error);
        }
        self.numbers.insert(name.to_owned(), number);
        Ok(DiskPlace::Nbd { server: SocketAddrV4::new(ground.at, PORT), export: name.to_owned() })
    }

    fn withdraw(&mut self, ground: &Ground, name: &str) -> Result<()> {
        let Some(number) = self.numbers.remove(name) else { return Ok(()) };
        let (file, disk, id) = nodes(number);
        let mut monitor = monitor(ground)?;
        monitor.ask("block-export-del", &json!({ "id": id, "mode": "hard" }))?;
        let deadline = Deadline::after(WITHDRAW_LIMIT);
        // Its clients are told to go, and it goes with the last.
        while let Err(error) = monitor.ask("blockdev-del", &json!({ "node-name": disk })) {
            if deadline.passed() {
                return Err(error);
            }
            std::thread::sleep(deadline.step(Duration::from_millis(20)));
        }
        monitor.ask("blockdev-del", &json!({ "node-name": file })).map(drop)
    }
}

/// The names of an image's file, its disk and its export in the daemon.
fn nodes(number: u32) -> (String, String, String) {
    (format!("file{number}"), format!("disk{number}"), format!("export{number}"))
}

fn monitor(ground: &Ground) -> Result<Monitor> {
    Monitor::greet(ground.host.dial(&socket(ground), DIAL_LIMIT)?)
}

fn socket(ground: &Ground) -> PathBuf {
    ground.work.join("monitor")
}

/// As a value of an option of QEMU's.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
