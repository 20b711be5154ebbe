//! What is done with libvirt on two nodes.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_guest::{PORT_NAME, READY_LINE, kernel_args};
use dunlin_ssh_nodes::{AccessFault, Domain, LibvirtNodes, SshNodes};

const NAME: &str = "t1";
const UUID: &str = "5d3c1f0e-6a58-4a0e-9f57-0d1f2f1c7a11";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const CONSOLE: &str = "t1.console";
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// How long an end may take to be seen.
const GONE_LIMIT: Duration = Duration::from_secs(10);
/// All connections between daemons.
const TRANSPORTS: [&str; 3] = ["tcp", "tls", "ssh"];

/// One domain, there and back again, over each connection; on its last way its memory is encrypted.
pub(crate) fn moves(libvirt: &LibvirtNodes, guest: &[String]) {
    boot(libvirt, guest);
    let ways: [(&str, &[&str]); 4] = [("tcp", &[]), ("tls", &[]), ("ssh", &[]), ("tcp", &["--tls"])];
    let (mut from, mut to) = ("host-a", "host-b");
    for (transport, more) in ways {
        let uri = format!("qemu+{transport}://{to}/system");
        said(libvirt, from, &[&["migrate", "--live", "--p2p"], more, &[NAME, &uri]].concat());
        runs_once(libvirt, to);
        answers();
        (from, to) = (to, from);
    }
}

/// libvirtd is killed, hangs and ends; the domain runs on, and is known again. Only its node's power takes it away.
pub(crate) fn outlives(nodes: &SshNodes, libvirt: &LibvirtNodes, guest: &[String]) {
    boot(libvirt, guest);
    let before = libvirt.qemus("host-a").unwrap();
    libvirt.kill("host-a").unwrap();
    assert_eq!(libvirt.qemus("host-a").unwrap(), before);
    answers();
    let output = libvirt.virsh("host-a", &["list"]).unwrap();
    let refusal = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.success && refusal.contains("Failed to connect socket"), "{output:?}");
    libvirt.start("host-a").unwrap();
    runs_once(libvirt, "host-a");

    libvirt.hang("host-a").unwrap();
    libvirt.stop("host-b").unwrap();
    answers();
    libvirt.go_on("host-a").unwrap();
    libvirt.start("host-b").unwrap();
    runs_once(libvirt, "host-a");
    libvirt.restart("host-a").unwrap();
    runs_once(libvirt, "host-a");
    assert_eq!(libvirt.qemus("host-a").unwrap(), before);
    nodes.power_off("host-a").unwrap();
    assert_eq!(libvirt.copies(UUID).unwrap(), 0);
    nodes.power_on("host-a").unwrap();
    libvirt.start("host-a").unwrap();
    assert_eq!(said(libvirt, "host-a", &["list", "--all", "--name"]), "");
    assert_eq!(said(libvirt, "host-b", &["-c", "qemu+tls://host-a/system", "hostname"]), "host-a");
}

