//! How long what was started on hosts lives, seen from outside, and what a host that is gone costs its user.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_ssh_nodes::Client;
use dunlin_testbed::{Host, Inside, Launch, Network, Process, SshTestbed, Testbed, TestbedError};
use dunlin_wire::CaptureSpec;

use super::wills::{ran, will, wills};
use super::{GONE_LIMIT, LIMIT, World, inventory, launch, program, said, timed};
use crate::conversing::{ends, start};
use dunlin_test_support::ROLE;

use crate::roles::say;

/// How long a host that is gone may hold anybody up.
const HELD_UP_S: f64 = 25.0;
pub(super) const BOTH: [&str; 2] = ["host-a", "host-b"];
/// How a program ended of which nobody heard any more.
const UNSEEN: &str = "how is not known: the connection to its host was lost";

/// The ends of the bench and of helpers.
pub(crate) fn life(inside: &Inside) {
    let world = World::up(inside, Vec::new());
    killed_owner(&world);
    killed_helper(&world);
    ended_host(&world);
    wills(&world);
}

/// Owns a testbed until it is killed; a lab's owner runs it, so that the lab lives on.
pub(crate) fn own() -> ExitCode {
    let args: Vec<PathBuf> = std::env::args_os().skip(3).map(PathBuf::from).collect();
    let testbed = SshTestbed::connect(&inventory(&args[0]), program(&args[1])).unwrap();
    let hosts = testbed.hosts();
    let _launched: Vec<_> = hosts.iter().map(|host| busy(&**host)).collect();
    let _spoken_with: Vec<_> = hosts.iter().map(|host| spoken_with(&**host)).collect();
    let helpers: Vec<_> = hosts.iter().map(|host| host.helper().unwrap()).collect();
    let capture = |(host, helper): (&Arc<dyn Host>, _)| {
        let helper: &dunlin_testbed::Helper = helper;
        let file = host.outbox(Path::new("/tmp")).unwrap().join("capture");
        helper.capture(&capture_spec(), &file).unwrap()
    };
    let _captures: Vec<_> = hosts.iter().zip(&helpers).map(capture).collect();
    let _wills: Vec<_> = hosts.iter().map(|host| will(&**host, "killed")).collect();
    say("ready");
    std::thread::sleep(Duration::from_secs(600));
    ExitCode::SUCCESS
}

fn capture_spec() -> CaptureSpec {
    CaptureSpec {
        interface: "migration".into(),
        description: "migration".into(),
        filter: "tcp".parse().unwrap(),
        snap_bytes: 128,
    }
}

/// Launches what never ends by itself, with a child in its group, and makes a tap.
fn busy(host: &dyn Host) -> Process {
    host.taps().unwrap().add_tap("dt0").unwrap();
    host.launch(launch("sh", &["-c", "sleep 1000 & exec sleep 1000"])).unwrap()
}

/// Starts what is spoken with and never ends by itself, with a child in its group.
fn spoken_with(host: &dyn Host) -> (Process, UnixStream) {
    start(host, "sh", &["-c", "sleep 1000 & exec sleep 1000"])
}

