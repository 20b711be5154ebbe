//! A whole migration of the guest of 512 bytes, with its disks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_hypervisor::{Journey, MoveOrder, Side, Vm, VmDisk, VmOrder};
use dunlin_migrate::{Ended, Job, Surroundings, migrate};
use dunlin_policy::Limits;
use dunlin_record::{Event, EventKind, Mechanism, RecordError, StorageSettings, Strategy, Transport};
use dunlin_testbed::{DiskPlace, Launch, Network, Process};

use crate::world::{World, spec};

const LIMITS: Limits = Limits { total_ms: 60_000.0, stall_ms: 12_000.0, patience_ms: 60_000.0 };

/// A move under way: real time, and all that is told.
struct Watched<'a> {
    events: Receiver<Event>,
    told: Vec<Event>,
    /// What happens to it at an event.
    meddle: &'a mut dyn FnMut(&EventKind),
    failure: Option<RecordError>,
}

impl Surroundings for Watched<'_> {
    fn now_ns(&self) -> i64 {
        dunlin_clock::now_ns()
    }

    fn next(&mut self, limit: Duration) -> Option<Event> {
        match self.events.recv_timeout(limit) {
            Ok(event) => {
                self.keep(&event);
                Some(event)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(limit);
                None
            }
        }
    }

    fn keep(&mut self, event: &Event) {
        (self.meddle)(&event.kind);
        self.told.push(event.clone());
    }

    fn fail(&mut self, error: RecordError) {
        self.failure.get_or_insert(error);
    }

    fn failure(&self) -> Option<&RecordError> {
        self.failure.as_ref()
    }
}

/// How a move ended, and what is left of it.
pub(crate) struct Moved {
    pub(crate) ended: Ended,
    pub(crate) told: Vec<EventKind>,
    pub(crate) source: Arc<dyn Vm>,
    /// Kept alive.
    pub(crate) mover: Option<Box<dyn dunlin_hypervisor::Mover>>,
}

impl Moved {
    pub(crate) fn there(&self) -> &dyn Vm {
        self.mover.as_ref().unwrap().handle(Side::Destination).unwrap()
    }

    /// Whether a mechanism was used, if it was asked for.
    pub(crate) fn used(&self, mechanism: Mechanism) -> Option<Option<bool>> {
        self.told.iter().find_map(|kind| match kind {
            EventKind::MechanismSeen(seen) if seen.mechanism == mechanism => {
                println!("{mechanism:?}: {:?} ({})", seen.used, seen.evidence);
                Some(seen.used)
            }
            _ => None,
        })
    }

    /// Why the VM was stopped for its disks, if it was.
    pub(crate) fn stopped_because(&self) -> Option<&str> {
        self.told.iter().find_map(|kind| match kind {
            EventKind::Decision { action, reason } if action == "stop-vm" => Some(reason.as_str()),
            _ => None,
        })
    }

    /// What was copied when the disks were even, or changed.
    pub(crate) fn copied_bytes(&self) -> Option<i64> {
        self.told.iter().find_map(|kind| match kind {
            EventKind::StorageMirrored { copied_bytes } | EventKind::StorageMoved { copied_bytes } => {
                *copied_bytes
            }
            _ => None,
        })
    }
}

/// Moves a VM with these disks to where it has those.
pub(crate) fn moved(
    world: &World,
    from: Vec<VmDisk>,
    to: &[VmDisk],
    how: Option<&StorageSettings>,
    meddle: &mut dyn FnMut(&EventKind),
) -> Moved {
    let [here, there] = &world.hypervisors;
    let (events, receiver) = channel();
    let spec = spec(from);
    let order = VmOrder { spec: &spec, logs: world.folder.path(), events: events.clone() };
    let source = here.maker().unwrap().boot(&order).unwrap();
    // The firmware needs a moment to boot it.
    std::thread::sleep(Duration::from_millis(700));
    let (strategy, transport) = (Strategy::PreCopy, Transport::default());
    let order = MoveOrder {
        strategy: &strategy,
        transport: &transport,
        disks: to,
        copies: how,
        journey: Journey::Excursion,
        logs: world.folder.path(),
        events,
    };
    let mut mover = here.mover(&source, &**there, &order).unwrap();
    drop(order);
    let mut watched = Watched { events: receiver, told: Vec::new(), meddle, failure: None };
    let ended = migrate(
        Job {
            mover: &mut *mover,
            strategy: &strategy,
            limits: LIMITS,
            cancel: &Cancel::new(),
            on_progress: &mut |_, _| Ok(()),
            on_mirrors: &mut |_, _| Ok(()),
        },
        &mut watched,
    );
    println!("{ended:?}");
    let told = watched.told.into_iter().map(|event| event.kind).collect();
    Moved { ended, told, source, mover: Some(mover) }
}

/// A server of a raw image on the second host, which both reach; it ends with its process.
pub(crate) fn serve(world: &World, image: &Path) -> (Process, DiskPlace) {
    let host = &world.hosts[1];
    let address = host.address(Network::Migration).unwrap();
    let port = 10_900;
    let args = [
        "--blockdev".to_owned(),
        format!("driver=file,node-name=file,filename={}", image.display()),
        "--blockdev".into(),
        "driver=raw,node-name=raw,file=file".into(),
        "--nbd-server".into(),
        format!("addr.type=inet,addr.host={address},addr.port={port},max-connections=0"),
        "--export".into(),
        "type=nbd,id=e,node-name=raw,name=disk,writable=on".into(),
    ];
    let launch = Launch {
        program: "qemu-storage-daemon".into(),
        args: args.into_iter().map(Into::into).collect(),
        stdout: "/dev/null".into(),
        stderr: world.file("daemon.log"),
    };
    let process = host.launch(launch).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let server = std::net::SocketAddrV4::new(address, port);
    (process, DiskPlace::Nbd { server, export: "disk".into() })
}

/// Bytes that a file takes up.
pub(crate) fn allocated(path: &PathBuf) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).unwrap().blocks() * 512
}
