//! Two hosts of a lab with a QEMU on each, and what tests do there.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_hypervisor::{Hypervisor, OpenOrder, Registry, Side, VmDisk, VmOrder, VmSpec};
use dunlin_record::{Case, Event, EventKind, ImageFormat, Links, VmId};
use dunlin_test_support::not_permitted;
use dunlin_testbed::{DiskPlace, Host, Lab, LabSpec, TestbedError, enter};
use serde_json::json;

/// How a role says that a part of a test cannot run here.
pub(crate) const LEFT_OUT: &str = "left out: ";
/// How long a role may take to end when it is asked to.
const END_LIMIT: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(20);

/// Two hosts, each with the same QEMU.
pub(crate) struct World {
    pub(crate) hypervisors: [Arc<dyn Hypervisor>; 2],
    pub(crate) hosts: [Arc<dyn Host>; 2],
    pub(crate) folder: tempfile::TempDir,
    /// Which is the older one, if that is what they have.
    pub(crate) old: bool,
}

/// Plays a test in a lab with each QEMU that is here.
pub(crate) fn play(test: fn(&World)) -> ExitCode {
    match enter(&format!("test-{}", std::process::id()), END_LIMIT) {
        Ok(inside) => {
            let lab = Lab::up(&inside, &LabSpec::new(Links::default())).unwrap();
            if Command::new("qemu-system-x86_64").arg("--version").output().is_err() {
                return not_permitted("qemu-system-x86_64 is not installed");
            }
            test(&World::new(&lab, None));
            match old() {
                Some(old) => test(&World::new(&lab, Some(old))),
                None => println!("{LEFT_OUT}with QEMU 7.2, which script/fetch-qemu-7.2 puts into the cache"),
            }
            ExitCode::SUCCESS
        }
        Err(TestbedError::NotPermitted { what, mend }) => {
            not_permitted(&format!("{what} is not permitted here; to mend: {mend}"))
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// QEMU 7.2 and its firmware, as `script/fetch-qemu-7.2` leaves them.
fn old() -> Option<(PathBuf, PathBuf)> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/dunlin"));
    let cache = std::env::var_os("DUNLIN_CACHE").map(PathBuf::from).or_else(home)?.join("qemu-7.2");
    let (binary, firmware) = (cache.join("bin/qemu-system-x86_64"), cache.join("share/qemu"));
    let version = Command::new(&binary).arg("--version").output().ok()?;
    String::from_utf8_lossy(&version.stdout).contains("version 7.2").then_some((binary, firmware))
}

impl World {
    fn new(lab: &Lab, qemu: Option<(PathBuf, PathBuf)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = json!({ "accelerator": "tcg" });
        let old = qemu.is_some();
        if let Some((binary, firmware)) = qemu {
            settings["binary"] = binary.display().to_string().into();
            settings["firmware"] = firmware.display().to_string().into();
        }
        let case = case(&settings);
        let registry = Registry::builtin();
        let driver = registry.of(&case.hypervisor).unwrap();
        let hosts: [Arc<dyn Host>; 2] = [lab.hosts()[0].clone(), lab.hosts()[1].clone()];
        let open = |host: &Arc<dyn Host>, side| {
            driver.open(&OpenOrder { host, side, case: &case, cache: folder.path() }).unwrap()
        };
        let hypervisors = [open(&hosts[0], Side::Source), open(&hosts[1], Side::Destination)];
        let version = hypervisors[0].identity().version;
        println!("QEMU {version}");
        Self { hypervisors, hosts, folder, old }
    }

    /// A file of this world; hosts of the lab see the same.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A VM's order, and what becomes of it.
    pub(crate) fn order<'a>(&'a self, spec: &'a VmSpec) -> (VmOrder<'a>, Told) {
        let (events, told) = channel();
        (VmOrder { spec, logs: self.folder.path(), events }, Told { told, seen: Vec::new() })
    }
}

/// What was told of a VM.
pub(crate) struct Told {
    told: Receiver<Event>,
    pub(crate) seen: Vec<EventKind>,
}

impl Told {
    /// Whether its process was told to have ended as it should, once nobody has it any more.
    pub(crate) fn expected_end(&mut self) -> Option<bool> {
        self.seen.extend(self.told.try_iter().map(|event| event.kind));
        self.seen.iter().find_map(|kind| match kind {
            EventKind::ProcessEnded { expected, .. } => Some(*expected),
            _ => None,
        })
    }
}

/// A case with a QEMU as these settings say.
fn case(settings: &serde_json::Value) -> Case {
    serde_json::from_value(json!({
        "name": "one", "vm": {}, "qemu": settings, "link": {}, "probes": {}, "workload": null,
        "strategy": { "kind": "pre-copy" }, "trials": {}
    }))
    .unwrap()
}

/// A VM without a network, which boots from its first disk.
pub(crate) fn spec(disks: Vec<VmDisk>) -> VmSpec {
    VmSpec {
        id: VmId::new("vm0"),
        memory_mib: 32,
        vcpus: 1,
        machine: None,
        cpu: None,
        kernel: PathBuf::new(),
        initrd: PathBuf::new(),
        kernel_args: String::new(),
        tap: None,
        mac: String::new(),
        disks,
    }
}

/// A raw disk in a file.
pub(crate) fn disk(path: &Path) -> VmDisk {
    VmDisk {
        serial: "data".into(),
        size_mib: 8,
        format: ImageFormat::Raw,
        place: DiskPlace::File(path.to_owned()),
        backing: None,
        direct: false,
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Deadline::after(LIMIT);
    while !is_so() {
        assert!(!deadline.passed(), "{what}: not in {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether another program of the machine may write an image, by its locks.
pub(crate) fn can_be_written(path: &Path) -> bool {
    let command = ["-c", "read 0 512", "-f", "raw"];
    Command::new("qemu-io").args(command).arg(path).output().unwrap().status.success()
}
