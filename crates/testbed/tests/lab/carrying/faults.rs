//! What goes wrong while a file is carried: it is said where, and both hosts are as they were.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::{Cancel, now_ns};
use dunlin_record::{FileCompression, Link, Links, StandstillStage, Transfer, TransferWay};
use dunlin_testbed::{
    Carry, CarryProgress, Host, HostKind, Inside, Lab, LabSpec, NamelessFile, Testbed, TestbedError, carry,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{LIMIT, WAYS, bring, bytes, image, nothing_is_left, sparse, transfer};
use crate::roles::{sh, up};

/// So slow that there is time to break something.
const RATE_MBIT: f64 = 40.0;
const LENGTH: u64 = 12 << 20;

struct World {
    lab: Lab,
    from: Arc<dyn Host>,
    to: Arc<dyn Host>,
    /// Not compressible enough to be over soon.
    image: NamelessFile,
}

pub(crate) fn faults(inside: &Inside) {
    let migration = Link { rate_mbit: Some(RATE_MBIT), ..Link::default() };
    let lab = up(inside, &LabSpec::new(Links { migration, ..Links::default() }));
    let hosts = Testbed::hosts(&lab);
    let [from, to] = &hosts[..] else { panic!("two hosts") };
    let (from, to) = (Arc::clone(from), Arc::clone(to));
    let world = World { lab, from, to, image: image(LENGTH, &[(0, LENGTH)]) };
    timed("asked for what cannot be", || asked_wrongly(&world));
    timed("a destination without room", || no_room(&world));
    timed("a destination that is not to be written", || read_only(&world));
    timed("a source that becomes shorter", || shrinks(&world));
    timed("cancelled", || cancelled(&world));
    timed("out of time", || out_of_time(&world));
    timed("what works on it is killed", || killed(&world));
    timed("the way is cut", || cut(&world));
    drop(world);
    timed("programs are missing", || programs_missing(inside));
}

fn timed(what: &str, test: impl FnOnce()) {
    let began_ns = now_ns();
    test();
    println!("{what}: {:.1} s", (now_ns() - began_ns) as f64 / 1e9);
}

impl World {
    fn there(&self) -> PathBuf {
        self.to.scratch().join("disk.raw")
    }

    /// Carries the image to where nothing is; it must fail, and nothing be there after.
    fn fails(&self, transfer: &Transfer, meanwhile: &mut dyn FnMut(CarryProgress)) -> String {
        let there = self.there();
        let error = bring(&self.from, &self.image.path(), &self.to, &there, transfer, meanwhile).unwrap_err();
        assert!(!there.exists(), "{error}");
        self.is_clean();
        let said = error.to_string();
        println!("    {said}");
        assert!(said.starts_with("disk was not carried from host-a to host-b: host-"), "{said}");
        said
    }

    fn is_clean(&self) {
        nothing_is_left(&self.from);
        nothing_is_left(&self.to);
        assert_eq!(self.helpers(), [], "helpers have ended");
    }

    /// Helpers of a host, or of all.
    fn helpers(&self) -> Vec<(i32, PathBuf)> {
        let own = std::process::id() as i32;
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_helper = |pid: &i32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            *pid != own && words.ends_with(b"\0helper\0")
        };
        pids.filter(is_helper).filter_map(|pid| Some((pid, net(pid)?))).collect()
    }

    fn kill_helper(&self, number: usize) {
        let host = net_of(&self.lab, number);
        let helpers = self.helpers();
        let its: Vec<i32> = helpers.iter().filter(|(_, net)| *net == host).map(|(pid, _)| *pid).collect();
        assert_eq!(its.len(), 1, "{helpers:?}");
        kill(Pid::from_raw(its[0]), Signal::SIGKILL).unwrap();
    }
}

