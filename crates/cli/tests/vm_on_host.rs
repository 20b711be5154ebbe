//! What is done on hosts of an inventory: captures, TCP and HTTP, on nodes behind ssh. No VM runs, but a lab of root's.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// Runs beside the nodes, in the lab's own namespaces: what it starts ends with it. The arguments are the program under
/// test, and a folder for what comes out.
const BESIDE: &str = r#"
set -eu
dunlin=$1 out=$2 to=10.78.0.12
a="--on host-a --inventory $DUNLIN_HOSTS" b="--on host-b --inventory $DUNLIN_HOSTS"
# The sockets of ssh: in a folder of our own, where it is seen whether any are left.
export XDG_RUNTIME_DIR=$out/run
mkdir -m 700 "$XDG_RUNTIME_DIR"
# Until a file says it: 20 s at most.
said() { i=0; until grep -qs "$1" "$2"; do sleep 0.05; i=$((i + 1)); [ $i -lt 400 ]; done; }
code() { "$@" && echo 0 || echo $?; }
left() {
    for host in host-a host-b; do
        ssh -F "$DUNLIN_SSH_CONFIG" -o BatchMode=yes $host 'ls -d /var/tmp/dunlin-*; pgrep -a dunlin-helper' 2> /dev/null || true
    done
}

"$dunlin" tcp serve --bind $to $b 2> "$out/tcp-serve" & tcp=$!
"$dunlin" http serve --bind $to $b > "$out/http-served" 2> "$out/http-serve" & http=$!
said 'serving at' "$out/tcp-serve"
said 'serving at' "$out/http-serve"
"$dunlin" capture -i migration -o "$out/a.pcapng" --for 2s $a > "$out/captured" 2> "$out/capture" & capture=$!
said capturing "$out/capture"
"$dunlin" tcp rr $to --for 500ms --json $a > "$out/rr"
"$dunlin" http load $to --for 400ms --interval 20ms --json $a > "$out/load"
wait $capture
"$dunlin" capture -i migration -o "$out/b.pcapng" $a > /dev/null 2> "$out/ended" & capture=$!
said capturing "$out/ended"
kill -INT $capture; code wait $capture > "$out/ended-code"
kill -INT $tcp $http; code wait $tcp > "$out/tcp-code"; code wait $http > "$out/http-code"
code "$dunlin" capture -i nothing -o "$out/c.pcapng" $a > "$out/refused-code" 2> "$out/refused"
{ left; ls "$XDG_RUNTIME_DIR"; } > "$out/left"
"#;

/// Runs a script beside two nodes; `None` where there can be none.
fn beside(script: &str, out: &Path) -> Option<Output> {
    let nodes = harness::ssh_nodes();
    if !nodes.exists() {
        dunlin_test_support::skip(format!("{} was not built", nodes.display()));
        return None;
    }
    let mut command = Command::new(nodes);
    command.args(["--offset", "5000", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_dunlin")]).arg(out);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let lacks = ["openssh", "only root's lab", "not permitted", "not supported"];
    if let Some(line) = said.lines().find(|line| line.starts_with("error: "))
        && lacks.iter().any(|lack| line.contains(lack))
    {
        dunlin_test_support::skip(line);
        return None;
    }
    Some(output)
}

#[test]
fn vm_what_passes_between_hosts_is_captured_and_measured_there_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let began = harness::now();
    let Some(output) = beside(BESIDE, out) else { return };
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap_or_default();
    let story = || {
        let names = ["tcp-serve", "http-serve", "capture", "captured", "ended", "refused", "left"];
        names.map(|name| format!("{name}: {}", read(name))).join("") + &format!("{output:?}")
    };
    assert!(output.status.success(), "{}", story());
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}: {}", began.elapsed(), story());

    let json = |name: &str| serde_json::from_str::<Value>(&read(name)).unwrap();
    let (rr, load) = (json("rr"), json("load"));
    assert!(rr["transactions_per_s"].as_f64().unwrap() > 0.0 && rr["failed"] == 0, "{rr:#}");
    assert!(load["answered"].as_u64().unwrap() >= 15 && load["failed"] == 0, "{load:#}");
    assert!(load["machine_cpu_percent"].is_number(), "{load:#}");
    // A capture is told of as on this machine, and its stamps are those of the host's clock.
    let captured = read("captured");
    assert!(captured.contains("stamps are of host-a's CLOCK_REALTIME, which is "), "{captured}");
    let wire = harness::dunlin().args(["wire", "--json"]).arg(out.join("a.pcapng")).output().unwrap();
    let wire = String::from_utf8(wire.stdout).unwrap();
    assert!(wire.contains("10.78.0.12") && wire.contains("7008"), "{wire}");
    let packets: u64 = captured.split(' ').next().unwrap().parse().unwrap();
    assert!(packets > 2 * rr["answered"].as_u64().unwrap(), "{captured}: {rr:#}");
    // Whatever ended them, they ended well; and what was refused is told with the reason.
    for code in ["ended-code", "tcp-code", "http-code"] {
        assert_eq!(read(code), "0\n", "{code}: {}", story());
    }
    assert!(read("http-served").contains(" requests answered, 0 refused"), "{}", story());
    assert!(fs::read(out.join("b.pcapng")).unwrap().starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
    assert_eq!(read("refused-code"), "3\n", "{}", story());
    assert!(
        read("refused").contains("cannot capture on host-a: cannot find interface nothing"),
        "{}",
        story()
    );
    assert!(!out.join("c.pcapng").exists());
    assert_eq!(read("left"), "", "{}", story());
}
