//! Disks, their servers, their copies, and files of VMs that stand still.

use dunlin_record::{Blocks, Disk, FileCompression, ImageFormat, StorageServer, TransferWay, Writes};

use super::*;

const MOVED: &str = "vm = { shared_storage = false, disk = { size_mib = 64 } }";

fn with(lines: &str) -> String {
    errors(&one_case("", lines)) + "\n"
}

#[test]
fn disks_servers_and_copies_are_read_as_they_stand() {
    let case = &parse(&one_case(
        "[storage]\nblocks = \"overlay\"\nwrites = \"in-step\"\nrate_mib_s = 10\npause_after_s = 5\ncompare = true",
        "vm = { shared_storage = false, disk = { size_mib = 256, format = \"qcow2\", used_mib = 100, \
         compressibility_percent = 50, backing = true } }",
    ))
    .cases[0];
    let disk = Disk {
        size_mib: 256,
        format: ImageFormat::Qcow2,
        used_mib: Some(100),
        compressibility_percent: 50,
        image: None,
        backing: true,
    };
    assert_eq!(case.vm.disk, Some(disk));
    assert_eq!((case.storage.blocks, case.storage.writes), (Blocks::Overlay, Writes::InStep));
    assert_eq!((case.storage.rate_mib_s, case.storage.pause_after_s), (Some(10.0), Some(5.0)));
    let served = &parse(&one_case(
        "storage.server = [\"nfs\", \"iscsi\"]\nlink.storage.rate_mbit = 500",
        "vm.disk = { size_mib = 64 }",
    ))
    .cases;
    let servers: Vec<_> = served.iter().map(|case| case.storage.server).collect();
    assert_eq!(servers, [StorageServer::Nfs, StorageServer::Iscsi]);
    assert_eq!(served[0].link.storage.rate_mbit, Some(500.0));
}

#[test]
fn offline_and_cold_moves_say_how_files_travel() {
    let cases = &parse(&one_case(
        MOVED,
        "strategy = { kind = [\"offline\", \"cold\"], compression = \"zstd\", level = 22, threads = 64, sparse = false }",
    ))
    .cases;
    for case in cases {
        let transfer = case.strategy.standstill().unwrap();
        assert_eq!((transfer.way, transfer.compression), (TransferWay::Stream, FileCompression::Zstd));
        assert_eq!((transfer.level, transfer.threads, transfer.sparse), (Some(22), 64, Some(false)));
    }
    // What travels with a swap alone, and with several VMs, is fine; so is a cold move of what both hosts see.
    for good in [
        "vm = { shared_storage = false, swap_mib = 64, count = 2 }\nstrategy = { kind = \"cold\", way = \"scp\", sparse = false }",
        "vm.disk.size_mib = 64\nstrategy.kind = \"cold\"",
        "strategy = { kind = \"offline\", compression = \"gzip\", level = 9, threads = 2 }",
        "strategy = { kind = \"offline\", way = \"scp\", compression = \"zstd\", threads = 2 }",
    ] {
        assert_eq!(parse(&one_case("", good)).cases.len(), 1, "{good}");
    }
}

