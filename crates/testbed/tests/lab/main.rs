//! Real labs, made, used, left and killed. Each test runs this program again in a role (see `roles`).
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, with a harness of its own")]

mod carrying;
mod clocks;
mod conversing;
mod impostor;
mod roles;
mod ssh_nodes;
mod ssh_testbed;
mod storage;
mod traces;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_test_support::{NOT_PERMITTED, ROLE, run_tests, skip_test};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use traces::Traces;

const LIMIT: Duration = Duration::from_secs(90);
/// In which all of a killed lab must be gone.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// A test's name, and what it does under that name.
type Test = (&'static str, fn(&str));

const TESTS: [Test; 45] = [
    ("hosts_reach_each_other_over_both_networks", |name| ends_well(name, "reach")),
    ("a_rate_limits_its_own_network_and_no_other", |name| ends_well(name, "rate")),
    ("a_delay_delays_its_own_network_and_no_other", |name| ends_well(name, "delay")),
    ("a_tap_comes_and_goes_and_its_name_is_checked", |name| ends_well(name, "tap")),
    ("an_outage_can_be_injected_between_bench_and_service_network", |name| ends_well(name, "inject")),
    ("labs_follow_one_another_in_one_process", |name| ends_well(name, "again")),
    ("three_nodes_are_worlds_of_their_own", |name| ends_well(name, "nodes")),
    ("what_is_a_nodes_own_is_reached_through_its_host", |name| ends_well(name, "node-files")),
    ("programs_on_a_host_are_spoken_with", |name| ends_well(name, "conversing")),
    ("a_node_can_have_a_clock_of_its_own", |name| ends_well(name, "clocks")),
    ("files_are_carried_by_every_way", |name| ends_well(name, "carry-ways")),
    ("a_file_that_is_not_carried_leaves_nothing_and_says_why", |name| ends_well(name, "carry-faults")),
    ("a_stream_carries_a_file_about_as_fast_as_scp", |name| ends_well(name, "carry-compared")),
    ("nodes_are_hosts_behind_ssh", |name| ends_well(name, "ssh-reach")),
    ("ssh_says_why_a_node_cannot_be_reached", |name| ends_well(name, "ssh-refusals")),
    ("a_node_can_be_cut_off_and_its_power_taken", |name| ends_well(name, "ssh-cuts")),
    ("a_node_behind_ssh_can_have_a_clock_of_its_own", |name| ends_well(name, "ssh-clocks")),
    ("hosts_behind_ssh_do_all_that_hosts_do", |name| ends_well(name, "ssh-testbed-works")),
    ("names_reach_hosts_behind_ssh_as_they_are", |name| ends_well(name, "ssh-testbed-names")),
    ("hosts_that_cannot_be_used_are_refused_with_what_mends_it", |name| {
        ends_well(name, "ssh-testbed-refusals");
    }),
    ("nothing_outlives_the_bench_on_hosts_behind_ssh", |name| ends_well(name, "ssh-testbed-life")),
    ("a_host_behind_ssh_that_is_cut_off_holds_nobody_up", |name| ends_well(name, "ssh-testbed-cuts")),
    ("storage_has_a_network_and_a_host_of_its_own", |name| ends_well(name, "storage-network")),
    ("nfs_serves_what_another_host_wrote", |name| ends_well(name, "storage-serves-nfs")),
    ("iscsi_serves_what_another_host_wrote", |name| ends_well(name, "storage-serves-iscsi")),
    ("nbd_serves_what_another_host_wrote", |name| ends_well(name, "storage-serves-nbd")),
    ("an_outage_of_nfs_loses_nothing", |name| storage::an_outage(name, "nfs")),
    ("an_outage_of_iscsi_loses_nothing", |name| storage::an_outage(name, "iscsi")),
    ("an_outage_of_nbd_loses_nothing", |name| storage::an_outage(name, "nbd")),
    ("a_destination_serves_its_own_storage", |name| ends_well(name, "storage-destination")),
    ("what_no_server_of_storage_can_do_is_refused", |name| ends_well(name, "storage-refusals")),
    ("a_lease_is_one_holders", |name| ends_well(name, "storage-leases")),
    ("nothing_remains_of_images_when_a_lab_is_killed", storage::nothing_remains),
    ("the_exit_code_comes_out", the_exit_code_comes_out),
    ("a_signal_is_passed_on_and_a_deaf_lab_is_killed_at_its_limit", signals),
    ("a_shell_joins_a_host_and_ends_with_the_lab", a_shell_joins_a_host_and_ends_with_the_lab),
    (
        "what_only_calls_itself_a_lab_is_neither_listed_nor_joined",
        what_only_calls_itself_a_lab_is_neither_listed_nor_joined,
    ),
    ("a_lab_is_not_joined_by_another_program", a_lab_is_not_joined_by_another_program),
    ("nothing_remains_when_the_outer_process_is_killed", |name| nothing_remains(name, "stay", Victim::Outer)),
    ("nothing_remains_when_the_inner_process_is_killed", |name| nothing_remains(name, "stay", Victim::Inner)),
    ("nothing_remains_of_nodes_when_the_outer_process_is_killed", |name| {
        nothing_remains(name, "stay-nodes", Victim::Outer);
    }),
    ("nothing_remains_of_nodes_behind_ssh_when_the_outer_process_is_killed", |name| {
        nothing_remains(name, "ssh-stay", Victim::Outer);
    }),
    ("nothing_remains_when_killed_while_it_comes_up", nothing_remains_when_killed_while_it_comes_up),
    ("what_is_said_to_be_there_is_there", what_is_said_to_be_there_is_there),
    ("an_ordinary_user_has_a_lab_too", an_ordinary_user_has_a_lab_too),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "helper") {
        return ExitCode::from(dunlin_testbed::serve_helper() as u8);
    }
    if args.first().is_some_and(|first| first == dunlin_testbed::NODE_ROLE) {
        return ExitCode::from(dunlin_testbed::serve_node() as u8);
    }
    // Copied to a host behind ssh.
    if let [mode] = &args[..]
        && std::env::current_exe().is_ok_and(|own| own.ends_with(ssh_testbed::HELPER))
    {
        return ExitCode::from(dunlin_testbed::serve_remote_helper(mode) as u8);
    }
    if let [first, role, ..] = &args[..]
        && first == ROLE
    {
        return roles::play(role);
    }
    run_tests(&args, &TESTS, |name, test| test(name))
}

