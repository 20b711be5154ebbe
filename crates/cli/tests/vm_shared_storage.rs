//! VMs whose disks lie at a server, with real servers, QEMUs and guests: they are moved, and nothing is lost while the server or
//! the way to it is away.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use dunlin_test_support::skip;
use harness::{Finished, Run, number};
use serde_json::Value;

/// Cases of a server, a format and a fault, with a guest that writes to its disk all the while.
fn scenario(cases: &[(&str, &str, &str)], more: &str) -> String {
    let mut text = format!(
        r#"
[run]
shuffle = false
[vm]
memory_mib = 128
disk.size_mib = 64
[trials]
count = 1
limit_s = 60
baseline_s = 0.4
settle_s = 0.3
[workload]
kind = "disk-write"
file_mib = 8
rate_mib_s = 2
direct = true
{more}"#
    );
    for (number, (server, format, fault)) in cases.iter().enumerate() {
        let _ = writeln!(text, "[[case]]\nname = \"{number}-{server}-{format}\"");
        let _ = writeln!(text, "vm.disk.format = \"{format}\"\nstorage.server = \"{server}\"");
        if !fault.is_empty() {
            let _ = writeln!(text, "storage.fault = {fault}");
        }
    }
    text
}

/// Runs them; each must have been moved, with nothing lost and nothing to warn of.
fn moved(name: &str, cases: &[(&str, &str, &str)]) -> Finished {
    whole(Run::start(name, &scenario(cases, "")).finish(), cases.len())
}

fn whole(finished: Finished, trials: usize) -> Finished {
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), trials), "{}", finished.story());
    for outcome in &outcomes {
        is_whole(outcome);
        let events = finished.events(outcome["id"].as_str().unwrap());
        assert!(!events.iter().any(|event| event["event"] == "warning"), "{events:#?}");
    }
    finished
}

fn is_whole(outcome: &Value) {
    assert_eq!(outcome["status"], "completed", "{outcome:#}");
    assert_eq!(
        outcome.pointer("/workload/achieved/corrupt_disk_pages"),
        Some(&Value::from(0)),
        "{outcome:#}"
    );
    assert!(number(outcome, "/workload/achieved/rate_mib_s") > 0.1, "{outcome:#}");
    // What the guest writes goes to the server, and is none of the migration's bytes.
    assert!(number(outcome, "/storage_network_bytes/source_tx") > 0.0, "{outcome:#}");
    assert_eq!(outcome["storage_bytes"], Value::Null, "no disk was copied: {outcome:#}");
}

#[test]
fn vm_disks_at_a_server_are_there_on_both_hosts_and_their_bytes_are_counted_apart() {
    need_vms!();
    let cases = [("nfs", "raw", ""), ("iscsi", "qcow2", ""), ("nbd", "qcow2", ""), ("nbd", "raw", "")];
    // The last one's guest writes a tenth of what the others do.
    let text = scenario(&cases, "") + "workload.rate_mib_s = 0.2\n";
    let finished = whole(Run::start("test-served", &text).finish(), cases.len());
    let outcomes = finished.outcomes();
    for outcome in &outcomes {
        let disk = outcome.get("disk_after_mib").unwrap();
        assert_eq!(disk["virtual_size"], 64.0, "{outcome:#}");
        assert!(disk["allocated"].as_f64().unwrap() > 0.1, "{outcome:#}");
    }
    let stored = |outcome: &Value| number(outcome, "/storage_network_bytes/source_tx");
    let sent = |outcome: &Value| number(outcome, "/wire_bytes/source_tx");
    let per_s = |outcome: &Value| stored(outcome) / number(outcome, "/total_time_ms");
    let [.., busy, quiet] = &outcomes[..] else { panic!("{}", finished.story()) };
    assert!(per_s(busy) > 2.0 * per_s(quiet), "{busy:#} {quiet:#}");
    // The memory is the same, and its bytes hold nothing of the difference.
    for outcome in &outcomes {
        assert!(stored(outcome) < 0.5 * sent(outcome), "{outcome:#}");
        assert!((sent(outcome) - sent(quiet)).abs() < 0.3 * sent(quiet), "{outcome:#} {quiet:#}");
    }
}

/// The server of each, away while the VM is moved, or after it, when it runs on it at the destination.
const AWAY: &[(&str, &str, &str)] = &[
    ("nfs", "qcow2", "{ kind = \"kill\", after_s = 0.5, for_s = 3 }"),
    ("iscsi", "raw", "{ kind = \"kill\", after_s = 0.5, for_s = 3 }"),
    ("nbd", "raw", "{ kind = \"kill\", after_s = 0.5, for_s = 3 }"),
    ("nfs", "raw", "{ kind = \"freeze\", after_s = 0.5, for_s = 3 }"),
    ("iscsi", "qcow2", "{ kind = \"freeze\", after_s = 0.5, for_s = 3 }"),
    ("nbd", "qcow2", "{ kind = \"freeze\", after_s = 0.5, for_s = 3 }"),
];

#[test]
fn vm_nothing_is_lost_while_the_server_of_its_disks_is_away() {
    need_vms!();
    let finished = moved("test-served-away", AWAY);
    let outcomes = finished.outcomes();
    for (outcome, (.., fault)) in outcomes.iter().zip(AWAY) {
        was_away(&finished, outcome, fault, 3.0);
    }
}

