//! All that a host and a testbed offer, over ssh.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddrV4;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dunlin_clock::{Deadline, now_ns};
use dunlin_record::{ImageFormat, StorageServer, shapes};
use dunlin_ssh_nodes::Client;
use dunlin_testbed::{
    Helper, Host, Inside, Launch, Leases, MacAddress, Network, SshTestbed, StorageService, Testbed,
    TestbedError, measure_goodput,
};
use dunlin_wire::{CaptureSpec, RowSink};

use crate::carrying::by_every_way;
use crate::conversing::conversing;

use super::{FOLDER, LIMIT, World, launch, said, timed, words};

/// By how much the second host's clock is off.
const OFFSET_S: i64 = 5000;
const ECHO: &str =
    "import socket,sys;s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);s.listen();c=s.accept()[0]
while True:
    b=c.recv(65536)
    if not b: break
    c.sendall(b)";

pub(crate) fn works(inside: &Inside) {
    let world = World::up(inside, vec![0, OFFSET_S]);
    let (testbed, took_s) = timed(|| world.connect());
    println!("both hosts are connected in {took_s:.2} s");
    let hosts = testbed.hosts();
    let [a, b] = hosts.as_slice() else { panic!("two hosts") };
    who_they_are(&world, &testbed, [&**a, &**b]);
    programs(&**a);
    files(&world, &**a);
    sockets(&**a);
    conversing(&**a);
    taps(&world, &**a);
    helpers([&**a, &**b]);
    clocks(&**b);
    storage(a, b);
    by_every_way(a, b);
    drop(hosts);
    drop(testbed);
    println!("all is gone {:.2} s after the testbed", world.all_gone(&["host-a", "host-b"]));
    assert_eq!(world.sh("host-a", "ip -o link | grep -c xx0"), "1", "somebody else's tap stays");
    found_out(&world);
    shared(&world);
    world.all_gone(&["host-a", "host-b"]);
}

/// A destination serves its own storage to the source, and what keeps a second writer from it lies there too.
fn storage(a: &Arc<dyn Host>, b: &Arc<dyn Host>) {
    let folder = b.scratch();
    let at = b.address(Network::Migration).unwrap();
    let nfs = StorageService::start(b, StorageServer::Nfs, at, &folder).unwrap_err();
    assert!(nfs.to_string().contains("leave traces"), "{nfs}");
    assert!(b.image_folder(Path::new(FOLDER), 1 << 30).is_err());
    if said(&**b, "command -v qemu-storage-daemon").is_empty() {
        return println!("no storage daemon (Debian: qemu-utils): no storage over ssh");
    }
    let image = folder.join("a.raw");
    said(&**b, &format!("truncate -s 64M {}", image.display()));
    let service = StorageService::start(b, StorageServer::Nbd, at, &folder).unwrap();
    service.export(&image, ImageFormat::Raw, "a").unwrap();
    let io =
        |command: &str| said(&**a, &format!("qemu-io -f raw -c '{command}' nbd://{at}/a 2>&1 | head -n 1"));
    assert!(io("write -P 5 1M 1M").contains("wrote"));
    service.freeze().unwrap();
    assert_eq!(said(&**a, &format!("timeout 1 qemu-io -f raw -c 'read 0 4k' nbd://{at}/a; echo $?")), "124");
    service.thaw().unwrap();
    service.kill();
    assert!(service.check().unwrap_err().to_string().contains("signal 9"));
    service.restart().unwrap();
    assert!(io("read -P 5 1M 1M").contains("read 1048576"));
    let (ours, others) = (Leases::on(b), Leases::on(b));
    let lease = ours.take(&image, "vm0").unwrap();
    let taken = others.take(&image, "vm1").unwrap_err();
    assert!(matches!(&taken, TestbedError::ImageTaken { holder, .. } if holder == "vm0"), "{taken}");
    drop(lease);
    others.take(&image, "vm1").unwrap();
}