fn ends_well(test: &str, role: &str) {
    let Some(code) = Actor::start(role).end(test) else { return };
    assert_eq!(code, 0);
}

fn the_exit_code_comes_out(test: &str) {
    let Some(code) = Actor::start("exit-7").end(test) else { return };
    assert_eq!(code, 7);
}

fn signals(test: &str) {
    let mut listening = Actor::start("listen");
    if listening.ready(test).is_none() {
        return;
    }
    listening.signal(Signal::SIGTERM);
    assert_eq!(listening.end(test), Some(42), "the code with which it ends on a signal");

    let mut deaf = Actor::start("deaf");
    deaf.ready(test).unwrap();
    deaf.signal(Signal::SIGTERM);
    assert_eq!(deaf.end(test), Some(128 + 9));
}

fn a_shell_joins_a_host_and_ends_with_the_lab(test: &str) {
    let mut lab = Actor::start("stay");
    if lab.ready(test).is_none() {
        return;
    }
    let name = lab.name();
    let mut shell = Actor::start_with("shell", &[&name, "host-b", "cat", "/proc/net/dev"]);
    let mut devices = String::new();
    shell.child.stdout.take().unwrap().read_to_string(&mut devices).unwrap();
    assert!(devices.contains("uplink:") && devices.contains("migration:"), "{devices}");
    assert_eq!(shell.end(test), Some(0));

    let mut wrong = Actor::start_with("shell", &[&name, "host-z", "true"]);
    let mut said = String::new();
    wrong.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("bench, host-a, host-b, switch"), "{said}");

    let mut long = Actor::start_with("shell", &[&name, "host-a", "sh", "-c", "echo ready; exec sleep 600"]);
    long.ready(test).unwrap();
    lab.signal(Signal::SIGKILL);
    assert_eq!(long.end(test), Some(128 + 9));
}

/// Each in a pid namespace of its own but one: another program of this user's; another user's process of this program;
/// this program's process that is not the first one of a namespace.
fn what_only_calls_itself_a_lab_is_neither_listed_nor_joined(test: &str) {
    let mut lab = Actor::start("stay");
    if lab.ready(test).is_none() {
        return;
    }
    let impostors = [
        ("other-program", "is not this program"),
        ("other-user", "no lab of this name of yours"),
        ("not-first", "is not the first one of a lab"),
    ];
    for (kind, why) in impostors {
        let name = format!("{kind}-{}", std::process::id());
        let mut impostor = Actor::start_with("impostor", &[kind, &name]);
        if impostor.ready(test).is_none() {
            continue;
        }
        let (code, said) = Actor::start_with("shell", &[&name, "host-a", "true"]).said();
        assert_eq!(code, Some(1), "{kind}: {said}");
        assert!(said.contains(why), "{kind}: {said}");
        let (_, listed) = Actor::start("labs").said();
        let names: Vec<&str> = listed.lines().filter_map(|line| line.strip_prefix("lab ")).collect();
        assert!(names.contains(&lab.name().as_str()) && !names.contains(&name.as_str()), "{listed}");
        assert_eq!(
            listed.contains(&name),
            kind != "other-user",
            "what is not this user's is not told: {listed}"
        );
    }
}

