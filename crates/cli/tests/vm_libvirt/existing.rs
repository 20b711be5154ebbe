//! Domains that plain virsh made, moved there and back: they are as they were.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::bench::{Bench, Ended, HEAD};
use super::ground::{Ground, HOSTS, Vm};
use super::is_long;
use super::ours::{are_libvirts, number, report};
use super::watch::Seen;

const IDLE: &str = "[[case]]\nname = \"idle\"\n";

/// A name that libvirt takes, made of all that somebody could mistake for something else.
const HOSTILE: &str = "-x '\"$(touch pwned)`touch pwned`; ';<b>&amp;<b> 100% \\ ..";
/// A name that looks like a domain's number.
const NUMBER: &str = "3";

pub(crate) fn play(ground: &Ground<'_>) {
    let vm = Vm::new(HOSTILE, 1);
    ground.define("host-a", &vm);
    ground.run_at_source(&vm);
    there_and_back(ground, &vm);
    paused(ground, &vm);
    stays(ground, &vm);
    transient(ground);
}

fn scenario(more: &str) -> String {
    format!("{HEAD}{more}{IDLE}")
}

/// Its name harms nobody, and it is as it was.
fn there_and_back(ground: &Ground<'_>, vm: &Vm) {
    let (definition, live) = (ground.definition("host-a", vm), ground.live("host-a", vm));
    assert!(definition.is_some());
    let seen = Seen::default();
    let times = if is_long() { 5 } else { 2 };
    let scenario = scenario("").replace("count = 1", &format!("count = {times}"));
    let ended = seen.during(ground, vm, || Bench::of(ground, &scenario, vm).finish());
    let outcomes = ended.completed();
    assert_eq!(outcomes.len(), times);
    for (trial, outcome) in (1..).zip(&outcomes) {
        let trial = format!("01-idle-{trial}");
        assert!(number(outcome, "/downtime_ms/paused") > 0.0, "{outcome:#}");
        are_libvirts(outcome, &report(&ended, &trial), &trial);
        assert!(ended.place(&trial).as_deref() == Some("destination"));
    }
    seen.never_two();
    ground.is_home(vm, &definition);
    assert_eq!(ground.live("host-a", vm), live);
    is_harmless(ground, &ended);
    assert_eq!(ground.gone(), [""; 0]);
}

/// Left at the destination, and defined at both: libvirt can be asked at both for the same migration.
fn stays(ground: &Ground<'_>, vm: &Vm) {
    let definition = ground.definition("host-a", vm);
    let (name, address) = (format!("--vm={}", vm.name), super::ground::ADDRESS.to_string());
    let scenario = scenario("undefine_source = false\n");
    let ended = Bench::start(ground, &scenario, &[&name, "--vm-address", &address, "--stay"]).finish();
    let outcomes = ended.completed();
    let raw = report(&ended, "01-idle-1");
    let is_told = |host: &str, name: &str| {
        let args = ["domjobinfo", &vm.uuid, "--completed", "--keep-completed", "--rawstats"];
        let said = ground.said(host, &args);
        let told = said.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        assert_eq!(told, raw[name].as_i64().map(|value| value.to_string()).as_deref(), "{name}: {said}");
    };
    for name in ["time_elapsed", "downtime", "memory_processed", "data_processed", "setup_time"] {
        is_told("host-a", name);
    }
    // The destination leaves its job some ms earlier.
    for name in ["downtime", "memory_processed", "data_processed", "setup_time"] {
        is_told("host-b", name);
    }
    let reported = number(&outcomes[0], "/downtime_ms/reported");
    assert_eq!(Some(reported), raw["downtime"].as_f64());
    assert_eq!(ground.state("host-b", vm).as_deref(), Some("running"));
    assert_eq!(ground.state("host-a", vm).as_deref(), Some("shut off"));
    assert_eq!(ground.definition("host-a", vm), definition);
    assert_eq!(ground.definition("host-b", vm), definition);
    assert_eq!(ground.processes(vm), ["host-b"]);
    assert_eq!(ground.gone(), [""; 0]);
    ground.forget(vm);
}

/// One that is defined nowhere.
fn transient(ground: &Ground<'_>) {
    let vm = Vm::new(NUMBER, 2);
    let file = ground.write_shared("transient.xml", &ground.xml(&vm));
    ground.said("host-a", &["create", &file.display().to_string()]);
    ground.await_boot(&vm);
    let live = ground.live("host-a", &vm);
    Bench::of(ground, &scenario(""), &vm).finish().completed();
    ground.is_home(&vm, &None);
    assert_eq!(ground.live("host-a", &vm), live);
    ground.forget(&vm);
}

/// One that its owner has paused arrives so, and comes back so.
fn paused(ground: &Ground<'_>, vm: &Vm) {
    let definition = ground.definition("host-a", vm);
    ground.said("host-a", &["suspend", &vm.uuid]);
    let ended = Bench::of(ground, &scenario(""), vm).finish();
    ended.completed();
    let events = ended.events("01-idle-1");
    assert!(!events.iter().any(|event| event["event"] == "vcpus-running"), "{events:#?}");
    assert_eq!(ground.state("host-a", vm).as_deref(), Some("paused"));
    ground.said("host-a", &["resume", &vm.uuid]);
    ground.is_home(vm, &definition);
}

/// What is said has no controls but line ends, and nothing lies beside the run folder's own files.
fn is_harmless(ground: &Ground<'_>, ended: &Ended) {
    let find = "find / -xdev -name pwned 2>/dev/null; true";
    assert!(HOSTS.iter().all(|host| ground.nodes.sh(host, find).unwrap().is_empty()));
    assert!(!Path::new("pwned").exists());
    let is_odd = |character: char| character.is_control() && !matches!(character, '\n' | '\r' | '\t');
    assert!(!ended.said.contains(is_odd), "{:?}", ended.said);
    let mut names: Vec<String> = fs::read_dir(&ended.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["events", "logs", "report.html", "run.json", "series", "trials.jsonl"]);
    let _: Vec<Value> = ended.outcomes();
}
