//! Storage that fails while disks move, or while a VM lives on it.

use std::fs::{self, File};
use std::time::Duration;

use dunlin_hypervisor::VmDisk;
use dunlin_record::{EventKind, Place, Status, StorageSettings, Writes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::copies::{pair, sized};
use crate::guest::{Deed, image};
use crate::moving::{moved, serve};
use crate::world::{World, until};

const WRITES: Deed = Deed::Write { first: 4096, last: 24576 };

pub(crate) fn too_small(world: &World) {
    let [from, to] = pair(world, WRITES);
    File::options().write(true).open(&to).unwrap().set_len(8 << 20).unwrap();
    let how = StorageSettings::default();
    let moved = moved(world, vec![sized(&from)], &[sized(&to)], Some(&how), &mut |_| ());
    assert_eq!((moved.ended.status, moved.ended.place), (Status::Failed, Place::Source));
    let error = moved.ended.error.clone().unwrap();
    assert!(error.contains("could not copy data") && error.contains("holds 8388608 bytes"), "{error}");
    assert!(fs::read(&to).unwrap().iter().all(|byte| *byte == 0), "nothing was copied");
    assert!(moved.source.run_state().unwrap().running());
}

pub(crate) fn server_killed(world: &World) {
    let [from, to] = pair(world, WRITES);
    let (mut server, place) = serve(world, &to);
    // It stays behind, in the background, until it is killed.
    let how = StorageSettings {
        two_steps: true,
        writes: Writes::Background,
        rate_mib_s: Some(4.0),
        ..StorageSettings::default()
    };
    let there = VmDisk { place, ..sized(&to) };
    let mut strike = |kind: &EventKind| {
        if matches!(kind, EventKind::StorageMirrorStarted { .. }) {
            let pid = Pid::from_raw(server.pid().unwrap().try_into().unwrap());
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(1500));
                kill(pid, Signal::SIGKILL).unwrap();
            });
        }
    };
    let moved = moved(world, vec![sized(&from)], &[there], Some(&how), &mut strike);
    server.kill();
    assert_eq!(moved.ended.place, Place::Source);
    assert!(matches!(moved.ended.status, Status::Failed | Status::NotConverged));
    let before = fs::read(&from).unwrap();
    until("the guest writes to its own disk", || fs::read(&from).unwrap() != before);
}

pub(crate) fn frozen(world: &World) {
    let path = world.file("served.raw");
    image(&path, 32, WRITES);
    let (server, place) = serve(world, &path);
    let disk = VmDisk { place, ..sized(&path) };
    let pid = Pid::from_raw(server.pid().unwrap().try_into().unwrap());
    let mut freeze = |kind: &EventKind| {
        if matches!(kind, EventKind::MigrateCommand) {
            kill(pid, Signal::SIGSTOP).unwrap();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(9));
                kill(pid, Signal::SIGCONT).unwrap();
            });
        }
    };
    let moved = moved(world, vec![disk.clone()], &[disk], None, &mut freeze);
    // Wherever it is, it is known where, and runs there.
    let vm = match moved.ended.place {
        Place::Destination => moved.there(),
        Place::Source => &*moved.source,
        other => panic!("{other:?}: {:?}", moved.ended),
    };
    assert!(vm.run_state().unwrap().running());
    let before = fs::read(&path).unwrap();
    until("the guest writes", || fs::read(&path).unwrap() != before);
}
