//! What there is to copy of disks, and how long files of a VM that stands still are on their way, with round figures.

use dunlin_record::{Blocks, Case, FileCompression, ImageFormat, Strategy, Transfer, TransferWay, Workload};

use super::copy::{GUEST_OWN_MIB, link_mib_s};

/// What a blank disk holds.
const FILE_SYSTEM_MIB: f64 = 2.0;
/// Shutting down a guest, or booting it, without KVM.
const SHUT_DOWN_S: f64 = 2.0;
const BOOT_S: f64 = 6.0;
/// Writing a VM's memory to a file, and reading it back.
const STATE_MIB_S: f64 = 500.0;
/// Comparing two images.
const COMPARE_MIB_S: f64 = 500.0;
/// What both programs make of zeros, where holes are not left out.
const ZEROS_MIB_S: f64 = 500.0;

/// What one thread of a compressor takes in, in MiB/s, from this level on; the last is its default without one.
const GZIP_MIB_S: [(u32, f64); 3] = [(1, 90.0), (5, 35.0), (8, 15.0)];
const ZSTD_MIB_S: [(u32, f64); 5] = [(1, 400.0), (3, 250.0), (6, 80.0), (12, 20.0), (17, 4.0)];
const GZIP_DEFAULT: u32 = 6;
const ZSTD_DEFAULT: u32 = 3;
/// And what decompressing brings out.
const GUNZIP_MIB_S: f64 = 200.0;
const UNZSTD_MIB_S: f64 = 600.0;

/// What a file, or several of them, are to those who bring it, in MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Content {
    /// Its length.
    length: f64,
    /// What of it is no hole.
    data: f64,
    /// What of that does not compress away.
    left: f64,
}

impl Content {
    fn plus(self, other: Self) -> Self {
        Self {
            length: self.length + other.length,
            data: self.data + other.data,
            left: self.left + other.left,
        }
    }
}

/// How long disks that move while their VM runs are copied, and compared where that is asked for, in seconds.
pub(super) fn disks_s(case: &Case) -> f64 {
    if !case.vm.moves_disks() {
        return 0.0;
    }
    let storage = &case.storage;
    let disks = disks(case);
    let copied_mib = match storage.blocks {
        Blocks::Allocated => disks.data,
        Blocks::Overlay => disks.data - begun_with_mib(case),
        Blocks::All => sizes_mib(case),
    };
    let rate_mib_s = storage.rate_mib_s.unwrap_or(f64::INFINITY).min(link_mib_s(case));
    let compared_s = if storage.compare { disks.data / COMPARE_MIB_S } else { 0.0 };
    copied_mib / rate_mib_s + compared_s
}

/// How long a VM stands still whose files are brought to the other host, in seconds.
pub(super) fn standstill_s(case: &Case, transfer: &Transfer, memory_mib: f64) -> f64 {
    let disks = if case.vm.moves_disks() { files(case) } else { Content::default() };
    match case.strategy {
        Strategy::Offline(_) => {
            // Memory that was saved is what is no zero of it; some files of state have holes for the rest.
            let left = memory_mib * left_share(case.workload.as_ref());
            let state = Content { length: memory_mib, data: memory_mib, left };
            2.0 * memory_mib / STATE_MIB_S + brought_s(case, transfer, disks.plus(state))
        }
        _ => SHUT_DOWN_S + brought_s(case, transfer, disks) + BOOT_S,
    }
}

/// How long files are on their way.
fn brought_s(case: &Case, transfer: &Transfer, content: Content) -> f64 {
    let is_sparse = transfer.way == TransferWay::Stream && transfer.sparse != Some(false);
    let read_mib = if is_sparse { content.data } else { content.length };
    let zeros_s = (read_mib - content.data) / ZEROS_MIB_S;
    let Some((packs_mib_s, unpacks_mib_s)) = speeds(transfer) else {
        return read_mib / link_mib_s(case);
    };
    let packed_s = content.data / packs_mib_s + zeros_s;
    let sent_s = content.left / link_mib_s(case);
    let unpacked_s = content.data / unpacks_mib_s + zeros_s;
    match transfer.way {
        // All at the same time: the slowest sets the pace.
        TransferWay::Stream => packed_s.max(sent_s).max(unpacked_s),
        TransferWay::Scp => packed_s + sent_s + unpacked_s,
    }
}