fn killed_owner(world: &World) {
    let own = world.nodes.folder().join("owners");
    std::fs::write(&own, world.program.bytes).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([ROLE, "ssh-testbed-owner"]).arg(world.nodes.config(Client::Right)).arg(&own);
    let mut owner = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(owner.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    for host in BOTH {
        let traces = world.traces(host);
        let has = |word: &str| traces.iter().any(|trace| trace.contains(word));
        assert!(has("/tmp/dunlin-") && has("dt0") && has("sleep") && has("measure"), "{traces:?}");
    }
    assert_eq!(super::masters().iter().filter(|words| words.contains(" -M ")).count(), 2);
    owner.kill().unwrap();
    owner.wait().unwrap();
    println!("all is gone {:.2} s after the kill of the owner", world.all_gone(&BOTH));
    for host in BOTH {
        assert_eq!(ran(world, host, "killed"), 1, "{host}");
    }
}

fn killed_helper(world: &World) {
    let testbed = world.connect();
    let first = testbed.hosts().remove(0);
    let host = &*first;
    let mut process = busy(host);
    let (mut spoken, mut stream) = spoken_with(host);
    kill_helper(world, "KILL");
    ends(&mut stream);
    let began = Deadline::after(GONE_LIMIT);
    while !matches!(process.try_wait(), Err(_) | Ok(Some(_))) {
        assert!(!began.passed());
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("a process of a killed helper: {:?}", process.try_wait());
    // The first that is asked may find it out.
    if let Err(error) = host.run(Path::new("true"), &[], LIMIT) {
        println!("once: {error}");
    }
    assert_eq!(said(host, "ls -d /tmp/dunlin-* | wc -l"), "1", "the other's is taken away");
    assert_eq!(said(host, "ip -o link | grep -c dt0; true"), "0", "and so is its tap");
    assert_eq!(
        said(host, "grep -cE '^sleep' /proc/[0-9]*/comm | grep -c :1; true"),
        "0",
        "and what it launched"
    );
    // Whoever is there now has been asked.
    assert_eq!(process.try_wait().unwrap().as_deref(), Some(UNSEEN));
    assert_eq!(spoken.try_wait().unwrap().as_deref(), Some(UNSEEN));

    // One that hangs holds nobody up for long, and another takes its place.
    let process = busy(host);
    kill_helper(world, "STOP");
    let (error, took_s) = timed(|| host.run(Path::new("true"), &[], LIMIT).unwrap_err());
    println!("a helper that hangs: {error} ({took_s:.1} s)");
    assert!(took_s < HELD_UP_S, "{took_s}");
    let ((), took_s) = timed(|| drop(process));
    assert!(took_s < HELD_UP_S, "{took_s}");
    let (word, took_s) = timed(|| said(host, "echo well"));
    println!("another takes its place in {took_s:.1} s");
    assert_eq!(word, "well");
    kill_helper(world, "KILL");
    drop((first, testbed));
    drop(world.connect());
    world.all_gone(&BOTH);
}

/// Sends a signal to the helpers that have folders.
pub(super) fn kill_helper(world: &World, signal: &str) {
    let script = "for p in /proc/[0-9]*; do case \"$(tr '\\0' ' ' <$p/cmdline 2>/dev/null)\" in \
        /tmp/dunlin-*/dunlin-helper\\ host*) kill -SIGNAL ${p#/proc/};; esac; done";
    world.sh("host-a", &script.replace("SIGNAL", signal));
}

/// All that ran on a host has ended, or its power was off: the same testbed goes on.
fn ended_host(world: &World) {
    let testbed = world.connect();
    let first = testbed.hosts().remove(0);
    let host = &*first;
    let mut process = busy(host);
    world.nodes.end_all("host-a").unwrap();
    world.nodes.start("host-a").unwrap();
    let ((), took_s) = timed(|| usable_again(host));
    println!("after all on it was ended it can be used in {took_s:.1} s");
    assert_eq!(process.try_wait().unwrap().as_deref(), Some(UNSEEN), "who is there now was asked");
    assert_eq!(world.traces("host-a").iter().filter(|trace| trace.contains("sleep")).count(), 0);

    let mut process = busy(host);
    world.nodes.power_off("host-a").unwrap();
    world.nodes.power_on("host-a").unwrap();
    // What the kernel of a machine without power would have forgotten.
    world.sh("host-a", "ip link del dt0");
    let ((), took_s) = timed(|| usable_again(host));
    println!("after its power was cut it can be used in {took_s:.1} s");
    assert_eq!(
        process.try_wait().unwrap().as_deref(),
        Some(UNSEEN),
        "a machine that was off runs none of it"
    );
    let mut new = busy(host);
    assert_eq!(new.try_wait().unwrap(), None);
    drop((new, process));
    drop((first, testbed));
    println!("all is gone in {:.2} s", world.all_gone(&BOTH));
}

pub(super) fn usable_again(host: &dyn Host) {
    let deadline = Deadline::after(LIMIT);
    while let Err(error) = host.run(Path::new("true"), &[], LIMIT) {
        println!("    not yet: {error}");
        // What was in vain a moment ago is not tried again at once.
        std::thread::sleep(Duration::from_millis(300));
        assert!(!deadline.passed());
    }
}

/// Cuts that heal, and such that do not.
pub(crate) fn cuts(inside: &Inside) {
    let world = World::up(inside, Vec::new());
    let testbed = world.connect();
    let hosts = testbed.hosts();
    let host = &*hosts[0];
    heals(&world, host);
    holds_nobody_up(&world, host, &*hosts[1]);
    drop(hosts);
    drop(testbed);
    world.all_gone(&BOTH);
}

fn heals(world: &World, host: &dyn Host) {
    let mut process = host.launch(launch("cat", &["/dev/zero"])).unwrap();
    let script =
        "import socket,sys;s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);s.listen();c=s.accept()[0]
while True: c.sendall(c.recv(9) or sys.exit())";
    let socket = host.scratch().join("echo");
    let listener = host.launch(launch("python3", &["-c", script, socket.to_str().unwrap()])).unwrap();
    let mut stream = host.dial(&socket, LIMIT).unwrap();
    let (spoken, mut to_spoken) = start(host, "cat", &[]);
    let helpers = || world.sh("host-a", "pgrep -f dunlin-helpe[r]");
    let before = helpers();
    world.nodes.cut("host-a", Network::Service).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    world.nodes.join("host-a", Network::Service).unwrap();
    let (word, took_s) = timed(|| said(host, "echo still there"));
    println!("a cut of 3 s heals in {took_s:.1} s more");
    assert_eq!(word, "still there");
    echo(&mut stream);
    echo(&mut to_spoken);
    assert_eq!(process.try_wait().unwrap(), None);
    assert_eq!(helpers(), before, "nothing was started again");
    drop((process, listener, spoken));
}

fn echo(stream: &mut std::os::unix::net::UnixStream) {
    use std::io::{Read, Write};
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"dunlin").unwrap();
    let mut back = [0; 6];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"dunlin");
}

type Method<'a> = (&'a str, Box<dyn Fn() -> Result<(), TestbedError> + Send + Sync + 'a>);

