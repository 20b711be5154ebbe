//! What this program does when a test runs it again: each role enters a lab first.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dunlin_clock::{Deadline, now_ns, sleep_until};
use dunlin_record::{Link, Links};
use dunlin_test_support::{NOT_PERMITTED, not_permitted};
use dunlin_testbed::{
    Capability, Fault, Host, HostKind, Inside, Lab, LabHost, LabSpec, Lack, Launch, MacAddress, Network,
    Taps, Testbed, TestbedError, capabilities, enter, running_labs, shell,
};

use super::{carrying, clocks, conversing, impostor, ssh_nodes, ssh_testbed, storage};

/// The name of the lab of the process with this id.
pub(crate) fn lab_name(outer: u32) -> String {
    format!("test-{outer}")
}

pub(crate) fn play(role: &str) -> ExitCode {
    match role {
        "shell" => return join(),
        "doctor" => return doctor(),
        "labs" => return labs(),
        "ssh-testbed-owner" => return ssh_testbed::own(),
        "impostor" => return impostor::play(),
        impostor::IDLE => return impostor::idle(),
        _ => {}
    }
    let limit = if role == "deaf" { Duration::from_millis(200) } else { Duration::from_secs(20) };
    // Outside, this process's id; inside it is another, but there the name is no longer used.
    match enter(&lab_name(std::process::id()), limit) {
        Ok(inside) => act(role, &inside),
        Err(TestbedError::NotPermitted { what, mend }) => {
            not_permitted(&format!("{what} is not permitted here; to mend: {mend}"))
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn act(role: &str, inside: &Inside) -> ExitCode {
    match role {
        "reach" => reach(inside),
        "rate" => rate(inside),
        "delay" => delay(inside),
        "tap" => tap(inside),
        "inject" => inject(inside),
        "again" => again(inside),
        "stay" => stay(inside),
        "listen" => return listen(),
        "deaf" => {
            say("ready");
            std::thread::sleep(Duration::from_secs(600));
        }
        "nodes" => nodes(inside),
        "node-files" => node_files(inside),
        "clocks" => clocks::play(inside),
        "carry-ways" => carrying::ways(inside),
        "carry-faults" => carrying::faults(inside),
        "carry-compared" => carrying::compared(inside),
        // For script/carry-table alone.
        "carry-table" => carrying::table(inside),
        "conversing" => conversing::play(inside),
        "ssh-reach" => ssh_nodes::reach(inside),
        "ssh-refusals" => ssh_nodes::refusals(inside),
        "ssh-cuts" => ssh_nodes::cuts(inside),
        "ssh-stay" => ssh_nodes::stay(inside),
        "ssh-clocks" => ssh_nodes::clocks(inside),
        "ssh-testbed-works" => ssh_testbed::works(inside),
        "ssh-testbed-names" => ssh_testbed::names(inside),
        "ssh-testbed-refusals" => ssh_testbed::refusals(inside),
        "ssh-testbed-life" => ssh_testbed::life(inside),
        "ssh-testbed-cuts" => ssh_testbed::cuts(inside),
        "stay-nodes" => stay_nodes(inside),
        "stay-storage" => storage::stay(inside),
        "storage-network" => storage::network(inside),
        "storage-refusals" => storage::refusals(inside),
        "storage-leases" => storage::leases(inside),
        "storage-destination" => storage::destination(inside),
        _ if role.starts_with("storage-serves-") => storage::serves(inside, role),
        _ if role.starts_with("storage-outages-") => storage::outages(inside, role),
        _ if role.starts_with("storage-tally-") => storage::tally(inside, role),
        "exit-7" => return ExitCode::from(7),
        other => panic!("no role {other}"),
    }
    ExitCode::SUCCESS
}

fn join() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(3).collect();
    let command: Vec<OsString> = args[2..].iter().map(OsString::from).collect();
    match shell(&args[0], &args[1], &command) {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn labs() -> ExitCode {
    let labs = running_labs().unwrap();
    labs.names.iter().for_each(|name| println!("lab {name}"));
    labs.refused.iter().for_each(|(name, why)| println!("not {name}: {why}"));
    ExitCode::SUCCESS
}

/// Says what is there and what is not; fails where something is missing that a lab needs.
fn doctor() -> ExitCode {
    let found = capabilities();
    for Capability { name, lack, .. } in &found {
        match lack {
            None => println!("{name}: there"),
            Some(Lack { because, mend }) => println!("{name}: {because}; to mend: {mend}"),
        }
    }
    let lab_is_possible = found.iter().all(|capability| !capability.required || capability.lack.is_none());
    ExitCode::from(if lab_is_possible { 0 } else { NOT_PERMITTED as u8 })
}

pub(crate) fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

fn lab(inside: &Inside, migration: Link) -> Lab {
    up(inside, &LabSpec::new(Links { migration, ..Links::default() }))
}

pub(crate) fn up(inside: &Inside, spec: &LabSpec) -> Lab {
    match Lab::up(inside, spec) {
        Ok(lab) => lab,
        Err(TestbedError::NotPermitted { what, mend }) => {
            println!("{what} is not permitted here; to mend: {mend}");
            std::process::exit(NOT_PERMITTED)
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn reach(inside: &Inside) {
    let lab = lab(inside, Link::default());
    let [a, b] = lab.hosts() else { panic!("two hosts") };
    for network in Network::USUAL {
        for (from, to) in [(a, b), (b, a)] {
            round_trip_ms(from, to, network);
        }
    }
    let fingerprint = lab.fingerprints().remove(0);
    assert_eq!(fingerprint.hosts, "host-a, host-b, bench");
    assert_eq!(fingerprint.congestion_control.as_deref(), Some(congestion_control(a, b).as_str()));
    assert!(!fs::exists("/proc/sys/net/ipv6/conf/all").unwrap() || disabled_ipv6(a));
}

fn disabled_ipv6(host: &LabHost) -> bool {
    let read = || Ok(fs::read_to_string("/proc/sys/net/ipv6/conf/migration/disable_ipv6").unwrap());
    host.inside(read).unwrap().trim() == "1"
}

fn rate(inside: &Inside) {
    let lab = lab(inside, Link { rate_mbit: Some(100.0), delay_ms: 0.0 });
    let [a, b] = lab.hosts() else { panic!("two hosts") };
    let limited = [goodput_mbit(a, b, Network::Migration), goodput_mbit(b, a, Network::Migration)];
    let unlimited = goodput_mbit(a, b, Network::Service);
    println!("100 Mbit/s: {limited:.1?} Mbit/s of payload; no limit: {unlimited:.1} Mbit/s");
    for limited in limited {
        // Headers take 4.4 % of a full frame.
        assert!((80.0..100.0).contains(&limited), "{limited}");
        assert!(unlimited > 5.0 * limited, "{unlimited} {limited}");
    }
}

fn delay(inside: &Inside) {
    let lab = lab(inside, Link { rate_mbit: Some(1000.0), delay_ms: 10.0 });
    let [a, b] = lab.hosts() else { panic!("two hosts") };
    let (delayed, direct) = (round_trip_ms(a, b, Network::Migration), round_trip_ms(a, b, Network::Service));
    println!("two links of 10 ms: round trip of {delayed:.2} ms; without: {direct:.2} ms");
    // Over two links, there and back.
    assert!(delayed >= 40.0, "{delayed}");
    assert!(direct < delayed / 2.0, "{direct} {delayed}");
    let goodput = goodput_mbit(a, b, Network::Migration);
    println!("it carries {goodput:.0} Mbit/s");
    // A relay of our own, where the kernel delays nothing, has what a busy machine leaves it.
    assert!(goodput > 2.0, "{goodput}");
}

fn inject(inside: &Inside) {
    let lab = Lab::up(inside, &LabSpec { injector: true, ..LabSpec::new(Links::default()) }).unwrap();
    let host = &lab.hosts()[0];
    let near = UdpSocket::bind((lab.bench_address(Network::Service), 0)).unwrap();
    let far = host.inside(|| Ok(UdpSocket::bind((host.address(Network::Service), 0)).unwrap())).unwrap();
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    let start_ns = now_ns() + 50_000_000;
    let pending = lab.injector().unwrap().inject(Fault::Hold, start_ns, 200_000_000).unwrap();
    sleep_until(start_ns + 50_000_000);
    let mut buffer = [0; 8];
    let sent_ns = now_ns();
    near.send_to(b"held", far.local_addr().unwrap()).unwrap();
    far.recv_from(&mut buffer).unwrap();
    let arrived_ns = now_ns();
    let injection = pending.wait(Duration::from_secs(5)).unwrap();
    assert!(arrived_ns >= injection.end_ns, "{arrived_ns} {injection:?}");
    // The bench is the relay's end b. On a noisy machine the datagram may have come too late to be held.
    assert!(injection.b_to_a.met >= 1 || sent_ns > injection.start_ns + 100_000_000, "{injection:?}");
}

fn tap(inside: &Inside) {
    let lab = lab(inside, Link::default());
    let host = &lab.hosts()[0];
    host.add_tap("vm0").unwrap();
    let devices = || Ok(fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    assert!(host.inside(devices).unwrap().contains("vm0:"));
    let taken = host.add_tap("vm0").unwrap_err();
    assert!(matches!(taken, TestbedError::Io { .. }), "{taken:?}");
    let long = host.add_tap("a-name-too-long-for-a-tap").unwrap_err();
    assert!(matches!(long, TestbedError::Io { .. }), "{long:?}");
    let (address, _) = lab.vm_address(0).unwrap();
    lab.introduce_vm(address, MacAddress::new([0x52, 0x54, 0, 0, 0, 1])).unwrap();
    let neighbours = fs::read_to_string("/proc/net/arp").unwrap();
    assert!(neighbours.contains("10.77.0.100") && neighbours.contains("52:54:00:00:00:01"), "{neighbours}");
    host.remove_tap("vm0").unwrap();
    assert!(!host.inside(devices).unwrap().contains("vm0:"));
    assert!(host.remove_tap("vm0").is_err());
}

fn again(inside: &Inside) {
    for _ in 0..3 {
        let lab = lab(inside, Link::default());
        let host = &lab.hosts()[1];
        let mut process = host.launch(sleep(host)).unwrap();
        assert_eq!(process.try_wait().unwrap(), None);
        drop(lab);
        assert_eq!(process.wait(Deadline::after(Duration::from_secs(5))).unwrap().unwrap(), "signal 9");
    }
}

/// Stays until killed, with a program and its orphan on one host and a relay between the two.
fn stay(inside: &Inside) {
    let lab = lab(inside, Link { rate_mbit: None, delay_ms: 1.0 });
    let host = &lab.hosts()[0];
    host.add_tap("vm0").unwrap();
    let launch = sleep(host);
    let log = launch.stdout.clone();
    let mut process = host.launch(launch).unwrap();
    // Its orphan exists when it says so.
    while fs::read_to_string(&log).unwrap() != "started\n" {
        assert_eq!(process.wait(Deadline::after(Duration::from_millis(2))).unwrap(), None);
    }
    let _spoken_with = conversing::start(&**host, "cat", &[]);
    let inode = |path: &str| fs::read_link(path).unwrap().to_str().unwrap().to_owned();
    let mut namespaces =
        vec![inode("/proc/self/ns/pid"), inode("/proc/self/ns/mnt"), inode("/proc/self/ns/net")];
    namespaces.extend(
        lab.hosts().iter().map(|host| host.inside(|| Ok(inode("/proc/thread-self/ns/net"))).unwrap()),
    );
    // Nobody runs on the switch, so its name must tell.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let switch = mounts.lines().find(|line| line.contains("/run/netns/switch")).unwrap();
    namespaces.push(switch.split_whitespace().nth(3).unwrap().to_owned());
    say(&format!("ready {}", namespaces.join(" ")));
    std::thread::sleep(Duration::from_secs(600));
}

fn sleep(host: &LabHost) -> Launch {
    let log = host.scratch().join("sleep.log");
    Launch {
        program: "sh".into(),
        args: ["-c", "setsid sleep 600 & echo started; exec sleep 600"].map(OsString::from).into(),
        stdout: log,
        stderr: "/dev/null".into(),
    }
}

/// Ends with a code of its own when the signal comes.
fn listen() -> ExitCode {
    let mut set = nix::sys::signal::SigSet::empty();
    set.add(nix::sys::signal::Signal::SIGTERM);
    set.thread_block().unwrap();
    say("ready");
    set.wait().unwrap();
    ExitCode::from(42)
}

/// The shortest of some round trips of a datagram.
pub(crate) fn round_trip_ms(from: &Arc<LabHost>, to: &Arc<LabHost>, network: Network) -> f64 {
    let bind = |host: &Arc<LabHost>| {
        host.inside(|| {
            let socket = UdpSocket::bind((host.address(network), 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            Ok(socket)
        })
        .unwrap()
    };
    let (near, far) = (bind(from), bind(to));
    let there = far.local_addr().unwrap();
    let times = (0..5).map(|_| {
        let start = now_ns();
        let mut buffer = [0; 8];
        near.send_to(b"dunlin", there).unwrap();
        let (length, back) = far.recv_from(&mut buffer).unwrap();
        far.send_to(&buffer[..length], back).unwrap();
        near.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"dunlin");
        (now_ns() - start) as f64 / 1e6
    });
    times.fold(f64::INFINITY, f64::min)
}

/// A connection over a network: the sending end, the receiving end.
fn connection(from: &LabHost, to: &LabHost, network: Network) -> (TcpStream, TcpStream) {
    let listener = to.inside(|| Ok(TcpListener::bind((to.address(network), 0)).unwrap())).unwrap();
    let there: SocketAddr = listener.local_addr().unwrap();
    let sender =
        from.inside(|| Ok(TcpStream::connect_timeout(&there, Duration::from_secs(5)).unwrap())).unwrap();
    (sender, listener.accept().unwrap().0)
}

fn congestion_control(from: &LabHost, to: &LabHost) -> String {
    let (sender, receiver) = connection(from, to, Network::Migration);
    let name = |stream: &TcpStream| {
        let bytes = socket2::SockRef::from(stream).tcp_congestion().unwrap();
        String::from_utf8(bytes).unwrap().trim_end_matches('\0').to_owned()
    };
    assert_eq!(name(&sender), name(&receiver));
    name(&sender)
}

/// TCP payload carried in a second, after a moment to get going.
fn goodput_mbit(from: &LabHost, to: &LabHost, network: Network) -> f64 {
    let (mut sender, mut receiver) = connection(from, to, network);
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                sender.write_all(&[7; 65536]).unwrap();
            }
            sender.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut buffer = vec![0; 1 << 18];
        let mut read_for = |time: Duration| {
            let (deadline, start, mut bytes) = (Deadline::after(time), now_ns(), 0);
            while !deadline.passed() {
                bytes += receiver.read(&mut buffer).unwrap();
            }
            bytes as f64 * 8.0 / ((now_ns() - start) as f64 / 1e9) / 1e6
        };
        read_for(Duration::from_millis(300));
        let goodput = read_for(Duration::from_secs(1));
        enough.store(true, Ordering::Relaxed);
        while receiver.read(&mut buffer).unwrap() > 0 {}
        goodput
    })
}

/// Three nodes: each a world of its own, joined by the networks alone, and ended whole by the end of its first process.
fn nodes(inside: &Inside) {
    let spec = LabSpec { hosts: 3, kind: HostKind::Node, ..LabSpec::new(Links::default()) };
    let lab = up(inside, &spec);
    let [a, b, c] = lab.hosts() else { panic!("three hosts") };
    for network in Network::USUAL {
        for (from, to) in [(a, b), (b, c), (c, a)] {
            round_trip_ms(from, to, network);
        }
    }
    for host in lab.hosts() {
        assert_eq!(sh(host, "cat /proc/sys/kernel/hostname /etc/hostname | uniq"), host.id().as_str());
        assert_eq!(sh(host, "ls -A /run /dev/shm"), "/dev/shm:\n\n/run:\ndunlin", "its own");
        // Daemons find each other by name.
        assert_eq!(sh(host, "getent ahostsv4 host-b | head -1 | cut -d' ' -f1"), "10.78.0.12");
        sh(host, &format!("echo {} >/run/whose; echo here >/tmp/{}", host.id(), host.id()));
    }
    assert_eq!((sh(a, "cat /run/whose"), sh(b, "ls /tmp")), ("host-a".into(), "host-b".into()));
    // A daemon: it leaves its parent, and lives on in its node alone.
    let daemon = "setsid sh -c 'touch /run/up; sleep 604 & sleep 605' >/dev/null 2>&1 </dev/null &";
    sh(a, &format!("{daemon} until [ -e /run/up ]; do sleep 0.05; done; sleep 0.5"));
    let sleepers = |host: &LabHost| sh(host, "cat /proc/[0-9]*/comm | grep -c '^sleep$'");
    assert_eq!((sleepers(a).as_str(), sleepers(b).as_str()), ("2", "0"));
    assert_ne!(sh(a, "readlink /proc/1/ns/pid"), sh(b, "readlink /proc/1/ns/pid"));
    // The power is cut.
    let power = a.first_process().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(power).unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let deadline = Deadline::after(Duration::from_secs(10));
    while sleepers_seen_by_the_lab() > 0 && !deadline.passed() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(sleepers_seen_by_the_lab(), 0, "all in it ended with it");
    assert!(a.run(Path::new("true"), &[], Duration::from_secs(5)).is_err(), "nothing runs there any more");
    assert_eq!(sh(b, "echo alive"), "alive");
    // Whom nobody waits for is buried by the first process.
    sh(b, "setsid true & sleep 0.5");
    assert_eq!(sh(b, "cat /proc/[0-9]*/stat | grep -c ') Z '"), "0");
}

/// What a testbed's user does with a host's files and processes means the host's own, wherever they are hidden from the lab.
fn node_files(inside: &Inside) {
    let spec = LabSpec { kind: HostKind::Node, ..LabSpec::new(Links::default()) };
    let lab = up(inside, &spec);
    let host: &dyn Host = &*lab.hosts()[0];
    let node = &lab.hosts()[0];
    let secret = host.scratch().join("keys/key.pem");
    host.write_private(&secret, b"secret").unwrap();
    let modes =
        format!("cd {} && cat keys/key.pem && stat -c %a keys keys/key.pem", host.scratch().display());
    assert_eq!(sh(node, &modes), "secret700\n600");
    assert_eq!(host.read(&secret).unwrap(), b"secret");
    host.remove(secret.parent().unwrap()).unwrap();
    assert!(host.read(&secret).is_err());

    let local = tempfile::tempdir().unwrap();
    let (there, back) = (Path::new("/tmp/copied"), local.path().join("back"));
    fs::write(local.path().join("file"), "to a node").unwrap();
    host.copy_to(&local.path().join("file"), there).unwrap();
    assert_eq!(sh(node, "cat /tmp/copied"), "to a node");
    host.copy_from(there, &back).unwrap();
    assert_eq!(fs::read_to_string(&back).unwrap(), "to a node");

    // What is to end up in a folder that the node does not see is fetched.
    let outbox = host.outbox(local.path()).unwrap();
    let mut process = host
        .launch(Launch {
            program: "sh".into(),
            args: ["-c", "echo $$; exec sleep 600"].map(OsString::from).into(),
            stdout: outbox.join("said"),
            stderr: outbox.join("complained"),
        })
        .unwrap();
    let deadline = Deadline::after(Duration::from_secs(10));
    let said = loop {
        host.collect(local.path()).unwrap();
        let said = fs::read_to_string(local.path().join("said")).unwrap_or_default();
        if said.ends_with('\n') || deadline.passed() {
            break said;
        }
    };
    // Its id is the one it has there, by which others there can ask about it.
    let pid = process.pid().unwrap();
    assert_eq!(said.trim(), pid.to_string());
    assert_eq!(host.resident_bytes(pid, 1).unwrap(), None, "it has no such mapping, but it is there");
    let (rows, counted) = std::sync::mpsc::channel();
    let helper = host.helper().unwrap();
    let task = helper
        .count_process_cpu(pid, Vec::new(), Box::new(move |values| rows.send(values.len()).unwrap_or(())))
        .unwrap();
    assert!(counted.recv_timeout(Duration::from_secs(10)).is_ok());
    helper.stop(task, Duration::from_secs(10)).unwrap();
    process.kill();
    assert_eq!(process.try_wait().unwrap().unwrap(), "signal 9");

    // A socket there is reached from here.
    let socket = host.scratch().join("socket");
    let listen = "import socket,sys;s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);s.listen();s.accept()[0].send(b'hi')";
    let _listener = host
        .launch(Launch {
            program: "python3".into(),
            args: ["-c".into(), listen.into(), socket.clone().into()].into(),
            stdout: "/dev/null".into(),
            stderr: "/dev/null".into(),
        })
        .unwrap();
    let mut stream = host.dial(&socket, Duration::from_secs(20)).unwrap();
    let mut hi = [0; 2];
    stream.read_exact(&mut hi).unwrap();
    assert_eq!(&hi, b"hi");
}

/// Stays until killed, with three nodes and an orphan in each.
fn stay_nodes(inside: &Inside) {
    let spec = LabSpec { hosts: 3, kind: HostKind::Node, ..LabSpec::new(Links::default()) };
    let lab = up(inside, &spec);
    for host in lab.hosts() {
        sh(host, "setsid sleep 600 >/dev/null 2>&1 </dev/null &");
    }
    say_ready(&lab);
    std::thread::sleep(Duration::from_secs(600));
}

/// Says that a lab of nodes is there, and which namespaces it is made of.
pub(crate) fn say_ready(lab: &Lab) {
    let inode = |path: &str| fs::read_link(path).unwrap().to_str().unwrap().to_owned();
    let mut namespaces = ["pid", "mnt", "net"].map(|kind| inode(&format!("/proc/self/ns/{kind}"))).to_vec();
    let nodes = lab.hosts().iter().chain(lab.storage_host());
    for first in nodes.filter_map(|host| host.first_process()) {
        namespaces.extend(
            ["net", "pid", "mnt", "uts", "ipc"].map(|kind| inode(&format!("/proc/{first}/ns/{kind}"))),
        );
    }
    say(&format!("ready {}", namespaces.join(" ")));
}

/// What a script says on a host.
pub(crate) fn sh(host: &LabHost, script: &str) -> String {
    let output = host.run(Path::new("sh"), &["-c".into(), script.into()], Duration::from_secs(20)).unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// How many of the sleepers the lab, whose pid namespace holds those of the nodes, still has.
fn sleepers_seen_by_the_lab() -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .filter(|words| words.starts_with(b"sleep\x0060"))
        .count()
}
