//! Files carried from host to host: every way, on every kind of host.

mod compared;
mod faults;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_image::Content;
use dunlin_record::{FileCarried, FileCompression, StandstillStage, Transfer, TransferWay};
use dunlin_testbed::{
    Carry, CarryProgress, Host, HostKind, Inside, LabSpec, NamelessFile, Result, Testbed, carry,
};

use super::roles::up;

pub(crate) use compared::{compared, table};
pub(crate) use faults::faults;

const LIMIT: Duration = Duration::from_secs(60);
const COMPRESSIONS: [FileCompression; 3] =
    [FileCompression::None, FileCompression::Gzip, FileCompression::Zstd];
const WAYS: [TransferWay; 2] = [TransferWay::Stream, TransferWay::Scp];
const LENGTH: u64 = 6 << 20;
/// The rest of it is a hole.
const WRITTEN: [(u64, u64); 2] = [(0, 2 << 20), ((4 << 20) + 5000, 1 << 20)];
const WRITTEN_BYTES: u64 = 3 << 20;

/// By every way with every compression, on a lab's own hosts of both kinds.
pub(crate) fn ways(inside: &Inside) {
    for kind in [HostKind::Namespace, HostKind::Node] {
        let lab = up(inside, &LabSpec { kind, ..LabSpec::new(dunlin_record::Links::default()) });
        let [from, to] = &Testbed::hosts(&lab)[..] else { panic!("two hosts") };
        by_every_way(from, to);
        for way in WAYS.into_iter().filter(|way| can(*way)) {
            a_nameless_file(from, to, way, kind);
        }
    }
}

/// By every way with every compression, from one to another.
pub(crate) fn by_every_way(from: &Arc<dyn Host>, to: &Arc<dyn Host>) {
    let image = sparse();
    let source = from.scratch().join("disk.raw");
    from.copy_to(&image.path(), &source).unwrap();
    for way in WAYS {
        if !can(way) {
            let there = to.scratch().join("disk-by-scp");
            let transfer = transfer(way, FileCompression::None);
            let error = bring(from, &source, to, &there, &transfer, &mut |_| ()).unwrap_err().to_string();
            assert!(
                error.starts_with("to carry disk by scp is not supported: sshd changes users"),
                "{error}"
            );
            assert!(to.read(&there).is_err());
            continue;
        }
        for compression in COMPRESSIONS {
            let destination = to.scratch().join(format!("disk-{}-{}", way.name(), compression.name()));
            let before = [travelled(from, "migration"), travelled(from, "uplink")];
            let transfer = transfer(way, compression);
            let mut told = Vec::new();
            let carried =
                bring(from, &source, to, &destination, &transfer, &mut |one| told.push(one)).unwrap();
            let after = [travelled(from, "migration"), travelled(from, "uplink")];
            assert!(same(to, &destination, image.file()), "{carried:?}");
            let mode =
                to.run(Path::new("stat"), &["-c%a".into(), destination.clone().into()], LIMIT).unwrap();
            assert_eq!(mode.stdout, b"600\n");
            figures(&carried, &transfer);
            stages(&told, &transfer);
            let [content, beside] = [after[0] - before[0], after[1] - before[1]];
            let sent = carried.sent_bytes as u64;
            println!(
                "{}/{}: {sent} bytes of content, {content} on its link, {beside} on the other",
                way.name(),
                compression.name()
            );
            assert!((sent..sent + sent / 8 + (64 << 10)).contains(&content), "{content} of {sent}");
            assert!(beside < 300 << 10, "{beside}");
            to.remove(&destination).unwrap();
        }
    }
    nothing_is_left(from);
    nothing_is_left(to);
    from.remove(&source).unwrap();
}

/// As the disks of VMs are, where hosts share the bench's files.
fn a_nameless_file(from: &Arc<dyn Host>, to: &Arc<dyn Host>, way: TransferWay, kind: HostKind) {
    if kind != HostKind::Namespace {
        return;
    }
    let image = sparse();
    for compression in COMPRESSIONS {
        let folder = tempfile::tempdir().unwrap();
        let there = NamelessFile::make_in(folder.path()).unwrap();
        there.resize(LENGTH + 4096).unwrap();
        let transfer = transfer(way, compression);
        let carried = bring(from, &image.path(), to, &there.path(), &transfer, &mut |_| ()).unwrap();
        figures(&carried, &transfer);
        assert!(bytes(there.file()) == bytes(image.file()));
        let taken = there.allocated_bytes().unwrap();
        match way {
            TransferWay::Stream => assert!(taken <= WRITTEN_BYTES + (64 << 10), "holes stay: {taken}"),
            TransferWay::Scp => assert!(taken >= LENGTH, "it knows none: {taken}"),
        }
        // It holds something now.
        let error = bring(from, &image.path(), to, &there.path(), &transfer, &mut |_| ()).unwrap_err();
        assert!(error.to_string().ends_with("is there, and holds something"), "{error}");
        assert!(bytes(there.file()) == bytes(image.file()), "and stays");
    }
}

