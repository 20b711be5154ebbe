//! What goes wrong while libvirt moves a domain, each at several moments: afterwards it runs once, is defined where it was,
//! nothing of ours is left, and what Dunlin said of it is true.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::bench::{Bench, Ended, HEAD};
use super::ground::{Ground, HOSTS, Vm, words};
use super::is_long;
use super::watch::until;

/// How long a moment may take to come.
const MOMENT_LIMIT: Duration = Duration::from_secs(40);
/// How long a daemon is away. The keepalive between daemons gives one up after some 26 s.
const AWAY: Duration = Duration::from_secs(6);
/// How long a host is cut off from the bench: longer than its helper waits for a word.
const CUT: Duration = Duration::from_secs(10);
/// How long libvirt may take to be done with what had begun, once all daemons are back.
const SETTLE_LIMIT: Duration = Duration::from_secs(40);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// Somebody cancels the job.
    Abort,
    KillDestinationsQemu,
    Interrupt,
    KillBench,
    KillSource,
    KillDestination,
    HangSource,
    HangDestination,
    CutSource,
    CutDestination,
}

/// When it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The command is given, and no page has gone.
    Prepare,
    /// In the middle of the first pass.
    Pass,
    /// The domain stands still at the source, or has just gone over.
    SwitchOver,
}

use Fault::*;
use Moment::*;

const MOMENTS: [Moment; 3] = [Prepare, Pass, SwitchOver];
const FAULTS: [Fault; 10] = [
    Abort,
    KillDestinationsQemu,
    Interrupt,
    KillBench,
    KillSource,
    KillDestination,
    HangSource,
    HangDestination,
    CutSource,
    CutDestination,
];
/// Those for which there is always time.
const SHORT: [(Fault, Moment); 2] = [(KillBench, Pass), (KillSource, Pass)];