fn who_they_are(world: &World, testbed: &SshTestbed, [a, b]: [&dyn Host; 2]) {
    assert_eq!(said(a, "hostname; id -u"), "host-a\n0");
    assert_eq!(said(b, "hostname"), "host-b");
    assert_eq!(a.address(Network::Migration), Some([10, 78, 0, 11].into()));
    assert_eq!(
        (a.interface(Network::Service), b.interface(Network::Migration)),
        (Some("uplink"), Some("migration"))
    );
    for (network, address) in [(Network::Service, [10, 77, 0, 1]), (Network::Migration, [10, 78, 0, 1])] {
        assert_eq!(testbed.bench_address(network), Some(address.into()));
        assert_eq!(testbed.bench_interface(network), Some(network.as_str()));
        let mac = fs::read_to_string(format!("/sys/class/net/{network}/address"));
        if let Ok(mac) = mac {
            assert_eq!(testbed.bench_mac(network).map(|mac| mac.to_string()), Some(mac.trim().to_owned()));
        } else {
            assert!(testbed.bench_mac(network).is_some_and(|mac| mac != MacAddress::new([0; 6])));
        }
    }
    assert_eq!(testbed.vm_address(19), Some(([10, 77, 0, 119].into(), 24)));
    assert_eq!(testbed.vm_address(20), None);
    let names: Vec<_> = testbed.fingerprints().into_iter().map(|one| one.hosts).collect();
    assert_eq!(names, ["host-a", "host-b", "bench"]);
    assert_eq!(world.sh("host-a", "stat -c %a /tmp/dunlin-*"), "700", "nobody else's");
}

fn programs(host: &dyn Host) {
    let run = |script: &str, limit| host.run(Path::new("sh"), &words(&["-c", script]), limit);
    let output = run("echo out; echo err >&2; exit 3", LIMIT).unwrap();
    assert_eq!((output.how.as_str(), output.success), ("exit status 3", false));
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    let late = run("sleep 1000", Duration::from_millis(100)).unwrap_err();
    assert!(said_of(&late).contains("did not happen within 0.1 s"), "{late:?}");
    let missing = host.run(Path::new("no-such-program"), &[], LIMIT).unwrap_err();
    assert!(said_of(&missing).contains("No such file"), "{missing:?}");

    let outbox = Path::new("/tmp/said");
    let script = Launch { stdout: outbox.into(), ..launch("sh", &["-c", "echo $$; sleep 0.2; exit 7"]) };
    let mut process = host.launch(script).unwrap();
    let end = process.wait(Deadline::after(LIMIT)).unwrap();
    assert_eq!(end.as_deref(), Some("exit status 7"));
    assert_eq!(process.try_wait().unwrap().as_deref(), Some("exit status 7"), "and again");
    assert_eq!(said(host, "cat /tmp/said"), process.pid().unwrap().to_string());
    let mut process = host.launch(launch("sh", &["-c", "sleep 1000 & exec sleep 1000"])).unwrap();
    assert_eq!(process.try_wait().unwrap(), None);
    assert_eq!(host.resident_bytes(process.pid().unwrap(), 1).unwrap(), None);
    assert!(host.resident_bytes(u32::MAX / 2, 1).is_err());
    process.kill();
    assert_eq!(process.try_wait().unwrap().as_deref(), Some("signal 9"));
    assert_eq!(said(host, "grep -c ^sleep /proc/[0-9]*/comm | grep -c :1; true"), "0", "its group, too");
    assert!(host.launch(launch("/no/such", &[])).is_err());
}

