//! Nodes as hosts behind ssh, and what ssh says where one cannot be reached: hints are made of it.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::Links;
use dunlin_ssh_nodes::{Client, SshNodes};
use dunlin_testbed::{HostKind, Inside, Lab, LabSpec, Network, TestbedError};

use dunlin_test_support::NOT_PERMITTED;

use super::roles::say_ready;

/// How long ssh may take to give up, or to do a small thing.
const LIMIT: Duration = Duration::from_secs(15);
/// The exit code with which ssh says that it is itself who failed.
const SSH_FAILED: i32 = 255;

/// Two nodes, told apart by ssh; each reaches the other.
pub(crate) fn reach(inside: &Inside) {
    let (lab, nodes) = up(inside);
    for host in ["host-a", "host-b"] {
        assert_eq!(
            said(&nodes, Client::Right, &[host, "uname -n; id -un; pwd"]),
            format!("{host}\nroot\n/run/home/root")
        );
        assert_eq!(said(&nodes, Client::OverMigration, &[host, "hostname"]), host);
    }
    let greeting = "exec 3<>/dev/tcp/10.78.0.12/22 && head -c 4 <&3";
    assert_eq!(said(&nodes, Client::Right, &["host-a", &format!("bash -c '{greeting}'")]), "SSH-");
    // Each has its own machine's marks.
    let boot_id = |host| said(&nodes, Client::Right, &[host, "cat /proc/sys/kernel/random/boot_id"]);
    assert_ne!(boot_id("host-a"), boot_id("host-b"));
    println!("{}", nodes.inventory(Client::Right));
    assert_eq!(nodes.inventory(Client::Right).matches("[[host]]").count(), 2);
    let with_driver = nodes.inventory_with_driver(Client::Right, "libvirt");
    assert_eq!(with_driver.matches("\ndriver = \"libvirt\"\n").count(), 2, "{with_driver}");
    assert_eq!(with_driver.replace("\ndriver = \"libvirt\"", ""), nodes.inventory(Client::Right));

    // Other users, with and without rights.
    assert_eq!(said(&nodes, Client::AsOrdinary, &["host-a", "id -un; pwd"]), "ordinary\n/run/home/ordinary");
    if Path::new("/usr/bin/sudo").exists() {
        assert_eq!(said(&nodes, Client::AsSudoer, &["host-a", "id -un; sudo -n id -un"]), "sudoer\nroot");
        tell("one who may not become root", &ssh(&nodes, Client::AsOrdinary, &["host-a", "sudo -n id -un"]));
        nodes.sh("host-a", "mount --bind /dev/null /usr/bin/sudo").unwrap();
        tell("a sudo that does not work", &ssh(&nodes, Client::AsSudoer, &["host-a", "sudo -n id -un"]));
    } else {
        println!("there is no sudo");
    }
    tell("a user whom the host does not know", &ssh(&nodes, Client::Right, &["stranger@host-a", "true"]));

    let folder = nodes.folder().to_owned();
    let servers = || processes().into_iter().filter(|words| words.contains("sshd")).count();
    let mut session = start(&nodes, &["host-a", "echo there; exec sleep 600"]);
    session.await_word();
    assert!(servers() >= 3, "two servers and a session");
    drop(lab);
    let deadline = Deadline::after(LIMIT);
    while servers() > 0 && !deadline.passed() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(servers(), 0, "{:?}", processes());
    drop(nodes);
    assert!(!folder.exists());
}