pub(crate) fn play(ground: &Ground<'_>) {
    let vm = Vm::new("faulty", 1);
    ground.define("host-a", &vm);
    ground.run_at_source(&vm);
    let all = FAULTS.iter().flat_map(|fault| MOMENTS.map(|moment| (*fault, moment)));
    let cells: Vec<_> =
        if is_long() { [(Nothing, Pass)].into_iter().chain(all).collect() } else { SHORT.to_vec() };
    let only = std::env::var("DUNLIN_FAULT").unwrap_or_default();
    let mut wrong = Vec::new();
    for (fault, moment) in cells {
        let cell = format!("{fault:?} {moment:?}");
        if !cell.contains(&only) {
            continue;
        }
        let found = try_out(ground, &vm, fault, moment);
        println!("{cell:<32} {}", found.told);
        wrong.extend(found.wrong.into_iter().map(|wrong| format!("{cell}: {wrong}")));
        make_good(ground, &vm);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // It hangs on moments that a busy machine does not keep.
    if is_long() {
        two_copies(ground, &vm);
    }
}

/// What came of a fault.
struct Found {
    told: String,
    wrong: Vec<String>,
}

fn try_out(ground: &Ground<'_>, vm: &Vm, fault: Fault, moment: Moment) -> Found {
    let definition = ground.definition("host-a", vm);
    let scenario = format!("{HEAD}bandwidth_mib_s = 20\n[[case]]\nname = \"slow\"\n");
    let mut bench = Bench::of(ground, &scenario, vm);
    let came = until(MOMENT_LIMIT, || bench.has_ended() || has_come(ground, vm, moment));
    let mut wrong = Vec::new();
    if !came || bench.has_ended() {
        wrong.push(format!("its moment did not come: {}", bench.said()));
    }
    let has_bench = fault != KillBench;
    make(ground, vm, fault, &bench);
    let ended = bench.finish();
    // Whatever is under way goes on to its end: libvirt's job, where nobody is left to follow it.
    let is_settled = || ground.processes(vm).len() == 1 && running(ground, vm).len() == 1;
    let left = ground.gone();
    until(if fault == KillDestinationsQemu { AWAY } else { SETTLE_LIMIT }, is_settled);
    let (processes, states) = (ground.processes(vm), HOSTS.map(|host| ground.state(host, vm)));
    let runs = running(ground, vm);
    let place = ended.place("01-slow-1");
    if !left.is_empty() {
        wrong.push(format!("left: {left:?}"));
    }
    // Whoever kills the QEMU to which the domain has gone ends the domain.
    let is_killed =
        fault == KillDestinationsQemu && moment == SwitchOver && place.as_deref() == Some("nowhere");
    if processes.len() != 1 && !(is_killed && processes.is_empty()) {
        wrong.push(format!("processes on {processes:?}"));
    }
    wrong.extend(is_untrue(place.as_deref(), &ended, has_bench, &runs));
    if ground.definition("host-a", vm) != definition || ground.definition("host-b", vm).is_some() {
        wrong.push("its definition".into());
    }
    if !runs.is_empty() && !ground.answers() {
        wrong.push("it does not answer".into());
    }
    let status = ended.outcomes().first().map(|outcome| outcome["status"].to_string());
    let told = format!(
        "exit {:<9} {:<16} place {:<12} {:?} {}",
        ended.code.map_or("by signal".into(), |code| code.to_string()),
        status.unwrap_or_default(),
        place.as_deref().unwrap_or("-"),
        states.map(|state| state.unwrap_or_else(|| "-".into())),
        if wrong.is_empty() { "ok" } else { "WRONG" },
    );
    if !wrong.is_empty() {
        let error = ended.outcomes().first().map(|outcome| outcome["error"].to_string());
        wrong.push(format!(
            "{} {error:?} {:#?}",
            ended.said,
            ended.events("01-slow-1").iter().rev().take(25).map(ToString::to_string).collect::<Vec<_>>()
        ));
    }
    Found { told, wrong }
}

fn running(ground: &Ground<'_>, vm: &Vm) -> Vec<&'static str> {
    HOSTS.into_iter().filter(|host| ground.state(host, vm).as_deref() == Some("running")).collect()
}

/// What is not true of what was said, or not as it must be.
fn is_untrue(place: Option<&str>, ended: &Ended, has_bench: bool, runs: &[&str]) -> Option<String> {
    match place {
        _ if runs.len() > 1 => Some(format!("it runs on {runs:?}")),
        // Nobody knows, or it is known to stand still: then nothing more is promised than that it does not run twice.
        Some("unknown" | "nowhere") => {
            ended.said.contains("faulty").then_some(()).map_or(Some("its VM is not named".into()), |()| None)
        }
        _ if runs.len() != 1 => Some(format!("it runs on {runs:?}")),
        Some("source") if runs != ["host-a"] => {
            Some(format!("it is said to be at the source, and runs on {runs:?}"))
        }
        // It is brought back.
        Some("destination") if has_bench && runs != ["host-a"] && !ended.said.contains("host-b") => {
            Some(format!("it runs on {runs:?}, and nobody said so"))
        }
        None if has_bench && runs != ["host-a"] => {
            Some(format!("no place was told, and it runs on {runs:?}"))
        }
        _ => None,
    }
}

fn has_come(ground: &Ground<'_>, vm: &Vm, moment: Moment) -> bool {
    match moment {
        Prepare => is_commanded(&vm.uuid),
        Pass => sent(ground, vm).is_some_and(|bytes| bytes > 16 << 20),
        SwitchOver => is_commanded(&vm.uuid) && ground.state("host-a", vm).as_deref() != Some("running"),
    }
}

/// How much of its memory has gone, by libvirt's job that is under way.
fn sent(ground: &Ground<'_>, vm: &Vm) -> Option<u64> {
    let output = ground.libvirt.virsh("host-a", &["domjobinfo", &vm.uuid, "--rawstats"]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().find_map(|line| line.strip_prefix("memory_processed: "))?.parse().ok()
}

/// Whether `virsh migrate` runs for the domain.
fn is_commanded(uuid: &str) -> bool {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.any(|pid| {
        let words = words(pid);
        ["migrate", uuid].iter().all(|word| words.iter().any(|one| one == word))
    })
}

fn make(ground: &Ground<'_>, vm: &Vm, fault: Fault, bench: &Bench) {
    use dunlin_testbed::Network::Service;
    let (libvirt, nodes) = (ground.libvirt, ground.nodes);
    let side = |at_source: bool| if at_source { "host-a" } else { "host-b" };
    match fault {
        Nothing => {}
        // It may be too early or too late for it.
        Abort => drop(libvirt.virsh("host-a", &["domjobabort", &vm.uuid]).unwrap()),
        KillDestinationsQemu => {
            // None may be there yet.
            let find = || libvirt.qemus("host-b").unwrap().into_iter().find(|qemu| qemu.uuid == vm.uuid);
            until(Duration::from_secs(3), || find().is_some());
            if let Some(qemu) = find() {
                let _ = nodes.sh("host-b", &format!("kill -9 {}", qemu.pid));
            }
        }
        Interrupt => bench.signal(Signal::SIGINT),
        KillBench => bench.signal(Signal::SIGKILL),
        KillSource | KillDestination => {
            let host = side(fault == KillSource);
            libvirt.kill(host).unwrap();
            std::thread::sleep(AWAY);
            libvirt.start(host).unwrap();
        }
        HangSource | HangDestination => {
            let host = side(fault == HangSource);
            libvirt.hang(host).unwrap();
            std::thread::sleep(AWAY);
            libvirt.go_on(host).unwrap();
        }
        CutSource | CutDestination => {
            let host = side(fault == CutSource);
            nodes.cut(host, Service).unwrap();
            std::thread::sleep(CUT);
            nodes.join(host, Service).unwrap();
        }
    }
}

/// Makes all as it was, for the next fault.
fn make_good(ground: &Ground<'_>, vm: &Vm) {
    if running(ground, vm) != ["host-a"] || ground.processes(vm).len() != 1 || !ground.answers() {
        ground.run_at_source(vm);
    }
}

/// The source's daemon gives up a destination whose daemon hangs across the finish, and lets the domain go on; the destination's
/// finds the order to let it run later, and obeys (libvirt 9.0).
fn two_copies(ground: &Ground<'_>, vm: &Vm) {
    // By its default it would be some 26 s.
    let keepalive = "printf 'keepalive_interval = 2\\nkeepalive_count = 2\\n' >>/etc/libvirt/qemu.conf";
    ground.nodes.sh("host-a", keepalive).unwrap();
    ground.libvirt.restart("host-a").unwrap();
    let definition = ground.definition("host-a", vm);
    let scenario = format!("{HEAD}bandwidth_mib_s = 20\n[[case]]\nname = \"slow\"\n");
    let mut bench = Bench::of(ground, &scenario, vm);
    // Some 2 s before the end of the first pass.
    assert!(
        until(MOMENT_LIMIT, || bench.has_ended() || sent(ground, vm).is_some_and(|bytes| bytes > 32 << 20))
    );
    ground.libvirt.hang("host-b").unwrap();
    let is_back = || {
        ground.said("host-a", &["domstate", &vm.uuid, "--reason"]).contains("running (migration canceled)")
    };
    assert!(until(Duration::from_secs(30), is_back), "the source's daemon did not give up: {}", bench.said());
    ground.libvirt.go_on("host-b").unwrap();
    // Now both are let run, until Dunlin sees it.
    let ended = bench.finish();
    println!("{}", ended.said);
    let events = ended.events("01-slow-1");
    let warned =
        events.iter().any(|event| event["text"].as_str().is_some_and(|text| text.contains("two copies ran")));
    assert!(warned, "{events:#?}");
    assert_eq!((ended.code, ended.place("01-slow-1").as_deref()), (Some(5), Some("source")));
    assert_eq!(running(ground, vm), ["host-a"]);
    assert_eq!(
        ground.state("host-b", vm).as_deref(),
        Some("paused"),
        "the other one is kept, and stands still"
    );
    assert_eq!(ground.definition("host-a", vm), definition);
    assert_eq!(ground.gone(), [""; 0]);
    // The network has learnt from the other copy that the guest is there, and sends to it until it asks anew: it is not asked
    // here whether it answers.
}
