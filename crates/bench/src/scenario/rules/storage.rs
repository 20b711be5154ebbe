//! The rules for a VM's disks: what one begins with, who serves it, how it is copied, and how files of a VM that stands still
//! are brought to the other host.

use dunlin_guest::disk_room_mib;
use dunlin_record::{
    Blocks, Case, Disk, FileCompression, ImageFormat, Link, StorageFault, StorageServer, StorageSettings,
    Strategy, Transfer, TransferWay, Transport, VmSettings, Workload, Writes,
};

use crate::toml_file::{ProblemKind, missing};

/// The least disk, in MiB: a file system and some room. The keys' own list has the same.
const DISK_LEAST_MIB: u32 = 32;

/// A rule that is broken: the setting to blame, and why.
type Broken = (&'static str, ProblemKind);

/// The rules that a case's disks break, and what is asked of them.
pub(super) fn broken_by_storage(case: &Case) -> Vec<Broken> {
    let mut broken: Vec<Broken> = case.vm.disk.iter().flat_map(broken_by_disk).collect();
    broken.extend(broken_by_place(case));
    broken.extend(broken_by_server(case));
    broken.extend(broken_by_copy(case));
    if let Some(transfer) = case.strategy.standstill() {
        broken.extend(broken_by_standstill(case));
        broken.extend(broken_by_transfer(transfer, &case.vm, &case.strategy));
    }
    broken
}

/// The rule that a workload's file breaks, or the files of several together: the disk must hold them.
pub(super) fn broken_by_file(workload: &Workload, disk: Option<&Disk>) -> Option<Broken> {
    let file_mib = workload.file_mib()?;
    let Some(Disk { size_mib, used_mib, .. }) = disk else {
        return Some(("file_mib", missing("vm.disk = { size_mib = … } beside it: what the file is on")));
    };
    let used = used_mib.map(|mib| format!(" and vm.disk.used_mib = {mib}")).unwrap_or_default();
    let room_mib = disk_room_mib(*size_mib).saturating_sub(used_mib.unwrap_or(0));
    let expected =
        format!("at most {room_mib} MiB (vm.disk.size_mib = {size_mib}, less its file system{used})");
    (file_mib > room_mib).then(|| ("file_mib", impossible(expected, &file_mib)))
}

fn impossible(expected: impl Into<String>, found: &impl ToString) -> ProblemKind {
    ProblemKind::Impossible { expected: expected.into(), found: found.to_string() }
}

fn broken_by_disk(disk: &Disk) -> Vec<Broken> {
    let mut broken = Vec::new();
    let Disk { size_mib, format, used_mib, compressibility_percent, image, backing } = disk;
    if *size_mib < DISK_LEAST_MIB {
        return vec![("vm.disk", missing("size_mib: its virtual size, an image's own or more"))];
    }
    let own = "no image beside it: what an image holds is its own";
    match (image, used_mib) {
        (Some(_), Some(used_mib)) => broken.push(("vm.disk.used_mib", impossible(own, used_mib))),
        (Some(_), None) if *compressibility_percent > 0 => {
            broken.push(("vm.disk.compressibility_percent", impossible(own, compressibility_percent)));
        }
        (None, None) if *compressibility_percent > 0 => {
            let expected = missing("vm.disk.used_mib beside it: what is to be compressible");
            broken.push(("vm.disk.compressibility_percent", expected));
        }
        (None, Some(used_mib)) if *used_mib > disk_room_mib(*size_mib) => {
            let room_mib = disk_room_mib(*size_mib);
            let expected =
                format!("at most {room_mib} MiB (vm.disk.size_mib = {size_mib}, less its file system)");
            broken.push(("vm.disk.used_mib", impossible(expected, used_mib)));
        }
        _ => {}
    }
    if *backing && *format != ImageFormat::Qcow2 {
        let expected = "vm.disk.format = \"qcow2\" beside it: a raw image lies over no other";
        broken.push(("vm.disk.backing", impossible(expected, &quoted(format.name()))));
    }
    broken
}

/// Where disks lie, and the network to those that serve them.
fn broken_by_place(case: &Case) -> Vec<Broken> {
    let mut broken = Vec::new();
    let server = case.storage.server;
    if server == StorageServer::Folder {
        if case.link.storage != Link::default() {
            let expected = "storage.server beside it, one that is reached through a network: \"nfs\", \"iscsi\" or \"nbd\"";
            broken.push(("link.storage", impossible(expected, &quoted(server.name()))));
        }
    } else if !case.vm.shared_storage {
        let expected = "\"folder\" where each host has disks of its own (vm.shared_storage = false)";
        broken.push(("storage.server", impossible(expected, &quoted(server.name()))));
    } else if case.vm.disk.is_none() && case.vm.swap_mib.is_none() {
        broken.push(("storage.server", missing("vm.disk or vm.swap_mib beside it: what is to be served")));
    }
    broken.extend(case.storage.fault.as_ref().and_then(|fault| broken_by_fault(fault, case)));
    broken
}

/// What takes a server of disks, or cannot be with one.
fn broken_by_server(case: &Case) -> Option<Broken> {
    let is_shared = case.storage.server != StorageServer::Folder;
    if is_shared || (case.vm.moves_disks() && case.storage.two_steps) {
        // One is started for each VM's disks, and a host has room for one of a kind: it has one port.
        let setting = if is_shared { "storage.server" } else { "storage.two_steps" };
        let expected = format!("1 where {setting} has disks served: they are served for one VM at a time");
        return (case.vm.count > 1).then(|| ("vm.count", impossible(expected, &case.vm.count)));
    }
    let server =
        "storage.server beside it, other than \"folder\", or storage.two_steps = true: what it befalls";
    case.storage.fault.as_ref().map(|_| ("storage.fault", missing(server)))
}

/// When nothing can befall a server any more.
fn broken_by_fault(fault: &StorageFault, case: &Case) -> Option<Broken> {
    let limit_s = case.trials.limit_s;
    (fault.after_s >= limit_s).then(|| {
        let expected = format!("less than trials.limit_s = {limit_s}");
        ("storage.fault.after_s", impossible(expected, &fault.after_s))
    })
}

/// How disks are copied while their VM runs.
fn broken_by_copy(case: &Case) -> Vec<Broken> {
    let asked = copy_settings(&case.storage);
    if !case.vm.moves_disks() {
        let disks =
            "vm.shared_storage = false and vm.disk or vm.swap_mib beside it: only disks that move are copied";
        return asked.into_iter().map(|path| (path, missing(disks))).collect();
    }
    if case.strategy.standstill().is_some() {
        let expected = "a strategy during which the VM runs: the files of one that stands still are brought as strategy says";
        let refused = |path| (path, impossible(expected, &quoted(case.strategy.name())));
        return asked.into_iter().map(refused).collect();
    }
    let mut broken = Vec::new();
    let StorageSettings { blocks, two_steps, compare, pause_after_s, .. } = &case.storage;
    if *blocks == Blocks::Overlay && !case.vm.disk.as_ref().is_some_and(|disk| disk.backing) {
        broken.push(("storage.blocks", missing("vm.disk.backing = true beside it: what it lies over")));
    }
    if *two_steps && *compare {
        let expected = "no storage.two_steps beside it: once the VM runs on with the destination's disks, the source's are old";
        broken.push(("storage.compare", impossible(expected, &true)));
    }
    let limit_s = case.trials.limit_s;
    if let Some(pause_after_s) = pause_after_s.filter(|after_s| *after_s >= limit_s) {
        let expected = format!("less than trials.limit_s = {limit_s}");
        broken.push(("storage.pause_after_s", impossible(expected, &pause_after_s)));
    }
    broken
}

/// Of the settings for such a copy those that are not at their defaults.
fn copy_settings(storage: &StorageSettings) -> Vec<&'static str> {
    let settings = [
        ("storage.blocks", storage.blocks != Blocks::default()),
        ("storage.writes", storage.writes != Writes::default()),
        ("storage.two_steps", storage.two_steps),
        ("storage.rate_mib_s", storage.rate_mib_s.is_some()),
        ("storage.pause_after_s", storage.pause_after_s.is_some()),
        ("storage.compare", storage.compare),
    ];
    settings.into_iter().filter(|(_, is_asked)| *is_asked).map(|(path, _)| path).collect()
}

