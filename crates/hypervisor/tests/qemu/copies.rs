//! Disks that move: which blocks, how fast, in step, compared, in two steps.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dunlin_hypervisor::{BackingImage, Side, VmDisk};
use dunlin_record::{Blocks, EventKind, ImageFormat, Mechanism, Place, Status, StorageSettings, Writes};
use nix::sys::signal::{Signal, kill};

use crate::guest::{Deed, image};
use crate::moving::{Moved, allocated, moved, serve};
use crate::world::{World, can_be_written, disk, until};

const MIB: u64 = 1 << 20;
const SIZE_MIB: u32 = 32;
const END: Duration = Duration::from_secs(10);

pub(crate) fn sized(path: &Path) -> VmDisk {
    VmDisk { size_mib: SIZE_MIB, ..disk(path) }
}

/// A source's image with some content, and an empty one for it.
pub(crate) fn pair(world: &World, deed: Deed) -> [PathBuf; 2] {
    let [from, to] = ["from.raw", "to.raw"].map(|name| world.file(name));
    image(&from, SIZE_MIB, deed);
    let content: Vec<u8> = (0..4 * MIB).map(|at| (at * 7 + at / 251) as u8).collect();
    File::options().write(true).open(&from).unwrap().write_all_at(&content, 20 * MIB).unwrap();
    File::create(&to).unwrap().set_len(u64::from(SIZE_MIB) * MIB).unwrap();
    [from, to]
}

fn play(world: &World, deed: Deed, how: &StorageSettings) -> (Moved, [PathBuf; 2]) {
    let [from, to] = pair(world, deed);
    let moved = moved(world, vec![sized(&from)], &[sized(&to)], Some(how), &mut |_| ());
    assert_eq!((moved.ended.status, moved.ended.place), (Status::Completed, Place::Destination));
    assert!(moved.there().run_state().unwrap().running());
    moved.source.end(END).unwrap();
    (moved, [from, to])
}

fn same(one: &Path, other: &Path) {
    assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{} and {}", one.display(), other.display());
}

pub(crate) fn plain(world: &World) {
    let (moved, [from, to]) = play(world, Deed::Nothing, &StorageSettings::default());
    assert_eq!(moved.used(Mechanism::AllBlocks), None);
    assert!(!can_be_written(&to), "it is the VM's");
    moved.there().end(END).unwrap();
    same(&from, &to);
    assert!(allocated(&to) < 6 * MIB, "holes are holes");
}

pub(crate) fn all_blocks(world: &World) {
    let how = StorageSettings { blocks: Blocks::All, ..StorageSettings::default() };
    let (moved, [from, to]) = play(world, Deed::Nothing, &how);
    assert_eq!(moved.used(Mechanism::AllBlocks), Some(Some(true)));
    assert!(!can_be_written(&to), "it is the VM's");
    moved.there().end(END).unwrap();
    same(&from, &to);
    assert!(allocated(&to) < 6 * MIB, "holes again");
}

pub(crate) fn overlay(world: &World) {
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
    };
    let [below, below_there] = pair(world, Deed::Nothing);
    fs::copy(&below, &below_there).unwrap();
    let over = |path: &Path, below: &Path| {
        let [path, below] = [path, below].map(|path| path.to_str().unwrap());
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", below, "-F", "raw", path]);
    };
    for blocks in [Blocks::Overlay, Blocks::Allocated] {
        let [from, to] = ["from.qcow2", "to.qcow2"].map(|name| world.file(name));
        over(&from, &below);
        over(&to, &below_there);
        run("qemu-io", &["-f", "qcow2", "-c", "write -P 7 10M 1M", from.to_str().unwrap()]);
        let disk = |path: &Path, below: &Path| VmDisk {
            format: ImageFormat::Qcow2,
            backing: Some(BackingImage { format: ImageFormat::Raw, path: below.to_owned() }),
            ..sized(path)
        };
        let how = StorageSettings { blocks, ..StorageSettings::default() };
        let moved =
            moved(world, vec![disk(&from, &below)], &[disk(&to, &below_there)], Some(&how), &mut |_| ());
        assert_eq!(moved.ended.status, Status::Completed);
        let copied = moved.copied_bytes().unwrap() as u64;
        println!("{blocks:?}: {copied} copied");
        // Holes are counted as well.
        assert_eq!(copied < 2 * MIB, blocks == Blocks::Overlay, "{copied}");
        moved.source.end(END).unwrap();
        moved.there().end(END).unwrap();
        run("qemu-img", &["compare", from.to_str().unwrap(), to.to_str().unwrap()]);
        if blocks == Blocks::Overlay {
            assert!(allocated(&to) < 2 * MIB);
        }
    }
}

pub(crate) fn rate(world: &World) {
    let how = StorageSettings { rate_mib_s: Some(4.0), ..StorageSettings::default() };
    let (moved, _) = play(world, Deed::Nothing, &how);
    assert_eq!(moved.used(Mechanism::DisksRate), Some(Some(true)));
    let began = moved.told.iter().any(|kind| matches!(kind, EventKind::StorageMirrorStarted { .. }));
    assert!(began);
}

const WRITES: Deed = Deed::Write { first: 4096, last: 24576 };