/// Stays until killed.
pub(crate) fn stays(libvirt: &LibvirtNodes, guest: &[String]) {
    create(libvirt, guest);
    println!("ready {UUID}");
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

/// Each fault is refused by libvirt or ssh in its own words, and nothing else is.
pub(crate) fn refusals(libvirt: &LibvirtNodes) {
    let faults = [
        (AccessFault::UntrustedKey, "host-b", "ssh", "Permission denied"),
        (AccessFault::UnknownHost, "host-a", "ssh", "Host key verification failed"),
        (AccessFault::TcpAsks, "host-b", "tcp", "authentication failed"),
        (AccessFault::NoClientCertificate, "host-a", "tls", "TLS confirmation"),
        (AccessFault::ForeignClientCertificate, "host-a", "tls", "ertificate"),
    ];
    let reach = |transport: &str| {
        let uri = format!("qemu+{transport}://host-b/system");
        libvirt.virsh("host-a", &["-c", &uri, "hostname"]).unwrap()
    };
    for (fault, at, refused, words) in faults {
        libvirt.refuse_access(at, fault).unwrap();
        for transport in TRANSPORTS {
            let output = reach(transport);
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            println!("{fault:?} {transport}: {}\n{}", output.how, stderr.trim());
            assert_eq!(output.success, transport != refused, "{fault:?} {transport}: {output:?}");
            assert!(output.success || stderr.contains(words), "{fault:?} {transport}: {output:?}");
        }
        libvirt.mend_access(at).unwrap();
    }
    for transport in TRANSPORTS {
        assert_eq!(String::from_utf8_lossy(&reach(transport).stdout).trim(), "host-b");
    }
}

/// Nothing of libvirt runs beside this process, in the lab's own pid namespace.
pub(crate) fn nothing_runs() {
    let left = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let words = all.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        let words = words.map(|words| String::from_utf8_lossy(&words).into_owned());
        words
            .filter(|words| words.contains("libvirtd\0") || words.contains("qemu-system"))
            .collect::<Vec<_>>()
    };
    let deadline = Deadline::after(GONE_LIMIT);
    while !left().is_empty() {
        assert!(!deadline.passed(), "{:?}", left());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts the domain on the first node, and waits until its guest is up.
fn boot(libvirt: &LibvirtNodes, guest: &[String]) {
    create(libvirt, guest);
    runs_once(libvirt, "host-a");
    let console = libvirt.shared().join(CONSOLE);
    let read = || String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
    let deadline = Deadline::after(BOOT_LIMIT);
    while !read().contains(READY_LINE) {
        assert!(!deadline.passed(), "{}\n{}", read(), libvirt.log("host-a").unwrap());
        std::thread::sleep(Duration::from_millis(50));
    }
    answers();
}

fn create(libvirt: &LibvirtNodes, guest: &[String]) {
    // Whatever folder the cache is in, nodes see this one.
    let place = |(file, name): (&String, &str)| -> PathBuf {
        let there = libvirt.shared().join(name);
        fs::copy(file, &there).unwrap();
        there
    };
    let [kernel, initrd] = [(&guest[0], "kernel"), (&guest[1], "initrd")].map(place);
    let channel = format!("    <channel type='unix'><target type='virtio' name='{PORT_NAME}'/></channel>\n");
    let domain = Domain {
        name: NAME,
        uuid: UUID,
        kernel: &kernel,
        initrd: &initrd,
        cmdline: &kernel_args(Some((ADDRESS, 24)), ""),
        memory_mib: 128,
        bridge: Some(("service", "52:54:00:4d:00:64")),
        console: &libvirt.shared().join(CONSOLE),
        devices: &channel,
    };
    libvirt.create("host-a", &domain).unwrap();
}

/// One copy of the domain runs, on this node, and its libvirtd knows.
fn runs_once(libvirt: &LibvirtNodes, at: &str) {
    assert_eq!(said(libvirt, at, &["domstate", NAME]), "running");
    // The source's process may take a moment to be gone.
    let deadline = Deadline::after(GONE_LIMIT);
    while libvirt.copies(UUID).unwrap() != 1 && !deadline.passed() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(libvirt.copies(UUID).unwrap(), 1);
    let there = libvirt.qemus(at).unwrap();
    assert!(there.len() == 1 && there[0].uuid == UUID && there[0].name == NAME, "{there:?}");
}

/// The guest answers the bench over the service network.
fn answers() {
    let mut ping = Command::new("ping");
    ping.args(["-c", "1", "-W", "1", &ADDRESS.to_string()]).stdin(Stdio::null());
    let deadline = Deadline::after(GONE_LIMIT);
    loop {
        let output = ping.output().unwrap();
        if output.status.success() {
            return;
        }
        assert!(!deadline.passed(), "{output:?}");
    }
}

fn said(libvirt: &LibvirtNodes, at: &str, args: &[&str]) -> String {
    let logs = || ["host-a", "host-b"].map(|name| libvirt.log(name).unwrap()).concat();
    libvirt.virsh_said(at, args).unwrap_or_else(|error| panic!("{error}\n{}", logs()))
}