/// All that a host can be asked.
fn methods<'a>(host: &'a dyn Host, local: &'a Path) -> Vec<Method<'a>> {
    let big = local.join("big");
    let file = local.join("file");
    let there = Path::new("/tmp/there");
    vec![
        ("outbox", Box::new(|| host.outbox(local).map(drop))),
        ("collect", Box::new(|| host.collect(local))),
        ("place", Box::new(move || host.place(&file).map(drop))),
        ("run", Box::new(|| host.run(Path::new("true"), &[], Duration::from_secs(60)).map(drop))),
        ("at_end", Box::new(|| host.at_end(Path::new("true"), &[]).map(drop))),
        ("launch", Box::new(|| host.launch(launch("true", &[])).map(drop))),
        (
            "converse",
            Box::new(|| host.converse(Path::new("true"), &[], Path::new("/tmp/complained")).map(drop)),
        ),
        ("dial", Box::new(|| host.dial(Path::new("/tmp/nobody"), Duration::from_secs(60)).map(drop))),
        ("copy_to", Box::new(move || host.copy_to(&big, there))),
        ("copy_from", Box::new(move || host.copy_from(there, &local.join("back")))),
        ("read", Box::new(move || host.read(there).map(drop))),
        ("write_private", Box::new(|| host.write_private(Path::new("/tmp/private/it"), b"it"))),
        ("remove", Box::new(move || host.remove(there))),
        ("helper", Box::new(|| host.helper().map(drop))),
        ("add_tap", Box::new(|| host.taps().unwrap().add_tap("dt9"))),
        ("remove_tap", Box::new(|| host.taps().unwrap().remove_tap("dt9"))),
        ("resident_bytes", Box::new(|| host.resident_bytes(1, 1).map(drop))),
    ]
}

fn holds_nobody_up(world: &World, host: &dyn Host, other: &dyn Host) {
    let local = tempfile::tempdir().unwrap();
    std::fs::write(local.path().join("big"), vec![7; 20 << 20]).unwrap();
    std::fs::write(local.path().join("file"), "file").unwrap();
    let mut process = busy(host);
    let (mut spoken, mut stream) = spoken_with(host);
    let helper = host.helper().unwrap();
    let its_will = will(host, "cut");
    world.nodes.cut("host-a", Network::Service).unwrap();
    std::thread::scope(|scope| {
        let gone = scope.spawn(|| world.all_gone(&["host-a"]));
        scope.spawn(|| busy_is_not_lost(world, other));
        // All at once: at first nobody knows that it is gone; then all do.
        for round in ["just cut off", "gone"] {
            std::thread::scope(|scope| {
                for (name, method) in methods(host, local.path()) {
                    scope.spawn(move || {
                        let (done, took_s) = timed(&*method);
                        let error = done.map_or_else(|error| error.to_string(), |()| "done".into());
                        println!("    {round}: {name}: {took_s:.1} s: {error}");
                        assert!(error != "done" && took_s < HELD_UP_S, "{name}: {took_s}: {error}");
                    });
                }
                scope.spawn(|| {
                    let (_, took_s) = timed(|| (host.scratch(), host.clock(), host.fingerprint()));
                    assert!(took_s < HELD_UP_S, "{took_s}");
                });
            });
        }
        println!("all is gone {:.1} s after the cut", gone.join().unwrap());
        assert_eq!(ran(world, "host-a", "cut"), 1);
    });
    ends(&mut stream);
    for process in [&mut process, &mut spoken] {
        let told = process.try_wait();
        assert!(told.is_err(), "{told:?}");
    }
    let ((), took_s) = timed(|| drop((process, spoken, helper, its_will)));
    println!("to drop what was there takes {took_s:.1} s");
    world.nodes.join("host-a", Network::Service).unwrap();
    let ((), took_s) = timed(|| usable_again(host));
    println!("joined again it can be used in {took_s:.1} s");
    for (name, method) in methods(host, local.path()).into_iter().filter(|(name, _)| *name != "dial") {
        if let Err(error) = method() {
            assert!(matches!(name, "read"), "{name}: {error:?}");
        }
    }
}

/// A helper that cannot go on for longer than it may be silent: it still hears, and is heard of.
fn busy_is_not_lost(world: &World, host: &dyn Host) {
    let mut before = busy(host);
    world.sh("host-b", "mkfifo /tmp/stuck");
    std::thread::scope(|scope| {
        let stuck = Launch { stdout: "/tmp/stuck".into(), ..launch("echo", &["let go"]) };
        let launching = scope.spawn(|| host.launch(stuck));
        std::thread::sleep(Duration::from_secs_f64(9.5));
        assert_eq!(world.sh("host-b", "cat /tmp/stuck"), "let go");
        let mut launched = launching.join().unwrap().unwrap();
        let end = launched.wait(Deadline::after(LIMIT)).unwrap();
        assert_eq!(end.as_deref(), Some("exit status 0"));
    });
    assert_eq!(before.try_wait().unwrap(), None, "it was not ended meanwhile");
    host.taps().unwrap().remove_tap("dt0").unwrap();
}