/// Each fault is refused by ssh itself, in its own words, which are printed.
pub(crate) fn refusals(inside: &Inside) {
    let (_lab, nodes) = up(inside);
    let refusals = [
        (Client::WrongKey, "Permission denied (publickey)"),
        (Client::UnknownHost, "Host key verification failed"),
        (Client::ChangedHost, "REMOTE HOST IDENTIFICATION HAS CHANGED"),
        (Client::NobodyThere, "No route to host"),
    ];
    for (client, words) in refusals {
        let output = ssh(&nodes, client, &["host-a", "true"]);
        tell(&format!("{client:?}"), &output);
        assert_eq!(output.status.code(), Some(SSH_FAILED));
        assert!(text(&output.stderr).contains(words), "{output:?}");
    }
    let output = ssh(&nodes, Client::UnknownHost, &["-o", "StrictHostKeyChecking=ask", "host-a", "true"]);
    tell("UnknownHost where ssh would ask", &output);
    tell("a name that nobody knows", &ssh(&nodes, Client::Right, &["host-z", "true"]));
    let output = ssh(&nodes, Client::NobodyThere, &["-o", "ConnectTimeout=1", "host-a", "true"]);
    tell("NobodyThere, with a limit of 1 s", &output);
    tell("no such program", &ssh(&nodes, Client::Right, &["host-a", "no-such-program"]));
    tell("ended by a signal", &ssh(&nodes, Client::Right, &["host-a", "kill -9 $$"]));

    nodes.stop("host-b").unwrap();
    let output = ssh(&nodes, Client::Right, &["host-b", "true"]);
    tell("no sshd", &output);
    assert!(text(&output.stderr).contains("Connection refused"));
    nodes.start("host-b").unwrap();
    assert_eq!(said(&nodes, Client::Right, &["host-b", "hostname"]), "host-b");

    // The node has its own /tmp: nothing of this reaches the machine's disk.
    let folder = Path::new("/tmp/disk");
    nodes.fill("host-a", folder).unwrap();
    let output = ssh(&nodes, Client::Right, &["host-a", "cat /bin/true >/tmp/disk/it"]);
    tell("a full disk", &output);
    assert_ne!(output.status.code(), Some(0));
    nodes.unmount("host-a", folder).unwrap();
    nodes.forbid_programs("host-a", folder).unwrap();
    let output = ssh(&nodes, Client::Right, &["host-a", "cp /bin/true /tmp/disk/it && /tmp/disk/it"]);
    tell("a disk without programs", &output);
    assert_eq!(output.status.code(), Some(126));
}

/// What a session hears when its host goes.
pub(crate) fn cuts(inside: &Inside) {
    let (_lab, nodes) = up(inside);
    let sleep = "echo there; exec sleep 600";
    let boot_id = || said(&nodes, Client::Right, &["host-a", "cat /proc/sys/kernel/random/boot_id"]);

    // The host is shut down: its kernel closes the connections.
    let mut session = start(&nodes, &["host-a", sleep]);
    session.await_word();
    nodes.end_all("host-a").unwrap();
    tell("all on the host is ended", &session.end());
    nodes.start("host-a").unwrap();
    let before = boot_id();

    // Its power is cut: nobody says anything until it is back, and then it knows nothing of the connection.
    let keep_alive = ["-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=2"];
    let mut session = start(&nodes, &[&keep_alive[..], &["host-a", sleep]].concat());
    session.await_word();
    let mut patient = start(&nodes, &["-o", "ServerAliveInterval=5", "host-a", sleep]);
    patient.await_word();
    assert_eq!(said(&nodes, Client::Right, &["host-a", "touch /tmp/lost; ls /tmp"]), "lost");
    nodes.power_off("host-a").unwrap();
    tell("its power is cut, with ServerAliveInterval=1 and CountMax=2", &session.end());
    nodes.power_on("host-a").unwrap();
    tell("its power was cut, and it is back: a session from before", &patient.end());
    assert_ne!(before, boot_id());
    assert_eq!(said(&nodes, Client::Right, &["host-a", "ls /tmp"]), "");

    // Only the link is cut, and comes back: the session lives on.
    let mut session = start(&nodes, &["host-a", "echo there; sleep 2; echo still there"]);
    session.await_word();
    nodes.cut("host-a", Network::Service).unwrap();
    let output = ssh(&nodes, Client::Right, &["-o", "ConnectTimeout=1", "host-a", "true"]);
    tell("the link is cut, with a limit of 1 s", &output);
    assert_eq!(output.status.code(), Some(SSH_FAILED));
    assert_eq!(said(&nodes, Client::OverMigration, &["host-a", "hostname"]), "host-a");
    nodes.join("host-a", Network::Service).unwrap();
    let output = session.end();
    assert_eq!(text(&output.stdout), "still there", "{output:?}");
}