/// Whether this user's lab has what it takes.
fn can(way: TransferWay) -> bool {
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    way == TransferWay::Stream || users.split_whitespace().eq(["0", "0", "4294967295"])
}

fn figures(carried: &FileCarried, transfer: &Transfer) {
    let content = match transfer.way {
        TransferWay::Stream => WRITTEN_BYTES..WRITTEN_BYTES + (16 << 10),
        TransferWay::Scp => LENGTH..LENGTH + 1,
    };
    assert!(content.contains(&(carried.content_bytes as u64)), "{carried:?}");
    assert_eq!((carried.file.as_str(), carried.file_bytes), ("disk", LENGTH as i64));
    let is_packed = transfer.compression != FileCompression::None;
    let half = WRITTEN_BYTES as f64 / 2.0;
    let left = if is_packed {
        0.97 * half..1.08 * half
    } else {
        carried.content_bytes as f64..1.01 * carried.content_bytes as f64
    };
    assert!(left.contains(&(carried.sent_bytes as f64)), "{carried:?}");
    assert_eq!(carried.compress_ms.is_some_and(|ms| ms > 0.0), is_packed, "{carried:?}");
    assert_eq!(carried.decompress_ms.is_some_and(|ms| ms > 0.0), is_packed, "{carried:?}");
    assert!(carried.transfer_ms.unwrap() > 0.0);
    let is_stream = transfer.way == TransferWay::Stream;
    assert_eq!((carried.overlapped, carried.verified), (is_stream, is_stream.then_some(true)));
}

fn stages(told: &[CarryProgress], transfer: &Transfer) {
    use StandstillStage::{Compress, Decompress, Transfer as Way};
    let mut seen: Vec<StandstillStage> = told.iter().map(|one| one.stage).collect();
    seen.dedup();
    match (transfer.way, transfer.compression) {
        (TransferWay::Scp, FileCompression::Gzip | FileCompression::Zstd) => {
            assert_eq!(seen, [Compress, Way, Decompress]);
        }
        _ => assert_eq!(seen, [Way]),
    }
    assert_eq!(
        told.last().map(|one| Some(one.done_bytes)),
        told.last().map(|one| one.total_bytes),
        "{told:?}"
    );
}

fn transfer(way: TransferWay, compression: FileCompression) -> Transfer {
    let threads = if compression == FileCompression::Zstd { 2 } else { 1 };
    Transfer { way, compression, threads, ..Transfer::default() }
}

fn bring(
    from: &Arc<dyn Host>,
    source: &Path,
    to: &Arc<dyn Host>,
    destination: &Path,
    transfer: &Transfer,
    on_progress: &mut dyn FnMut(CarryProgress),
) -> Result<FileCarried> {
    let cancel = Cancel::new();
    let order =
        Carry { from, source, to, destination, file: "disk", transfer, cancel: &cancel, limit: LIMIT };
    carry(&order, on_progress)
}

fn sparse() -> NamelessFile {
    image(LENGTH, &WRITTEN)
}

/// Half of what is written compresses away.
fn image(length: u64, written: &[(u64, u64)]) -> NamelessFile {
    let file = NamelessFile::make_in(&std::env::temp_dir()).unwrap();
    file.resize(length).unwrap();
    for (offset, bytes) in written {
        Content { seed: 14, compressible_percent: 50 }.write(file.file(), *offset, *bytes).unwrap();
    }
    file
}

fn bytes(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().size() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Whether a host's file is as one here.
fn same(host: &Arc<dyn Host>, there: &Path, here: &File) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let local: PathBuf = folder.path().join("back");
    host.copy_from(there, &local).unwrap();
    bytes(&File::open(local).unwrap()) == bytes(here)
}

/// What a host has sent through a device.
fn travelled(host: &Arc<dyn Host>, device: &str) -> u64 {
    let output = host.run(Path::new("cat"), &["/proc/net/dev".into()], LIMIT).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{device}:"))).unwrap();
    line.split_whitespace().nth(8).unwrap().parse().unwrap()
}

/// Neither programs nor files of ours.
fn nothing_is_left(host: &Arc<dyn Host>) {
    let said = |script: &str| {
        let args = ["-c".into(), script.into(), host.scratch().into()];
        let output = host.run(Path::new("sh"), &args, LIMIT).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said("ls -d \"$0\"/carry-* 2>/dev/null; true"), "", "on {}", host.id());
    let running = said("for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null; echo; done; true");
    let is_ours = |line: &&str| {
        let program = line.split(' ').next().unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default();
        ["scp", "ssh", "gzip", "zstd"].contains(&program)
            || (program.contains("sshd") && line.contains("/carry-"))
    };
    let ours: Vec<&str> = running.lines().filter(is_ours).collect();
    assert!(ours.is_empty(), "on {}: {ours:?}", host.id());
}