fn files(world: &World, host: &dyn Host) {
    let local = tempfile::tempdir().unwrap();
    let local = |name: &str| local.path().join(name);
    fs::write(local("script"), "#!/bin/sh\necho it runs\n").unwrap();
    fs::set_permissions(local("script"), fs::Permissions::from_mode(0o755)).unwrap();
    host.copy_to(&local("script"), Path::new("/tmp/script")).unwrap();
    assert_eq!(
        said(host, "stat -c %a /tmp/script; /tmp/script; ls /tmp/script*"),
        "755\nit runs\n/tmp/script"
    );
    host.copy_from(Path::new("/tmp/script"), &local("back")).unwrap();
    assert_eq!(fs::read(local("back")).unwrap(), fs::read(local("script")).unwrap());
    assert_eq!(fs::metadata(local("back")).unwrap().mode() & 0o777, 0o755);

    // 40 MiB of which little is there, its end a hole.
    let sparse = fs::File::create(local("sparse")).unwrap();
    sparse.write_all_at(&[7; 100_000], 1 << 20).unwrap();
    sparse.write_all_at(b"end", 30 << 20).unwrap();
    sparse.set_len((40 << 20) + 5).unwrap();
    host.copy_to(&local("sparse"), Path::new("/tmp/sparse")).unwrap();
    let blocks: u64 = said(host, "stat -c %b /tmp/sparse").parse().unwrap();
    assert!(blocks * 512 < 1 << 20, "{blocks}");
    host.copy_from(Path::new("/tmp/sparse"), &local("sparse-back")).unwrap();
    assert!(fs::read(local("sparse")).unwrap() == fs::read(local("sparse-back")).unwrap());
    assert!(fs::metadata(local("sparse-back")).unwrap().blocks() * 512 < 1 << 20);

    let placed = host.place(&local("sparse")).unwrap();
    assert_eq!(host.place(&local("sparse")).unwrap(), placed, "once");
    assert_eq!(said(host, &format!("ls {}/* | wc -l", placed.parent().unwrap().display())), "1");
    fs::write(local("other"), b"other").unwrap();
    assert_ne!(host.place(&local("other")).unwrap(), placed);
    assert!(!host.sees(&local("other")).unwrap());

    let secret = host.scratch().join("keys/key.pem");
    host.write_private(&secret, b"secret").unwrap();
    assert!(host.write_private(&secret, b"again").is_err());
    assert_eq!(host.read(&secret).unwrap(), b"secret");
    let modes = format!("cd {}; stat -c %a keys keys/key.pem", host.scratch().display());
    assert_eq!(said(host, &modes), "700\n600");
    host.remove(secret.parent().unwrap()).unwrap();
    host.remove(secret.parent().unwrap()).unwrap();
    assert!(said_of(&host.read(&secret).unwrap_err()).contains("No such file"));
    // What is too large for a message is refused, and nothing else comes of it.
    assert!(host.write_private(&secret, &vec![1; 17 << 20]).is_err());

    // What never ends is no file, and holds nobody up.
    world.sh("host-a", "mkfifo /tmp/fifo");
    for odd in ["/tmp/fifo", "/dev/zero", "/tmp"] {
        let (refused, took_s) = timed(|| host.read(Path::new(odd)));
        assert!(refused.is_err() && took_s < 20.0, "{odd}: {took_s}");
    }
    fs::write(local("long"), vec![9; 3 << 20]).unwrap();
    world.nodes.fill("host-a", Path::new("/tmp/full")).unwrap();
    let full = host.copy_to(&local("long"), Path::new("/tmp/full/it")).unwrap_err();
    assert!(said_of(&full).contains("No space left"), "{full:?}");
    assert_eq!(world.sh("host-a", "ls /tmp/full; umount /tmp/full"), "fill", "nothing half-done stays");
    assert_eq!(said(host, "echo well"), "well");

    fs::create_dir(local("run")).unwrap();
    let outbox = host.outbox(&local("run")).unwrap();
    assert_eq!(host.outbox(&local("run")).unwrap(), outbox);
    said(
        host,
        &format!(
            "cd {}; echo one >1; head -c 3000000 /dev/zero >2; mkdir 3; ln -s /etc/passwd 4",
            outbox.display()
        ),
    );
    host.collect(&local("run")).unwrap();
    let mut names: Vec<_> = fs::read_dir(local("run")).unwrap().map(|one| one.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["1", "2"]);
    assert_eq!(fs::metadata(local("run").join("2")).unwrap().len(), 3_000_000);
    fs::create_dir(local("none")).unwrap();
    host.collect(&local("none")).unwrap();
}