fn a_lab_is_not_joined_by_another_program(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("before");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(&copy);
    let child = command.args([ROLE, "stay"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lab = Actor { child };
    if lab.ready(test).is_none() {
        return;
    }
    // As when dunlin is installed anew while a lab is up.
    std::fs::remove_file(&copy).unwrap();
    let (code, said) = Actor::start_with("shell", &[&lab.name(), "host-a", "true"]).said();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("before (deleted), which is not this program"), "{said}");
}

#[derive(Clone, Copy)]
enum Victim {
    Outer,
    Inner,
}

fn nothing_remains(test: &str, role: &str, victim: Victim) {
    let mut lab = Actor::start(role);
    let Some(facts) = lab.ready(test) else { return };
    let before = Traces::new(&facts);
    let found = before.find();
    println!("    while it lives: {found:?}");
    // The outer and the inner process, a program on a host and its orphan; and the namespaces: pid, mnt, bench, switch, two hosts.
    assert!(found.processes.len() >= 4, "{found:?}");
    assert!(found.namespaces.len() >= 6, "{found:?}");
    assert_eq!(found.namespaces.len(), before.told(), "{found:?}");
    assert!(found.mounts > 0, "{found:?}");

    match victim {
        Victim::Outer => lab.signal(Signal::SIGKILL),
        Victim::Inner => kill(found.inner(&lab.name()).unwrap(), Signal::SIGKILL).unwrap(),
    }
    lab.end(test);
    let deadline = Deadline::after(GONE_LIMIT);
    while !before.find().is_empty() {
        assert!(!deadline.passed(), "still there: {:?}", before.find());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn nothing_remains_when_killed_while_it_comes_up(_: &str) {
    for delay_ms in [0, 1, 2, 3, 5, 8, 12, 20, 30, 50, 80] {
        // The inner process has the same arguments, even before it has a name of its own.
        let token = format!("killed-{}-{delay_ms}", std::process::id());
        let lab = Actor::start_with("stay", &[&token]);
        std::thread::sleep(Duration::from_millis(delay_ms));
        // Dropping it kills the outer process.
        drop(lab);
        let deadline = Deadline::after(GONE_LIMIT);
        while traces::runs(&token) {
            assert!(!deadline.passed(), "killed after {delay_ms} ms: the inner process is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn what_is_said_to_be_there_is_there(test: &str) {
    let said = Actor::start("doctor").end(test);
    let done = Actor::start("reach").end(test);
    assert_eq!(said, done);
}

fn an_ordinary_user_has_a_lab_too(test: &str) {
    if !nix::unistd::geteuid().is_root() {
        return skip_test(test, "all the other tests show it: this is one");
    }
    // The machine's own /dev/net/tun may be closed to ordinary users; this one is seen by nobody else.
    let script = "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && \
        exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \"$0\" \"$@\"";
    for role in ["reach", "node-files", "clocks", "storage-network", "carry-ways"] {
        as_an_ordinary_user(test, role, script);
    }
}

fn as_an_ordinary_user(test: &str, role: &str, script: &str) {
    let actor = Actor::command(role, &[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(actor.get_program()).args(actor.get_args());
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    // 126 and 127: there is no such tool, or an ordinary user cannot run this program where it lies.
    match (Actor { child }).end(test) {
        Some(126 | 127) => skip_test(test, "an ordinary user cannot run this program"),
        code => assert!(matches!(code, Some(0) | None), "{code:?}"),
    }
}

/// This program in a role; killed when dropped.
struct Actor {
    child: Child,
}

impl Actor {
    fn start(role: &str) -> Self {
        Self::start_with(role, &[])
    }

    fn start_with(role: &str, args: &[&str]) -> Self {
        Self { child: Self::command(role, args).spawn().unwrap() }
    }

    fn command(role: &str, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(ROLE).arg(role).args(args).stdout(Stdio::piped());
        command
    }

    /// The name its lab has.
    fn name(&self) -> String {
        roles::lab_name(self.child.id())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for its first line; without one it may not make labs, and the test is skipped.
    fn ready(&mut self, test: &str) -> Option<String> {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line.starts_with("ready") {
            return Some(line);
        }
        skip_test(test, &line);
        assert_eq!(self.wait(), Some(NOT_PERMITTED), "{line}");
        None
    }

    /// Waits for its end and gives its code and what it said.
    fn said(mut self) -> (Option<i32>, String) {
        let code = self.wait();
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    }

    /// Waits for its end and gives its code; none where it may not make labs.
    fn end(mut self, test: &str) -> Option<i32> {
        let code = self.wait();
        let mut said = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut said).unwrap();
        }
        if code == Some(NOT_PERMITTED) {
            skip_test(test, &said);
            return None;
        }
        said.lines().for_each(|line| println!("    {line}"));
        code
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
