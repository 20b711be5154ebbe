//! Disks and swap with real QEMU and real guests: what is written before a move is read back after it, and damage at rest
//! is found.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use harness::{Run, SOUGHT, number};
use serde_json::Value;

/// Slow enough that most of what was written before the move is still there after it.
const DISKS: &str = r#"
[run]
shuffle = false
[vm]
memory_mib = 128
[trials]
count = 1
limit_s = 30
baseline_s = 0.4
settle_s = 0.3
[[case]]
name = "write"
vm.disk.size_mib = 64
workload = { kind = "disk-write", file_mib = 16, rate_mib_s = 2 }
[[case]]
name = "read"
vm.disk.size_mib = 64
workload = { kind = "disk-read", file_mib = 8, rate_mib_s = 4, direct = true }
[[case]]
name = "swap"
vm.swap_mib = 128
workload = { kind = "memory-write", working_set_mib = 104, rate_mib_s = 2 }
"#;

#[test]
fn vm_what_was_written_to_disk_and_swap_is_whole_after_the_move() {
    need_vms!();
    let finished = Run::start("test-disks", DISKS).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 3), "{}", finished.story());
    let [write, read, swap] = &outcomes[..] else { panic!("{}", finished.story()) };
    for (outcome, kind) in [(write, "write"), (read, "read")] {
        assert_eq!(outcome["status"], "completed", "{kind}: {outcome:#}");
        assert!(number(outcome, "/workload/achieved/rate_mib_s") > 0.1, "{kind}: {outcome:#}");
        assert_eq!(outcome.pointer("/workload/achieved/corrupt_disk_pages"), Some(&Value::from(0)));
        assert!((number(outcome, "/disk_mib/virtual_size") - 64.0).abs() < 1e-6);
        // What the guest uses stands in the file, but for what is still in its cache.
        assert!(number(outcome, "/disk_after_mib/allocated") > 0.0);
    }
    assert!(number(write, "/disk_after_mib/used") >= number(write, "/disk_mib/used"), "{write:#}");
    assert!(number(read, "/disk_mib/used") >= 8.0, "the file was there before: {read:#}");
    assert!(number(swap, "/memory_mib/swapped") > 1.0, "the guest's own count: {swap:#}");
    assert!(number(swap, "/memory_after_mib/swapped") > 1.0, "{swap:#}");
    assert_eq!(swap["status"], "completed", "{swap:#}");
    assert_eq!(swap.pointer("/workload/achieved/corrupt_pages"), Some(&Value::from(0)));
    assert_eq!(swap.pointer("/disk_mib"), None);
    let logs = fs::read_dir(finished.folder.join("logs/01-write-1")).unwrap();
    let names = logs.map(|log| log.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| name.ends_with(".log")), "a disk was left");
}

/// Time to find the file before its migration begins.
const DAMAGED: &str = r#"
[vm]
memory_mib = 128
disk = { size_mib = 64 }
[trials]
count = 1
limit_s = 30
baseline_s = 4
settle_s = 0.3
[[case]]
name = "damaged"
workload = { kind = "disk-read", file_mib = 4, rate_mib_s = 1 }
"#;

#[test]
fn vm_a_flipped_byte_on_a_disk_at_rest_is_the_gravest_outcome() {
    need_vms!();
    let mut run = Run::start("test-disk-damage", DAMAGED);
    // The destination is launched when the file was written already.
    let log = run.folder.join("logs/01-damaged-1/vm0-host-b-qmp.log");
    run.until("a destination", || log.exists());
    flip_a_byte(&disk_of(run.hypervisor("host-a"), 64 << 20));
    let finished = run.finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(5), 1), "{}", finished.story());
    let outcome = &outcomes[0];
    assert_eq!(
        outcome.pointer("/workload/achieved/corrupt_disk_pages"),
        Some(&Value::from(1)),
        "{outcome:#}"
    );
    assert_eq!(outcome["status"], "failed");
    assert!(outcome["error"].as_str().unwrap().contains("the disk was corrupted"), "{outcome:#}");
    assert!(outcome["flags"].as_array().unwrap().contains(&Value::from("corrupt-disk")), "{outcome:#}");
    assert!(finished.stdout.contains("A DISK WAS CORRUPTED"), "{}", finished.stdout);
}

/// A disk of this size, as the hypervisor has it open: it has no name.
fn disk_of(hypervisor: u32, bytes: u64) -> PathBuf {
    let open = fs::read_dir(Path::new("/proc").join(hypervisor.to_string()).join("fd")).unwrap();
    let is_it = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == bytes);
    open.map(|entry| entry.unwrap().path()).find(is_it).expect("a disk of this size")
}

fn flip_a_byte(disk: &Path) {
    let disk = File::options().read(true).write(true).open(disk).unwrap();
    let mut page = [0; 4096];
    for place in (0..disk.metadata().unwrap().len()).step_by(page.len()) {
        disk.read_exact_at(&mut page, place).unwrap();
        if page[8..16] == SOUGHT.to_ne_bytes() {
            page[8] = !page[8];
            disk.write_all_at(&page[8..9], place + 8).unwrap();
            return disk.sync_all().unwrap();
        }
    }
    panic!("the file's first page is not on the disk");
}