fn net(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

fn net_of(lab: &Lab, number: usize) -> PathBuf {
    sh(&lab.hosts()[number], "readlink /proc/self/ns/net").into()
}

fn none(way: TransferWay) -> Transfer {
    transfer(way, FileCompression::None)
}

/// Whether bytes have begun to move.
fn moves(progress: CarryProgress) -> bool {
    progress.stage == StandstillStage::Transfer && progress.done_bytes > 0
}

fn asked_wrongly(world: &World) {
    let World { from, to, image, .. } = world;
    let said = |source: &Path, destination: &Path, transfer: &Transfer| {
        let error = bring(from, source, to, destination, transfer, &mut |_| ()).unwrap_err();
        assert!(!world.there().exists());
        error.to_string()
    };
    let (image, there) = (image.path(), world.there());
    let sparse_scp = Transfer { sparse: Some(true), ..none(TransferWay::Scp) };
    assert_eq!(
        said(&image, &there, &sparse_scp),
        "to carry disk is not supported: scp copies holes as zeros, and so cannot leave them out"
    );
    let two_gzips = Transfer { threads: 2, ..transfer(TransferWay::Scp, FileCompression::Gzip) };
    assert!(said(&image, &there, &two_gzips).contains("only the program zstd compresses on several threads"));
    let level = Transfer { level: Some(77), ..transfer(TransferWay::Stream, FileCompression::Zstd) };
    assert!(said(&image, &there, &level).contains("its levels are 1 to 22"));
    assert!(said(Path::new("disk"), &there, &none(TransferWay::Stream)).contains("whole ones"));
    for way in WAYS {
        let none = none(way);
        let no_file = said(&from.scratch().join("no-such"), &there, &none);
        assert!(no_file.contains("host-a: there is no /run/dunlin/host-a/no-such"), "{no_file}");
        let folder = said(&from.scratch(), &there, &none);
        assert!(folder.ends_with("host-a: /run/dunlin/host-a is no file"), "{folder}");
        let taken = said(&image, &to.scratch(), &none);
        assert!(taken.ends_with("host-b: /run/dunlin/host-b is there, and is no file"), "{taken}");
        fs::write(world.there(), "somebody's").unwrap();
        let error = bring(from, &image, to, &there, &none, &mut |_| ()).unwrap_err().to_string();
        assert!(
            error.ends_with("host-b: /run/dunlin/host-b/disk.raw is there, and holds something"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(world.there()).unwrap(), "somebody's");
        fs::remove_file(world.there()).unwrap();
    }
    world.is_clean();
}

fn no_room(world: &World) {
    let folder = world.to.scratch().join("small");
    let there = folder.join("disk.raw");
    sh(&world.lab.hosts()[1], &format!("mkdir {0} && mount -t tmpfs -o size=2m none {0}", folder.display()));
    // Of which 3 MiB are no hole.
    let image = sparse();
    for way in WAYS {
        for compression in [FileCompression::None, FileCompression::Zstd] {
            let transfer = transfer(way, compression);
            let error =
                bring(&world.from, &image.path(), &world.to, &there, &transfer, &mut |_| ()).unwrap_err();
            println!("    {error}");
            let said = error.to_string();
            assert!(said.contains("No space left on device") && said.contains("host-b"), "{said}");
            assert!(!there.exists());
        }
    }
    world.is_clean();
    sh(&world.lab.hosts()[1], &format!("umount {}", folder.display()));
}

fn read_only(world: &World) {
    let folder = world.to.scratch().join("read-only");
    sh(&world.lab.hosts()[1], &format!("mkdir {0} && mount -t tmpfs -o ro none {0}", folder.display()));
    for way in WAYS {
        let there = folder.join("disk.raw");
        let error =
            bring(&world.from, &world.image.path(), &world.to, &there, &none(way), &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("Read-only file system"), "{error}");
    }
    sh(&world.lab.hosts()[1], &format!("umount {}", folder.display()));
    world.is_clean();
}

fn shrinks(world: &World) {
    let source = world.from.scratch().join("shrinks");
    world.from.copy_to(&world.image.path(), &source).unwrap();
    let file = File::options().write(true).open(&source).unwrap();
    let mut cut = |progress| {
        if moves(progress) {
            file.set_len(1 << 20).unwrap();
        }
    };
    let transfer = none(TransferWay::Stream);
    let error = bring(&world.from, &source, &world.to, &world.there(), &transfer, &mut cut).unwrap_err();
    println!("    {error}");
    let said = error.to_string();
    assert!(said.contains("host-a: /run/dunlin/host-a/shrinks: the image ends at byte"), "{said}");
    assert!(!world.there().exists());
    world.is_clean();
}

/// In each stage; what was there and is but a hole is that again.
fn cancelled(world: &World) {
    let ways = [
        (none(TransferWay::Stream), StandstillStage::Transfer),
        (none(TransferWay::Scp), StandstillStage::Transfer),
        (transfer(TransferWay::Scp, FileCompression::Gzip), StandstillStage::Compress),
        (transfer(TransferWay::Scp, FileCompression::Gzip), StandstillStage::Decompress),
    ];
    for (transfer, stage) in ways {
        let there = NamelessFile::make_in(&std::env::temp_dir()).unwrap();
        there.resize(LENGTH + 8192).unwrap();
        let cancel = Cancel::new();
        let order = Carry {
            from: &world.from,
            source: &world.image.path(),
            to: &world.to,
            destination: &there.path(),
            file: "disk",
            transfer: &transfer,
            cancel: &cancel,
            limit: LIMIT,
        };
        let meanwhile = |progress: CarryProgress| {
            if progress.stage == stage && (progress.done_bytes > 0 || stage != StandstillStage::Transfer) {
                cancel.cancel();
            }
        };
        let error = carry(&order, &mut { meanwhile }).unwrap_err();
        assert!(error.to_string().ends_with("it was cancelled"), "{stage:?}: {error}");
        let metadata = there.file().metadata().unwrap();
        assert_eq!((metadata.len(), there.allocated_bytes().unwrap()), (LENGTH + 8192, 0), "{stage:?}");
        world.is_clean();
    }
}

fn out_of_time(world: &World) {
    for way in WAYS {
        let (cancel, transfer) = (Cancel::new(), none(way));
        let order = Carry {
            from: &world.from,
            source: &world.image.path(),
            to: &world.to,
            destination: &world.there(),
            file: "disk",
            transfer: &transfer,
            cancel: &cancel,
            limit: Duration::from_millis(700),
        };
        let error = carry(&order, &mut |_| ()).unwrap_err();
        assert!(matches!(error, TestbedError::Timeout { .. }), "{error}");
        assert!(!world.there().exists());
        world.is_clean();
    }
}

fn killed(world: &World) {
    for (number, name) in [(0, "host-a"), (1, "host-b")] {
        let mut once = Some(());
        let said = world.fails(&none(TransferWay::Stream), &mut |progress| {
            if moves(progress) && once.take().is_some() {
                world.kill_helper(number);
            }
        });
        assert!(said.contains(&format!("{name}: it ended, or the connection to it was lost")), "{said}");
    }
    let mut once = Some(());
    let said = world.fails(&none(TransferWay::Scp), &mut |progress| {
        if moves(progress) && once.take().is_some() {
            let server = sh(
                &world.lab.hosts()[1],
                "for p in /proc/[0-9]*; do if tr '\\0' ' ' <$p/cmdline | grep -q '^[^ ]*sshd'; \
                then kill -9 ${p#/proc/}; echo $p; fi; done 2>/dev/null",
            );
            assert!(!server.is_empty());
        }
    });
    assert!(said.contains("sshd ended (signal 9)") || said.contains("closed"), "{said}");

    // What was there is a hole again also where nobody there could make it one.
    let there = NamelessFile::make_in(&std::env::temp_dir()).unwrap();
    there.resize(LENGTH).unwrap();
    let mut once = Some(());
    let transfer = none(TransferWay::Stream);
    let mut kill = |progress| {
        if moves(progress) && once.take().is_some() {
            world.kill_helper(1);
        }
    };
    bring(&world.from, &world.image.path(), &world.to, &there.path(), &transfer, &mut kill).unwrap_err();
    assert_eq!((bytes(there.file()).len() as u64, there.allocated_bytes().unwrap()), (LENGTH, 0));
    world.is_clean();
}

/// By both ways at the same time: it takes each 10 s to notice.
fn cut(world: &World) {
    let down = "ip link set migration down";
    std::thread::scope(|scope| {
        let ways = WAYS.map(|way| {
            scope.spawn(move || {
                let there = world.to.scratch().join(format!("cut-{}", way.name()));
                let mut once = Some(());
                let mut cut = |progress: CarryProgress| {
                    // Once both are under way.
                    if progress.done_bytes > 3 << 20 && once.take().is_some() {
                        sh(&world.lab.hosts()[1], down);
                    }
                };
                let error = bring(&world.from, &world.image.path(), &world.to, &there, &none(way), &mut cut)
                    .unwrap_err();
                assert!(!there.exists());
                error.to_string()
            })
        });
        for said in ways.map(|way| way.join().unwrap()) {
            println!("    {said}");
            assert!(said.contains("no byte passed for 10 s") || said.contains("not responding"), "{said}");
        }
    });
    world.is_clean();
    sh(&world.lab.hosts()[1], "ip link set migration up");
}

fn programs_missing(inside: &Inside) {
    let lab = up(inside, &LabSpec { kind: HostKind::Node, ..LabSpec::new(Links::default()) });
    let [from, to] = &Testbed::hosts(&lab)[..] else { panic!("two hosts") };
    let image = sparse();
    let source = from.scratch().join("disk.raw");
    from.copy_to(&image.path(), &source).unwrap();
    let there = to.scratch().join("disk.raw");
    let said = |transfer: &Transfer| {
        let error = bring(from, &source, to, &there, transfer, &mut |_| ()).unwrap_err().to_string();
        println!("    {error}");
        assert!(to.read(&there).is_err(), "{error}");
        nothing_is_left(from);
        nothing_is_left(to);
        error
    };
    let [a, b] = [&lab.hosts()[0], &lab.hosts()[1]];
    // All programs of its but one.
    let without = |program: &str| {
        format!(
            "mkdir -p /tmp/all && mount --bind /usr/bin /tmp/all && mount -t tmpfs none /usr/bin && \
             /tmp/all/ln -s /tmp/all/* /usr/bin/ && rm /usr/bin/{program}"
        )
    };
    sh(b, &without("zstd"));
    let zstd = said(&transfer(TransferWay::Scp, FileCompression::Zstd));
    assert!(zstd.ends_with("host-b: there is no zstd, which the package zstd has"), "{zstd}");
    sh(b, "mount -t tmpfs none /usr/sbin");
    let sshd = said(&none(TransferWay::Scp));
    assert!(sshd.ends_with("host-b: there is no sshd, which the package openssh-server has"), "{sshd}");
    sh(a, &without("scp"));
    let scp = said(&none(TransferWay::Scp));
    assert!(scp.ends_with("host-a: there is no scp, which the package openssh-client has"), "{scp}");
    // A stream takes none of them.
    bring(from, &source, to, &there, &transfer(TransferWay::Stream, FileCompression::Zstd), &mut |_| ())
        .unwrap();
}