/// Where ssh finds a node with another clock, it is really off.
pub(crate) fn clocks(inside: &Inside) {
    let spec = LabSpec { clock_offsets_s: vec![0, 86_400], ..spec() };
    let lab = lab(inside, &spec);
    let nodes = SshNodes::up(&lab).unwrap();
    let uptime_s =
        |host| said(&nodes, Client::Right, &[host, "cut -d. -f1 /proc/uptime"]).parse::<i64>().unwrap();
    let apart_s = uptime_s("host-b") - uptime_s("host-a");
    assert!((apart_s - 86_400).abs() < 20, "{apart_s}");
}

/// Stays until killed, with a session that has left its server behind.
pub(crate) fn stay(inside: &Inside) {
    let (lab, nodes) = up(inside);
    let mut session = start(&nodes, &["host-a", "echo there; exec sleep 600"]);
    session.await_word();
    nodes.stop("host-a").unwrap();
    say_ready(&lab);
    std::thread::sleep(Duration::from_secs(600));
}

fn spec() -> LabSpec {
    LabSpec { kind: HostKind::Node, ..LabSpec::new(Links::default()) }
}

fn up(inside: &Inside) -> (Lab, SshNodes) {
    let lab = lab(inside, &spec());
    let nodes = SshNodes::up(&lab).unwrap();
    (lab, nodes)
}

fn lab(inside: &Inside, spec: &LabSpec) -> Lab {
    let because = match (SshNodes::lack(), Lab::up(inside, spec)) {
        (None, Ok(lab)) => return lab,
        (Some(lack), _) => lack,
        (None, Err(error @ (TestbedError::NotPermitted { .. } | TestbedError::Unsupported { .. }))) => {
            error.to_string()
        }
        (None, Err(error)) => panic!("{error:?}"),
    };
    println!("{because}");
    std::process::exit(NOT_PERMITTED)
}

/// A client that is at work.
struct Session(std::process::Child);

impl Session {
    /// Waits until the command on the host has said that it is there.
    fn await_word(&mut self) {
        let mut word = [0; 6];
        self.0.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        assert_eq!(&word, b"there\n");
    }

    fn end(mut self) -> Output {
        let deadline = Deadline::after(LIMIT);
        while self.0.try_wait().unwrap().is_none() {
            if deadline.passed() {
                let _ = self.0.kill();
                panic!("ssh has not ended in {LIMIT:?}: {:?}", self.0.wait_with_output());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.0.wait_with_output().unwrap()
    }
}

fn start(nodes: &SshNodes, words: &[&str]) -> Session {
    let mut client: Command = nodes.ssh(Client::Right);
    client.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    Session(client.spawn().unwrap())
}

fn ssh(nodes: &SshNodes, client: Client, words: &[&str]) -> Output {
    let mut client = nodes.ssh(client);
    client.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    Session(client.spawn().unwrap()).end()
}

/// What a command says that must succeed.
fn said(nodes: &SshNodes, client: Client, words: &[&str]) -> String {
    let output = ssh(nodes, client, words);
    assert!(output.status.success(), "{words:?}: {output:?}\n{}", nodes.said("host-a").unwrap());
    text(&output.stdout)
}

fn tell(what: &str, output: &Output) {
    println!("{what}: {}", output.status);
    text(&output.stderr).lines().for_each(|line| println!("    | {line}"));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// The command lines of the lab's processes.
fn processes() -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .map(|words| text(&words))
        .collect()
}
