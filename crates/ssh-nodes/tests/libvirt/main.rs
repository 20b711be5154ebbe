//! libvirt on the nodes of a lab, used as somebody does who has virsh alone. Each test runs this program again in a role (see
//! `roles`), which enters a lab.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, with a harness of its own")]

mod roles;
mod scenes;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_guest::{build_image, default_cache_dir, fetch_kernel};
use dunlin_test_support::{NOT_PERMITTED, ROLE, run_tests, skip_test, skip_vms};

const LIMIT: Duration = Duration::from_secs(150);
/// In which all of a killed lab must be gone.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// A test's name, and what it does under that name.
type Test = (&'static str, fn(&str));

const TESTS: [Test; 4] = [
    ("vm_a_domain_moves_between_nodes_over_every_connection", |name| with_vm(name, "moves")),
    ("vm_a_domain_outlives_its_libvirtd", |name| with_vm(name, "outlives")),
    ("vm_nothing_remains_of_libvirt_when_the_owner_is_killed", nothing_remains),
    ("a_daemon_refuses_whom_it_does_not_trust_until_that_is_mended", |name| {
        ends_well(name, "refusals", &[]);
    }),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("helper") => return ExitCode::from(dunlin_testbed::serve_helper() as u8),
        Some(dunlin_testbed::NODE_ROLE) => return ExitCode::from(dunlin_testbed::serve_node() as u8),
        Some(ROLE) => return roles::play(&args[1], &args[2..]),
        _ => {}
    }
    run_tests(&args, &TESTS, |name, test| test(name))
}

/// The kernel and the image of Dunlin's own guest; made before the lab, from which nobody reaches the network.
fn guest() -> Option<[PathBuf; 2]> {
    let kernel = default_cache_dir().and_then(|cache| Ok((fetch_kernel(&cache)?, cache)));
    match kernel {
        // That the image cannot be built is no reason to skip.
        Ok((kernel, cache)) => {
            let image = build_image(&kernel, &cache).unwrap();
            Some([image.kernel, image.initramfs])
        }
        Err(error) => {
            skip_vms(error);
            None
        }
    }
}

fn with_vm(test: &str, role: &str) {
    let Some(guest) = guest() else { return };
    ends_well(test, role, &guest);
}

fn ends_well(test: &str, role: &str, args: &[PathBuf]) {
    let mut actor = Actor::start(role, args);
    let code = actor.wait();
    let said = actor.said();
    if code == Some(NOT_PERMITTED) {
        return skip_test(test, said);
    }
    said.lines().for_each(|line| println!("    {line}"));
    assert_eq!(code, Some(0));
}

/// Two daemons, and a QEMU that no process of the lab's owner has started.
fn nothing_remains(test: &str) {
    let Some(guest) = guest() else { return };
    let mut actor = Actor::start("stays", &guest);
    let mut line = String::new();
    BufReader::new(actor.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let Some(uuid) = line.trim().strip_prefix("ready ").map(str::to_owned) else {
        assert_eq!(actor.wait(), Some(NOT_PERMITTED), "{line}");
        return skip_test(test, line);
    };
    // Of the node where it is: there, too, are the daemon, sshd and the node's first process. Other labs have daemons as well.
    let is_its_qemu =
        |process: &Process| process.words.contains("qemu-system") && process.words.contains(&uuid);
    let qemus: Vec<Process> = processes().into_iter().filter(is_its_qemu).collect();
    let [qemu] = &qemus[..] else { panic!("{} QEMUs instead of one", qemus.len()) };
    let on_node = || processes().into_iter().filter(|process| process.pids == qemu.pids).collect::<Vec<_>>();
    let words: Vec<String> = on_node().into_iter().map(|process| process.words).collect();
    assert!(words.iter().any(|words| words.starts_with("/usr/sbin/libvirtd ")), "{words:?}");
    actor.child.kill().unwrap();
    actor.wait();
    let deadline = Deadline::after(GONE_LIMIT);
    while !on_node().is_empty() {
        assert!(!deadline.passed(), "still there: {words:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process of this machine's.
struct Process {
    /// Its pid namespace.
    pids: String,
    words: String,
}

fn processes() -> Vec<Process> {
    let read = |entry: fs::DirEntry| {
        let words = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).replace('\0', " ");
        let pids = fs::read_link(entry.path().join("ns/pid")).ok()?.display().to_string();
        Some(Process { pids, words })
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(read).collect()
}

/// This program in a role; killed when dropped.
struct Actor {
    child: Child,
}

impl Actor {
    fn start(role: &str, args: &[PathBuf]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([ROLE, role]).args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        Self { child: command.spawn().unwrap() }
    }

    fn said(&mut self) -> String {
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }

    fn wait(&mut self) -> Option<i32> {
        let deadline = Deadline::after(LIMIT);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(!deadline.passed(), "it has not ended in {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