/// When it was away, and how, stands in the record.
fn was_away(finished: &Finished, outcome: &Value, fault: &str, for_s: f64) {
    let events = finished.events(outcome["id"].as_str().unwrap());
    let at = |event: &Value| event["t_ns"].as_i64().unwrap();
    let named = |name: &str| {
        let found = events.iter().find(|event| event["event"] == name && event["host"] == "storage");
        found.unwrap_or_else(|| panic!("no {name}: {events:#?}"))
    };
    let command = events.iter().find(|event| event["event"] == "migrate-command").unwrap();
    let (away, back) = (named("storage-server-away"), named("storage-server-back"));
    assert!(fault.contains(away["how"].as_str().unwrap()), "{away}");
    assert!(at(away) > at(command), "{away} {command}");
    assert!(Duration::from_nanos((at(back) - at(away)).try_into().unwrap()).as_secs_f64() >= for_s, "{back}");
}

/// Every server and format, undisturbed and with the server away for 10 s.
#[test]
fn vm_nothing_is_lost_while_the_server_of_its_disks_is_away_for_long() {
    need_vms!();
    if std::env::var_os("DUNLIN_LONG").is_none_or(|value| value != "1") {
        return skip("some 6 minutes of servers that are away for 10 s: DUNLIN_LONG=1 runs it");
    }
    let (kill, freeze) = (
        "{ kind = \"kill\", after_s = 0.5, for_s = 10 }",
        "{ kind = \"freeze\", after_s = 0.5, for_s = 10 }",
    );
    for server in ["nfs", "iscsi", "nbd"] {
        for format in ["raw", "qcow2"] {
            let finished = moved(
                &format!("test-away-{server}-{format}"),
                &[(server, format, ""), (server, format, kill), (server, format, freeze)],
            );
            let outcomes = finished.outcomes();
            was_away(&finished, &outcomes[1], kill, 10.0);
            was_away(&finished, &outcomes[2], freeze, 10.0);
        }
    }
}

/// While a server is frozen, so may be the hypervisor: what was decided meanwhile comes about once it answers again, and the
/// VM is where it was.
#[test]
fn vm_a_migration_that_is_given_up_while_the_server_is_frozen_leaves_the_vm_at_the_source() {
    need_vms!();
    let frozen = [("nfs", "raw", "{ kind = \"freeze\", after_s = 0.3, for_s = 7 }")];
    // A guest that comes back has much to answer.
    let probes = "[probes]\nicmp.interval_ms = 50\nudp.interval_ms = 50\n";
    let text = scenario(&frozen, probes);
    let text = text.replace("limit_s = 60", "limit_s = 3").replace("settle_s = 0.3", "settle_s = 3");
    let finished = Run::start("test-served-limit", &text).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 1), "{}", finished.story());
    let outcome = &outcomes[0];
    assert_eq!(outcome["status"], "not-converged", "{outcome:#}");
    assert_eq!(
        outcome.pointer("/workload/achieved/corrupt_disk_pages"),
        Some(&Value::from(0)),
        "{outcome:#}"
    );
    let events = finished.events(outcome["id"].as_str().unwrap());
    let placed = events.iter().find(|event| event["event"] == "vm-placed").unwrap();
    assert_eq!((&placed["place"], &placed["source"]), (&"source".into(), &"runs".into()), "{placed:#}");
    was_away(&finished, outcome, frozen[0].2, 7.0);
}

/// A host's link to the storage network is cut twice: while the VM runs there, and while it moves.
#[test]
fn vm_nothing_is_lost_while_a_host_is_cut_off_from_its_disks() {
    need_vms!();
    if std::env::var_os("DUNLIN_LONG").is_none_or(|value| value != "1") {
        return skip("half a minute of a host that is cut off from storage: DUNLIN_LONG=1 runs it");
    }
    let cases = [("nfs", "raw", ""), ("iscsi", "raw", ""), ("nbd", "raw", "")];
    let slow = "[link.migration]\nrate_mbit = 500\n";
    let text = scenario(&cases, slow).replace("baseline_s = 0.4", "baseline_s = 3");
    let mut run = Run::start("test-served-cut", &text);
    for (number, (server, format, _)) in cases.iter().enumerate() {
        let trial = format!("{:02}-{number}-{server}-{format}-1", number + 1);
        let logs = run.folder.join("logs").join(&trial);
        run.until("a destination", || logs.join("vm0-host-b-qmp.log").exists());
        cut_off(&run, Duration::from_secs(2));
        run.until("a migration", || is_migrating(&logs.join("vm0-host-a-qmp.log")));
        cut_off(&run, Duration::from_secs(2));
    }
    whole(run.finish(), cases.len());
}

fn is_migrating(log: &Path) -> bool {
    fs::read_to_string(log).is_ok_and(|log| log.contains(r#""status": "active""#))
}

/// For so long `host-a` does not reach the server. At the switch's port: the host would not get its routes back.
fn cut_off(run: &Run, length: Duration) {
    for (way, then) in [("down", length), ("up", Duration::ZERO)] {
        let set = run.on_host("switch", &["ip", "link", "set", "11-storage", way]);
        assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
        std::thread::sleep(then);
    }
}