pub(crate) fn outrun(world: &World) {
    let how = |writes| StorageSettings {
        writes,
        // Less than what a guest writes on a busy machine.
        rate_mib_s: Some(3.0),
        pause_after_s: Some(3.0),
        ..StorageSettings::default()
    };
    let (due, _) = play(world, WRITES, &how(Writes::WhenDue));
    println!("when due: {:?}", due.stopped_because());
    if world.old {
        assert!(due.stopped_because().unwrap().contains("cannot let its writes wait"));
        assert_eq!(due.used(Mechanism::DisksInStep), None);
    } else {
        assert_eq!(due.stopped_because(), None);
        assert_eq!(due.used(Mechanism::DisksInStep), Some(Some(true)));
    }
    drop(due);
    let (background, _) = play(world, WRITES, &how(Writes::Background));
    assert!(background.stopped_because().unwrap().contains("are not to wait"));
    drop(background);
    let (in_step, [_, to]) = play(world, WRITES, &how(Writes::InStep));
    assert_eq!(in_step.stopped_because(), None);
    let expected = if world.old { None } else { Some(true) };
    assert_eq!(in_step.used(Mechanism::DisksInStep), Some(expected));
    let before = fs::read(&to).unwrap();
    until("the guest writes there", || fs::read(&to).unwrap() != before);
}

pub(crate) fn compared(world: &World) {
    let how = StorageSettings { compare: true, ..StorageSettings::default() };
    let (equal, _) = play(world, WRITES, &how);
    let told = |moved: &Moved| {
        moved.told.iter().find_map(|kind| match kind {
            EventKind::StorageCompared { disk, compared_bytes, differs_at_bytes } => {
                Some((disk.clone(), *compared_bytes as u64, *differs_at_bytes))
            }
            _ => None,
        })
    };
    assert_eq!(told(&equal), Some(("data".into(), 32 * MIB, None)));
    drop(equal);

    let [from, to] = pair(world, WRITES);
    let there = to.clone();
    let mut spoil = |kind: &EventKind| {
        if matches!(kind, EventKind::StorageMirrored { .. }) {
            let file = File::options().write(true).open(&there).unwrap();
            file.write_all_at(&[9; 512], 30 * MIB).unwrap();
        }
    };
    let moved = moved(world, vec![sized(&from)], &[sized(&to)], Some(&how), &mut spoil);
    assert_eq!((moved.ended.status, moved.ended.place), (Status::Failed, Place::Source));
    assert_eq!(told(&moved), Some(("data".into(), 30 * MIB, Some(30 << 20))));
    let error = moved.ended.error.clone().unwrap();
    assert!(error.contains("images of data differ, first at byte 31457280"), "{error}");
    let before = fs::read(&from).unwrap();
    until("the guest writes at its source", || fs::read(&from).unwrap() != before);
}

pub(crate) fn two_steps(world: &World) {
    let [from, to] = pair(world, WRITES);
    let (_server, place) = serve(world, &to);
    let how = StorageSettings { two_steps: true, rate_mib_s: Some(16.0), ..StorageSettings::default() };
    let there = VmDisk { place, ..sized(&to) };
    let mut let_go = false;
    let mut look = |kind: &EventKind| {
        if matches!(kind, EventKind::StorageMoved { .. }) {
            let_go = can_be_written(&from);
        }
    };
    let how = if world.old { StorageSettings { writes: Writes::InStep, ..how } } else { how };
    let moved = moved(world, vec![sized(&from)], &[there], Some(&how), &mut look);
    assert_eq!((moved.ended.status, moved.ended.place), (Status::Completed, Place::Destination));
    assert!(let_go, "the old disk is let go of before the memory moves");
    assert!(moved.told.iter().any(|kind| matches!(kind, EventKind::StorageMoved { .. })));
    moved.source.end(END).unwrap();
    let before = fs::read(&to).unwrap();
    assert_eq!(before[20 << 20..24 << 20], fs::read(&from).unwrap()[20 << 20..24 << 20]);
    until("the guest writes", || fs::read(&to).unwrap() != before);
}

pub(crate) fn only_first_step(world: &World) {
    let [from, to] = pair(world, WRITES);
    let (_server, place) = serve(world, &to);
    let writes = if world.old { Writes::InStep } else { Writes::WhenDue };
    let how = StorageSettings { two_steps: true, writes, ..StorageSettings::default() };
    let there = VmDisk { place, ..sized(&to) };
    // Once the disks are changed, the destination dies.
    let victim = std::cell::Cell::new(None);
    let own = std::process::id();
    let mut strike = |kind: &EventKind| {
        if matches!(kind, EventKind::StorageMoved { .. }) {
            victim.set(incoming(own));
            if let Some(pid) = victim.get() {
                kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            }
        }
    };
    let mut moved = moved(world, vec![sized(&from)], &[there], Some(&how), &mut strike);
    assert!(victim.get().is_some());
    assert_eq!((moved.ended.status, moved.ended.place), (Status::Failed, Place::Source));
    let error = moved.ended.error.clone().unwrap();
    assert!(error.contains("it has its new disks since then, at nbd://"), "{error}");
    assert!(moved.source.run_state().unwrap().running());
    assert!(can_be_written(&from));
    let before = fs::read(&to).unwrap();
    until("the guest writes to its new disk", || fs::read(&to).unwrap() != before);
    let mover = moved.mover.as_mut().unwrap();
    assert_eq!(mover.disks().unwrap().changed().unwrap(), ["data"]);
    assert!(mover.handle(Side::Destination).unwrap().check_alive().is_err());
}

/// The QEMU that waits for a VM, of those that this process started.
fn incoming(own: u32) -> Option<i32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|pid| u32::try_from(*pid) != Ok(own)).find(|pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        words.contains("-incoming") && words.contains("qemu-system")
    })
}
