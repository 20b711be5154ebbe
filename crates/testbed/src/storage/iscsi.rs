//! iSCSI, served by tgt: a target with one unit an image.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use dunlin_clock::Deadline;

use super::name;
use super::program::{Daemon, Ground};
use super::service::{START_LIMIT, Server};
use crate::{DiskPlace, Result};

/// The port of the protocol.
const PORT: u16 = 3260;
/// What comes before an export's name in its target's.
const IQN: &str = "iqn.2026-11.dunlin:";
/// The unit of each target; 0 is the target's own.
const UNIT: u8 = 1;

/// The server, and by which number it knows each target.
#[derive(Debug)]
pub(super) struct Iscsi {
    /// By which its own program finds it.
    control: u16,
    tgtadm: PathBuf,
    numbers: BTreeMap<String, u32>,
    next: u32,
}

impl Default for Iscsi {
    fn default() -> Self {
        static CONTROL: AtomicU16 = AtomicU16::new(0);
        let control = CONTROL.fetch_add(1, Ordering::Relaxed) % 30_000;
        Self { control, tgtadm: PathBuf::new(), numbers: BTreeMap::new(), next: 0 }
    }
}

impl Server for Iscsi {
    fn start(&mut self, ground: &Ground) -> Result<Vec<Daemon>> {
        let tgtd = ground.find("tgtd", "tgt")?;
        self.tgtadm = ground.find("tgtadm", "tgt")?;
        let args = [
            "-f".to_owned(),
            "-C".into(),
            self.control.to_string(),
            "--iscsi".into(),
            format!("portal={}:{PORT}", ground.at),
        ];
        let mut daemons = vec![ground.launch("tgtd", &tgtd, args.map(Into::into).into())?];
        let ask = || {
            let output = ground.run(&self.tgtadm, &self.words(&["--op", "show", "--mode", "portal"]))?;
            let portals = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok((output.success && portals.contains(&ground.at.to_string())).then_some(()))
        };
        ground.await_answer(&mut daemons, Deadline::after(START_LIMIT), ask)?;
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
        let target = format!("{IQN}{name}");
        let (tid, lun) = (number.to_string(), UNIT.to_string());
        let unit = ["--mode", "logicalunit", "--tid", &tid, "--lun", &lun];
        let add = || {
            self.order(ground, &["--op", "new", "--mode", "target", "--tid", &tid, "-T", &target])?;
            let new = ["--op", "new", "--bstype", "rdwr", "--backing-store", path];
            self.order(ground, &[&unit[..], &new].concat())?;
            // What a client says is not needed becomes a hole.
            let thin = ["--op", "update", "--params", "thin_provisioning=1"];
            self.order(ground, &[&unit[..], &thin].concat())?;
            self.order(ground, &["--op", "bind", "--mode", "target", "--tid", &tid, "-I", "ALL"])
        };
        if let Err(error) = add() {
            // What was made of it goes; what was not cannot.
            let _ = self.delete(ground, number);
            return Err(error);
        }
        self.numbers.insert(name.to_owned(), number);
        Ok(DiskPlace::Iscsi { portal: SocketAddrV4::new(ground.at, PORT), target, lun: UNIT })
    }

    fn withdraw(&mut self, ground: &Ground, name: &str) -> Result<()> {
        match self.numbers.remove(name) {
            Some(number) => self.delete(ground, number),
            None => Ok(()),
        }
    }
}

impl Iscsi {
    /// Ends a target, and its clients' sessions.
    fn delete(&self, ground: &Ground, number: u32) -> Result<()> {
        let tid = number.to_string();
        self.order(ground, &["--op", "delete", "--force", "--mode", "target", "--tid", &tid])
    }

    fn order(&self, ground: &Ground, words: &[&str]) -> Result<()> {
        ground.succeed(&self.tgtadm, &self.words(words)).map(drop)
    }

    fn words(&self, words: &[&str]) -> Vec<OsString> {
        let control = self.control.to_string();
        let begin = ["-C", &control, "--lld", "iscsi"];
        begin.iter().chain(words).map(OsString::from).collect()
    }
}