#[test]
fn a_disk_that_cannot_be_is_told() {
    let disk = |keys: &str| with(&format!("vm.disk = {{ {keys} }}"));
    let all = [
        disk("format = \"qcow2\""),
        disk("size_mib = 64, format = \"vmdk\""),
        disk("size_mib = 64, used_mib = 49"),
        disk("size_mib = 64, compressibility_percent = 50"),
        disk("size_mib = 64, image = \"a.raw\", used_mib = 3"),
        disk("size_mib = 64, image = \"a.raw\", compressibility_percent = 3"),
        disk("size_mib = 64, backing = true"),
        with(
            "vm.disk = { size_mib = 64, used_mib = 40 }\nworkload = { kind = \"disk-read\", file_mib = [8, 9] }",
        ),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    s.toml:5: vm.disk: missing, expected size_mib: its virtual size, an image's own or more
    s.toml:5: vm.disk.format: expected one of "raw", "qcow2", found "vmdk"
    s.toml:5: vm.disk.used_mib: expected at most 48 MiB (vm.disk.size_mib = 64, less its file system), found 49
    s.toml:5: vm.disk.compressibility_percent: missing, expected vm.disk.used_mib beside it: what is to be compressible
    s.toml:5: vm.disk.used_mib: expected no image beside it: what an image holds is its own, found 3
    s.toml:5: vm.disk.compressibility_percent: expected no image beside it: what an image holds is its own, found 3
    s.toml:5: vm.disk.backing: expected vm.disk.format = "qcow2" beside it: a raw image lies over no other, found "raw"
    s.toml:6: workload.file_mib: expected at most 8 MiB (vm.disk.size_mib = 64, less its file system and vm.disk.used_mib = 40), found 9
    "#);
}

#[test]
fn copies_and_servers_that_cannot_be_are_told() {
    let moved = |storage: &str| with(&format!("{MOVED}\nstorage = {{ {storage} }}"));
    let all = [
        with("vm.disk.size_mib = 64\nstorage.blocks = \"all\""),
        with("storage.two_steps = true"),
        with(
            "vm = { disk.size_mib = 64, shared_storage = [true, false] }\nstorage = { rate_mib_s = 5, compare = true }",
        ),
        moved("server = \"nfs\""),
        with("storage.server = \"iscsi\""),
        with("link.storage.rate_mbit = 100\nvm.disk.size_mib = 64"),
        moved("blocks = \"overlay\""),
        moved("blocks = \"some\""),
        moved("two_steps = true, compare = true"),
        moved("pause_after_s = 60"),
        moved("rate_mib_s = 0"),
        moved("two_steps = true, fault = { after_s = 60, for_s = 1 }"),
        with("vm = { disk.size_mib = 64, count = 2 }\nstorage.server = \"nbd\""),
        with("vm = { disk.size_mib = 64, count = 3, shared_storage = false }\nstorage.two_steps = true"),
        with("vm.disk.size_mib = 64\nstorage.fault = { kind = \"kill\", after_s = 1, for_s = 10 }"),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    s.toml:6: storage.blocks: missing, expected vm.shared_storage = false and vm.disk or vm.swap_mib beside it: only disks that move are copied
    s.toml:5: storage.two_steps: missing, expected vm.shared_storage = false and vm.disk or vm.swap_mib beside it: only disks that move are copied
    s.toml:6: storage.rate_mib_s: missing, expected vm.shared_storage = false and vm.disk or vm.swap_mib beside it: only disks that move are copied
    s.toml:6: storage.compare: missing, expected vm.shared_storage = false and vm.disk or vm.swap_mib beside it: only disks that move are copied
    s.toml:6: storage.server: expected "folder" where each host has disks of its own (vm.shared_storage = false), found "nfs"
    s.toml:5: storage.server: missing, expected vm.disk or vm.swap_mib beside it: what is to be served
    s.toml:5: link.storage: expected storage.server beside it, one that is reached through a network: "nfs", "iscsi" or "nbd", found "folder"
    s.toml:6: storage.blocks: missing, expected vm.disk.backing = true beside it: what it lies over
    s.toml:6: storage.blocks: expected one of "allocated", "overlay", "all", found "some"
    s.toml:6: storage.compare: expected no storage.two_steps beside it: once the VM runs on with the destination's disks, the source's are old, found true
    s.toml:6: storage.pause_after_s: expected less than trials.limit_s = 60, found 60
    s.toml:6: storage.rate_mib_s: expected more than 0 and at most 1000000 MiB/s, found 0
    s.toml:6: storage.fault.after_s: expected less than trials.limit_s = 60, found 60
    s.toml:5: vm.count: expected 1 where storage.server has disks served: they are served for one VM at a time, found 2
    s.toml:5: vm.count: expected 1 where storage.two_steps has disks served: they are served for one VM at a time, found 3
    s.toml:6: storage.fault: missing, expected storage.server beside it, other than "folder", or storage.two_steps = true: what it befalls
    "#);
}

#[test]
fn files_that_cannot_be_brought_so_are_told() {
    let strategy = |keys: &str| with(&format!("{MOVED}\nstrategy = {{ {keys} }}"));
    let all = [
        strategy("kind = \"cold\", way = \"scp\", sparse = true"),
        strategy("kind = \"cold\", level = 3"),
        strategy("kind = \"offline\", threads = 2"),
        strategy("kind = \"cold\", compression = \"gzip\", level = 10"),
        strategy("kind = \"cold\", compression = \"zstd\", level = 23"),
        strategy("kind = \"cold\", compression = \"xz\""),
        strategy("kind = \"cold\", way = \"scp\", compression = \"gzip\", threads = 2"),
        strategy("kind = \"suspend\", way = \"scp\""),
        with("vm.disk.size_mib = 64\nstrategy = { kind = \"cold\", compression = \"gzip\" }"),
        with(&format!(
            "{MOVED}\nstrategy.kind = \"cold\"\nstorage = {{ two_steps = true, blocks = \"all\" }}"
        )),
        with("transport = { kind = \"tls\", channels = 2 }\nstrategy.kind = \"offline\""),
        with("vm.paused = true\nstrategy.kind = [\"cold\", \"suspend\"]"),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    s.toml:6: strategy.sparse: expected false, or strategy.way = "stream": scp knows no holes, found true
    s.toml:6: strategy.level: missing, expected compression beside it: what is to try so hard
    s.toml:6: strategy.threads: missing, expected compression beside it: what they are to do
    s.toml:6: strategy.level: expected 1 to 9, which are gzip's, found 10
    s.toml:6: strategy.level: expected 1 to 22 (1 the quickest), found 23
    s.toml:6: strategy.compression: expected one of "none", "gzip", "zstd", found "xz"
    s.toml:6: strategy.threads: expected 1: the program gzip has one ("zstd" has more, and so has the way "stream"), found 2
    s.toml:6: strategy.way: unknown key for kind "suspend", expected one of: after_passes
    s.toml:6: strategy.compression: missing, expected vm.shared_storage = false and vm.disk or vm.swap_mib beside it: no file is to be brought
    s.toml:7: storage.two_steps: expected a strategy during which the VM runs: the files of one that stands still are brought as strategy says, found "cold"
    s.toml:7: storage.blocks: expected a strategy during which the VM runs: the files of one that stands still are brought as strategy says, found "cold"
    s.toml:5: transport.kind: expected a strategy by which one hypervisor sends memory to the other: files are brought as strategy says, found "offline"
    s.toml:5: transport.channels: expected a strategy by which one hypervisor sends memory to the other: files are brought as strategy says, found "offline"
    s.toml:5: vm.paused: expected a strategy that moves memory as it is: only a VM that runs can be put to rest and woken, found "cold"
    "#);
}