/// What a VM that stands still cannot have beside it.
fn broken_by_standstill(case: &Case) -> Vec<Broken> {
    let mut broken = Vec::new();
    let strategy = quoted(case.strategy.name());
    if case.vm.paused {
        let expected =
            "a strategy that moves memory as it is: only a VM that runs can be put to rest and woken";
        broken.push(("vm.paused", impossible(expected, &strategy)));
    }
    let Transport { kind, channels, compression, .. } = &case.transport;
    let unused = [
        ("transport.kind", *kind != Transport::default().kind),
        ("transport.channels", channels.is_some()),
        ("transport.compression", compression.is_some()),
    ];
    let expected =
        "a strategy by which one hypervisor sends memory to the other: files are brought as strategy says";
    let unused = unused.into_iter().filter(|(_, is_asked)| *is_asked);
    broken.extend(unused.map(|(path, _)| (path, impossible(expected, &strategy))));
    broken
}

/// How its files are brought.
fn broken_by_transfer(transfer: &Transfer, vm: &VmSettings, strategy: &Strategy) -> Vec<Broken> {
    let Transfer { way, compression, level, threads, sparse } = transfer;
    // Booted where it is to run, a VM whose disks both hosts see leaves nothing to be brought.
    if matches!(strategy, Strategy::Cold(_)) && !vm.moves_disks() {
        let asked = [
            ("strategy.way", *way != TransferWay::default()),
            ("strategy.compression", *compression != FileCompression::None),
            ("strategy.level", level.is_some()),
            ("strategy.threads", *threads > 1),
            ("strategy.sparse", sparse.is_some()),
        ];
        let files =
            "vm.shared_storage = false and vm.disk or vm.swap_mib beside it: no file is to be brought";
        return asked.into_iter().filter(|(_, is)| *is).map(|(path, _)| (path, missing(files))).collect();
    }
    let mut broken = Vec::new();
    if *way == TransferWay::Scp && *sparse == Some(true) {
        let expected = "false, or strategy.way = \"stream\": scp knows no holes";
        broken.push(("strategy.sparse", impossible(expected, &true)));
    }
    match (compression, level) {
        (FileCompression::None, Some(_)) => {
            broken.push(("strategy.level", missing("compression beside it: what is to try so hard")));
        }
        (FileCompression::Gzip, Some(level)) if *level > 9 => {
            broken.push(("strategy.level", impossible("1 to 9, which are gzip's", level)));
        }
        _ => {}
    }
    if *threads > 1 {
        match (compression, way) {
            (FileCompression::None, _) => {
                broken.push(("strategy.threads", missing("compression beside it: what they are to do")));
            }
            (FileCompression::Gzip, TransferWay::Scp) => {
                let expected =
                    "1: the program gzip has one (\"zstd\" has more, and so has the way \"stream\")";
                broken.push(("strategy.threads", impossible(expected, threads)));
            }
            _ => {}
        }
    }
    broken
}

fn quoted(word: &str) -> String {
    format!("\"{word}\"")
}
