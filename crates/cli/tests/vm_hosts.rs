//! Real hosts: two nodes of a lab, each behind an sshd of its own. What docs/hosts.md says is typed as it stands there; then
//! cables are pulled and the bench is killed.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dunlin_record::RunFolder;
use harness::number;
use serde_json::Value;

const DOCS: &str = include_str!("../../../docs/hosts.md");
/// How far the second node's monotonic clock is from the bench's.
const OFFSET_S: i64 = 5000;

/// What brings up the nodes, where it was built.
fn nodes() -> Option<PathBuf> {
    Some(harness::ssh_nodes()).filter(|nodes| nodes.is_file())
}

/// Leaves the test, saying why, where no nodes behind ssh can be had.
macro_rules! need_nodes {
    () => {{
        need_vms!();
        let lack = nodes().map_or_else(
            || Some("cargo build -p dunlin-ssh-nodes was not run".to_owned()),
            |nodes| {
                let tried = Command::new(nodes).arg("true").output().unwrap();
                (!tried.status.success()).then(|| String::from_utf8_lossy(&tried.stderr).into_owned())
            },
        );
        if let Some(lack) = lack {
            return dunlin_test_support::skip_vms(format!("no nodes behind ssh: {lack}"));
        }
    }};
}

/// Runs a script beside two nodes, in a folder; `dunlin` and the user's `ssh` are those that it finds.
fn beside_nodes(folder: &Path, script: &str) -> Output {
    let bin = folder.join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dunlin"), bin.join("dunlin")).unwrap();
    // The user's own configuration, as it were.
    let ssh = "#!/bin/sh\nexec /usr/bin/ssh -F \"$DUNLIN_SSH_CONFIG\" \"$@\"\n";
    fs::write(bin.join("ssh"), ssh).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(bin.join("ssh"), mode).unwrap();
    // Not in the arguments, where it would be found among the processes that it looks for.
    fs::write(folder.join("script"), script).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    Command::new(nodes().unwrap())
        .args(["--offset", &OFFSET_S.to_string(), "sh", "script"])
        .current_dir(folder)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The commands of a document, as they stand in its blocks for a shell.
fn commands(document: &str) -> Vec<&str> {
    let blocks = document.split("\n```sh\n").skip(1);
    blocks.flat_map(|block| block.split("\n```").next().unwrap().lines()).collect()
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What of ours is on the nodes: shell that prints nothing where there is nothing.
const LEFT: &str = r#"left() { for node in host-a host-b; do ssh $node 'ls -d /var/tmp/dunlin-* 2>/dev/null'; done; ip netns exec host-a ip -o link | grep tap-;
    ip netns exec host-b ip -o link | grep tap-; ps -A -o args | grep -E "dunlin-helpe[r] (host|measure)|[q]emu-system.*-name vm0|[s]sh .*-M -N"; true; }
gone() { for i in $(seq 200); do [ -z "$(left)" ] && return; sleep 0.1; done; echo "left after 20 s and more:"; left; exit 1; }
"#;

#[test]
fn vm_what_is_typed_by_the_docs_on_hosts_works() {
    need_nodes!();
    let commands = commands(DOCS);
    assert!(commands.len() >= 9, "{commands:?}");
    let mut script = format!("set -e\n{LEFT}");
    for command in commands {
        script.push_str(&format!("echo '$ {command}'\n{command}\n"));
        if command.starts_with("dunlin inventory new") {
            // What the user then writes of their own hosts.
            script.push_str("cp \"$DUNLIN_HOSTS\" hosts.toml\n");
        }
    }
    script.push_str("gone\n");
    let folder = tempfile::tempdir().unwrap();
    let output = beside_nodes(folder.path(), &script);
    assert!(output.status.success(), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("$ ssh host-a uname -n\nhost-a\n"), "{told}");
    let run = RunFolder::open(&folder.path().join("runs/hosts")).unwrap();
    let outcomes = run.outcomes().unwrap();
    assert_eq!(outcomes.len(), 6, "{told}");
    let lines = fs::read_to_string(folder.path().join("runs/hosts/trials.jsonl")).unwrap();
    for outcome in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert_eq!(outcome["status"], "completed", "{outcome:#}");
        assert!(number(&outcome, "/total_time_ms") > 0.0);
        assert!(number(&outcome, "/downtime_ms/icmp") > 0.0);
        let paused_ms = number(&outcome, "/downtime_ms/paused");
        // Two clocks that are far apart: without the mapping it would be wrong by more than an hour.
        assert!(paused_ms > 0.0 && paused_ms < 10_000.0, "{outcome:#}");
        assert!(number(&outcome, "/downtime_error_ms/paused") < 100.0, "{outcome:#}");
    }
    let id = run.trials().unwrap().into_iter().next().unwrap();
    let record = run.read_trial(&id).unwrap();
    let offsets_s = |host: &str| {
        let rows = record.series[&format!("clock-{host}")].rows_of::<5>();
        rows.map(|row| row[1] as f64 / 1e9).collect::<Vec<_>>()
    };
    assert!(offsets_s("host-a").iter().all(|offset| offset.abs() < 1.0), "{:?}", offsets_s("host-a"));
    let far = offsets_s("host-b");
    assert!(!far.is_empty() && far.iter().all(|offset| (offset + OFFSET_S as f64).abs() < 1.0), "{far:?}");
    assert!(folder.path().join("captured/capture/01-idle-1/host-b-migration.pcapng").is_file());
}

