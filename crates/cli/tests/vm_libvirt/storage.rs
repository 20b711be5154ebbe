//! Disks of our own guests, moved by libvirt: along with the memory, all of them or what lies over an image that both hosts have,
//! and before it, by copies that the guest goes on with.

use serde_json::Value;

use super::bench::{Bench, Ended, HEAD};
use super::ground::{Ground, HOSTS};
use super::ours::{number, report};

/// What the guest's disks hold from the begin, besides its file system.
const USED_MIB: f64 = 40.0;
const MIB: f64 = 1_048_576.0;

const CASES: &str = r#"
[[case]]
name = "all"
vm.disk = { size_mib = 128, format = "qcow2", used_mib = 40 }
[[case]]
name = "overlay"
vm.disk = { size_mib = 128, format = "qcow2", used_mib = 40, backing = true }
storage.blocks = "overlay"
[[case]]
name = "two-steps"
vm.disk = { size_mib = 128, format = "qcow2", used_mib = 40, backing = true }
vm.swap_mib = 64
storage = { two_steps = true, rate_mib_s = 30 }
[[case]]
name = "server-killed"
vm.disk = { size_mib = 128, used_mib = 40 }
storage = { two_steps = true, rate_mib_s = 8, fault = { kind = "kill", after_s = 1, for_s = 3 } }
[[case]]
name = "in-step"
vm.disk = { size_mib = 128 }
storage.writes = "in-step"
"#;

pub(crate) fn play(ground: &Ground<'_>) {
    let small = HEAD.replace("memory_mib = 256", "memory_mib = 128");
    let head = small.replace("[vm]", "[vm]\nshared_storage = false").replace(
        "[probes]",
        "[workload]\nkind = \"disk-write\"\nfile_mib = 8\nrate_mib_s = 2\ndirect = true\n[probes]",
    );
    let ended = Bench::start(ground, &format!("{head}{CASES}"), &[]).finish();
    println!("{}", ended.said);
    let outcomes = ended.outcomes();
    assert_eq!((ended.code, outcomes.len()), (Some(5), 4), "one of them fails, and one is refused");
    for outcome in &outcomes {
        let name = outcome["case"]["name"].as_str().unwrap();
        let expected = if name == "server-killed" { "failed" } else { "completed" };
        assert_eq!(outcome["status"], expected, "{name}: {outcome:#}");
        assert_eq!(number(outcome, "/workload/achieved/corrupt_disk_pages"), 0.0, "{name}: {outcome:#}");
    }
    let disks_mib = [0, 1].map(|index| moved_along(&ended, &outcomes[index]));
    assert!(disks_mib[0] > USED_MIB, "all of it travelled: {disks_mib:?}");
    assert!(disks_mib[1] < USED_MIB, "what lies below stayed: {disks_mib:?}");
    in_two_steps(&ended, &outcomes[2]);
    stayed(&ended, &outcomes[3]);
    assert!(ended.said.contains("in-step"), "{}", ended.said);
    assert_eq!(ground.gone(), [""; 0]);
    for host in HOSTS {
        assert_eq!(ground.said(host, &["list", "--all", "--name"]), "");
    }
}

/// How much of its disks travelled with a guest, in MiB, as the wire tells.
fn moved_along(ended: &Ended, outcome: &Value) -> f64 {
    let raw = report(ended, outcome["id"].as_str().unwrap());
    let wire = number(outcome, "/wire_bytes/source_tx");
    let memory = raw["memory_processed"].as_f64().unwrap();
    let disks_mib = (wire - memory) / MIB;
    println!("{}: {disks_mib:.1} MiB beside {:.1} of memory, {raw}", outcome["id"], memory / MIB);
    disks_mib
}

fn in_two_steps(ended: &Ended, outcome: &Value) {
    let steps = &outcome["storage_steps"];
    println!("two-steps: {steps}, {}", outcome["mechanisms"]);
    assert!(number(steps, "/disks/wire_bytes") > USED_MIB * MIB, "{outcome:#}");
    // At the rate that was asked for.
    assert!(number(steps, "/disks/time_ms") > 1000.0, "{outcome:#}");
    let memory = report(ended, outcome["id"].as_str().unwrap())["memory_processed"].as_f64().unwrap();
    let beside_mib = (number(steps, "/memory/wire_bytes") - memory) / MIB;
    assert!((0.0..USED_MIB).contains(&beside_mib), "the disks travelled before: {outcome:#}");
    let rate = outcome["mechanisms"].as_array().unwrap().iter().find(|one| one["mechanism"] == "disks-rate");
    assert_eq!(rate.unwrap()["used"], true, "{outcome:#}");
    let events = ended.events(outcome["id"].as_str().unwrap());
    let at = |name: &str| {
        let found = events.iter().find(|event| event["event"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {events:#?}"))["t_ns"].as_i64().unwrap()
    };
    assert!(at("storage-mirror-started") < at("storage-moved"));
    let began = events.iter().find(|event| event["event"] == "migration-pass").unwrap();
    assert!(at("storage-moved") < began["t_ns"].as_i64().unwrap());
}

/// Without the server of its new disk the guest goes on with its own, where it was.
fn stayed(ended: &Ended, outcome: &Value) {
    let id = outcome["id"].as_str().unwrap();
    let error = outcome["error"].as_str().unwrap();
    assert!(error.contains("could not copy dunlin-disk"), "{error}");
    assert_eq!(ended.place(id).as_deref(), Some("source"));
    let events = ended.events(id);
    assert!(!events.iter().any(|event| event["event"] == "migration-pass"), "{events:#?}");
}