fn sockets(host: &dyn Host) {
    let socket = host.scratch().join("late");
    let listener = launch("python3", &["-c", ECHO, socket.to_str().unwrap()]);
    std::thread::scope(|scope| {
        let dialling = scope.spawn(|| host.dial(&socket, LIMIT));
        std::thread::sleep(Duration::from_millis(300));
        let _listener = host.launch(listener).unwrap();
        let mut stream = dialling.join().unwrap().unwrap();
        let mut reading = stream.try_clone().unwrap();
        let sent: Vec<u8> = (0..6_000_000_u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let back = scope.spawn(move || {
            let mut back = vec![0; expected.len()];
            reading.read_exact(&mut back).unwrap();
            assert!(back == expected);
        });
        let ((), took_s) = timed(|| {
            stream.write_all(&sent).unwrap();
            back.join().unwrap();
        });
        println!("6 MB to a socket and back in {took_s:.2} s");
        // Its end is seen on the other side, whose end is seen here.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    });
    let nobody = host.dial(Path::new("/tmp/nobody"), Duration::from_millis(100)).unwrap_err();
    println!("{nobody:?}");
    assert!(said_of(&nobody).contains("No such file"), "{nobody:?}");
    // A dial that was given up holds no place at what comes up later.
    assert_eq!(said(host, "grep -c late /proc/net/unix; true"), "0");
}

fn taps(world: &World, host: &dyn Host) {
    let taps = host.taps().unwrap();
    taps.add_tap("dt0").unwrap();
    assert_eq!(world.sh("host-a", "ip -o link show dt0 | grep -o 'master [^ ]*'"), "master service");
    assert!(taps.add_tap("dt0").is_err(), "the name is taken");
    taps.remove_tap("dt0").unwrap();
    assert!(taps.remove_tap("dt0").is_err());
    assert_eq!(world.sh("host-a", "ip -o link | grep -c dt0; true"), "0");
    // One that is somebody else's stays theirs.
    world.sh("host-a", "ip tuntap add dev xx0 mode tap");
    assert!(taps.add_tap("xx0").is_err());
    taps.add_tap("dt1").unwrap();
}

/// Collects whole rows of a record.
fn collect() -> (RowSink, Arc<Mutex<Vec<i64>>>) {
    let rows = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&rows);
    (Box::new(move |values| sink.lock().unwrap().extend_from_slice(values)), rows)
}

fn helpers([a, b]: [&dyn Host; 2]) {
    let (first, took_s) = timed(|| a.helper().unwrap());
    println!("a helper more is there in {took_s:.2} s");
    let second = b.helper().unwrap();
    let local = tempfile::tempdir().unwrap();
    let capture = CaptureSpec {
        interface: a.interface(Network::Migration).unwrap().into(),
        description: "migration".into(),
        filter: "tcp".parse().unwrap(),
        snap_bytes: 128,
    };
    let file = a.outbox(local.path()).unwrap().join("migration.pcapng");
    let capturing = first.capture(&capture, &file).unwrap();
    let (sink, rows) = collect();
    let counting = first.count("migration", sink).unwrap();
    let at = SocketAddrV4::new(b.address(Network::Migration).unwrap(), 0);
    let goodput = measure_goodput(&first, &second, at, LIMIT).unwrap();
    println!("goodput between the hosts: {:.0} Mbit/s, {:.3} ms", goodput.goodput_mbit, goodput.rtt_ms);
    first.stop(counting, LIMIT).unwrap();
    let summary = capturing.stop(LIMIT).unwrap();
    assert!(summary.written > 10, "{summary:?}");
    a.collect(local.path()).unwrap();
    assert!(fs::metadata(local.path().join("migration.pcapng")).unwrap().len() > 10_000);
    let rows = rows.lock().unwrap();
    let count = rows.len() / shapes::WIRE.len();
    assert!(count > 2 && rows.len().is_multiple_of(shapes::WIRE.len()), "{count}");
    let (sink, _) = collect();
    let watching = first.watch_passages("dt1", sink).unwrap();
    first.stop(watching, LIMIT).unwrap();
    let said = first.watch_passages("none", collect().0).unwrap_err();
    assert!(said.to_string().contains("cannot find interface none"), "{said}");
}

/// The stamps of a host whose clock is off lie between the bench's, around the call.
fn clocks(host: &dyn Host) {
    let clock = host.clock();
    assert!(!clock.is_own());
    let helper: Helper = host.helper().unwrap();
    let (rows, first) = channel();
    let before_ns = now_ns();
    let task = helper.count_cpu(Box::new(move |values| drop(rows.send(values.to_vec())))).unwrap();
    let values = first.recv_timeout(LIMIT).unwrap();
    let after_ns = now_ns();
    helper.stop(task, LIMIT).unwrap();
    let at = shapes::CPU.iter().position(|(name, ..)| *name == "t_ns").unwrap();
    let standing = clock.standing(now_ns()).unwrap().monotonic;
    let error_ms = standing.error_ns as f64 / 1e6;
    println!(
        "its clock is known to within {error_ms:.3} ms, off by {:.1} s",
        -standing.offset_ns as f64 / 1e9
    );
    assert!((-standing.offset_ns - OFFSET_S * 1_000_000_000).abs() < 60_000_000_000, "{standing:?}");
    assert!(error_ms < 50.0, "{error_ms}");
    for row in values.chunks_exact(shapes::CPU.len()) {
        let inside = before_ns - standing.error_ns..=after_ns + standing.error_ns;
        assert!(inside.contains(&row[at]), "{} {inside:?}", row[at]);
    }
}

/// What the inventory does not say is found out where there is one answer only.
fn found_out(world: &World) {
    let mut inventory = world.inventory(Client::Right);
    for host in &mut inventory.hosts {
        (host.service, host.migration) = (None, None);
    }
    let two = SshTestbed::connect(&inventory, world.program).unwrap_err();
    println!("{two}");
    let said = two.to_string();
    assert!(said.contains("2 subnets in common") && said.contains("10.78.0.11/24 on migration"), "{said}");

    // With one that both have, and another whose address is the same on both, as a container engine's own bridge is.
    for host in ["host-a", "host-b"] {
        world.sh(host, "ip link add docker0 type bridge && ip addr add 172.17.0.1/16 dev docker0");
        world.sh(host, "ip addr flush dev migration");
    }
    let testbed = SshTestbed::connect(&inventory, world.program).unwrap();
    for (host, last) in testbed.hosts().iter().zip([11, 12]) {
        for network in Network::USUAL {
            assert_eq!(host.address(network), Some([10, 77, 0, last].into()));
            assert_eq!(host.interface(network), Some("service"));
        }
    }
    let taken = SshTestbed::connect(&inventory, world.program).unwrap_err();
    assert!(taken.to_string().contains("another dunlin measures on it"), "{taken}");
    drop(testbed);
    inventory.hosts[0].service = Some(super::attachment([10, 77, 0, 99], "uplink"));
    let wrong = SshTestbed::connect(&inventory, world.program).unwrap_err();
    assert!(wrong.to_string().contains("host-a has no address 10.77.0.99; it has 10.77.0.11/24"), "{wrong}");
    inventory.hosts[0].service = Some(super::attachment([10, 77, 0, 11], "eth7"));
    let wrong = SshTestbed::connect(&inventory, world.program).unwrap_err();
    assert!(wrong.to_string().contains("host-a has no device eth7"), "{wrong}");
    inventory.hosts[0].service = None;
    let mut own = inventory.clone();
    own.vm_addresses.as_mut().unwrap().first = [10, 77, 0, 12].into();
    let wrong = SshTestbed::connect(&own, world.program).unwrap_err();
    assert!(wrong.to_string().contains("10.77.0.12 is host-b's own"), "{wrong}");
    own = inventory.clone();
    own.hosts[1].bridge = Some("migration".into());
    let wrong = SshTestbed::connect(&own, world.program).unwrap_err();
    assert!(wrong.to_string().contains("migration of host-b is no bridge"), "{wrong}");
    inventory.hosts[0].service = None;
    inventory.bench = dunlin_testbed::BenchPlace::OnHost(inventory.hosts[0].name.clone());
    let wrong = SshTestbed::connect(&inventory, world.program).unwrap_err();
    assert!(wrong.to_string().contains("bench = \"here\""), "{wrong}");
}

/// The nodes see the machine's files: what lies there is shared. What lies in their own `/tmp` and the like is not.
fn shared(world: &World) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut inventory = world.inventory(Client::Right);
    for host in &mut inventory.hosts {
        host.migration = None;
        host.migration.clone_from(&host.service);
        host.shared = Some(folder.path().to_owned());
    }
    drop(SshTestbed::connect(&inventory, world.program).unwrap());
    inventory.hosts[1].shared = Some("/nowhere".into());
    let missing = SshTestbed::connect(&inventory, world.program).unwrap_err();
    assert!(missing.to_string().contains("does not read what host-a wrote there"), "{missing}");
    assert!(!Path::new("/nowhere").exists(), "it is never made");
    inventory.hosts[1].shared = Some(FOLDER.into());
    let lie = SshTestbed::connect(&inventory, world.program).unwrap_err();
    println!("{lie}");
    assert!(lie.to_string().contains("host-b does not read what host-a wrote there"), "{lie}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left of the proof");
    inventory.hosts[1].shared = Some("/no/such/folder".into());
    drop(SshTestbed::connect(&inventory, world.program).unwrap_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn said_of(error: &TestbedError) -> String {
    dunlin_record::in_one_line(error)
}