/// Never ends by itself.
const ENDLESS: &str = r#"
name = "endless"
[vm]
memory_mib = 256
[trials]
count = 2
limit_s = 10
baseline_s = 0.4
settle_s = 0.4
[[case]]
name = "endless"
workload = { kind = "memory-write", working_set_mib = 128, rate_mib_s = "full" }
"#;

#[test]
fn vm_a_host_that_is_cut_off_fails_its_trial_only_and_a_killed_bench_leaves_nothing() {
    need_nodes!();
    let script = format!(
        r#"{LEFT}
        moving() {{ for i in $(seq 300); do zstdcat $1/events/01-endless-1.jsonl* 2>/dev/null | grep -q '"migration-pass"' && return; sleep 0.1; done; echo "$1: it never moved"; exit 1; }}
        dunlin bench endless.toml --inventory "$DUNLIN_HOSTS" --out cut & bench=$!
        moving cut
        ip -n switch link set 12-service down; sleep 9; ip -n switch link set 12-service up
        wait $bench; echo "cut: $?"
        gone
        dunlin bench endless.toml --inventory "$DUNLIN_HOSTS" --out killed >/dev/null 2>&1 & bench=$!
        moving killed; kill -9 $bench; gone
        dunlin bench endless.toml --inventory "$DUNLIN_HOSTS" --out ended >/dev/null 2>&1 & bench=$!
        moving ended; kill -INT $bench; wait $bench; echo "ended: $?"; gone
        "#
    );
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("endless.toml"), ENDLESS).unwrap();
    let output = beside_nodes(folder.path(), &script);
    assert!(output.status.success(), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("cut: 5\n") && told.contains("ended: 130\n"), "{}", said(&output));
    let lines = fs::read_to_string(folder.path().join("cut/trials.jsonl")).unwrap();
    let outcomes: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&outcomes[0]["status"], outcomes.len()), (&"failed".into(), 2), "{}", said(&output));
    assert_ne!(outcomes[1]["status"], "failed", "{}", said(&output));
    // The source ran on and says so; the other end does not answer, which is told as such.
    let placed = RunFolder::open(&folder.path().join("cut")).unwrap();
    let first = placed.trials().unwrap().into_iter().next().unwrap();
    let events = serde_json::to_value(placed.read_trial(&first).unwrap().events).unwrap();
    let placed = events.as_array().unwrap().iter().find(|event| event["event"] == "vm-placed").unwrap();
    assert_eq!(placed["place"], "source", "{placed:#}");
}