/// What is packed and unpacked a second; nothing where files go as they are.
fn speeds(transfer: &Transfer) -> Option<(f64, f64)> {
    let at = |speeds: &[(u32, f64)], level: u32| {
        speeds.iter().rev().find(|(from, _)| level >= *from).map_or(speeds[0].1, |(_, mib_s)| *mib_s)
    };
    let level = |default| transfer.level.unwrap_or(default);
    let threads = f64::from(transfer.threads);
    match transfer.compression {
        FileCompression::None => None,
        FileCompression::Gzip => Some((threads * at(&GZIP_MIB_S, level(GZIP_DEFAULT)), GUNZIP_MIB_S)),
        FileCompression::Zstd => Some((threads * at(&ZSTD_MIB_S, level(ZSTD_DEFAULT)), UNZSTD_MIB_S)),
    }
}

/// All that disks which move hold, what lies below them too.
fn disks(case: &Case) -> Content {
    let workload = case.workload.as_ref();
    let file_mib = workload.and_then(Workload::file_mib).map_or(0.0, f64::from);
    let disk = case.vm.disk.as_ref().map_or_else(Content::default, |disk| {
        let begun_with = begun_with_mib(case);
        let data = begun_with + file_mib;
        let compressible = f64::from(disk.compressibility_percent) / 100.0;
        let length = match disk.format {
            ImageFormat::Raw => f64::from(disk.size_mib),
            ImageFormat::Qcow2 => data,
        };
        Content { length, data, left: data - begun_with * compressible }
    });
    let swap = case.vm.swap_mib.map_or_else(Content::default, |swap_mib| {
        let allocated_mib = workload.and_then(Workload::allocated_mib).map_or(0.0, f64::from);
        let room_mib = (f64::from(case.vm.memory_mib) - GUEST_OWN_MIB).max(0.0);
        let data = (allocated_mib - room_mib).clamp(0.0, f64::from(swap_mib));
        Content { length: f64::from(swap_mib), data, left: data * left_share(workload) }
    });
    disk.plus(swap)
}

/// Those of them that are brought while the VM stands still: what lies below an image is there already.
fn files(case: &Case) -> Content {
    let all = disks(case);
    let Some(disk) = case.vm.disk.as_ref().filter(|disk| disk.backing) else { return all };
    let below = begun_with_mib(case);
    let compressible = f64::from(disk.compressibility_percent) / 100.0;
    Content {
        length: all.length - below,
        data: all.data - below,
        left: all.left - below * (1.0 - compressible),
    }
}

/// What a disk begins with; of an image of the user's, whose content is not known here, all of it.
fn begun_with_mib(case: &Case) -> f64 {
    case.vm.disk.as_ref().map_or(0.0, |disk| match disk.image {
        Some(_) => f64::from(disk.size_mib),
        None => FILE_SYSTEM_MIB + disk.used_mib.map_or(0.0, f64::from),
    })
}

fn sizes_mib(case: &Case) -> f64 {
    f64::from(case.vm.disk.as_ref().map_or(0, |disk| disk.size_mib) + case.vm.swap_mib.unwrap_or(0))
}

/// What is left of a workload's memory when it has been compressed.
fn left_share(workload: Option<&Workload>) -> f64 {
    let compressible =
        workload.map(Workload::parts).unwrap_or_default().iter().filter_map(|part| match part {
            Workload::MemoryWrite(asked) => Some(asked.compressibility_percent),
            Workload::MemoryRead(asked) => Some(asked.compressibility_percent),
            _ => None,
        });
    1.0 - f64::from(compressible.min().unwrap_or(0)) / 100.0
}
