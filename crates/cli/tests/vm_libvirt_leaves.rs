//! What libvirt's VMs of ours leave behind on real hosts, whose daemons keep them alive: nothing, whatever ends the bench.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod harness;

use std::fs;
use std::process::{Command, Stdio};

/// Never ends by itself, so that it is ended in the middle.
const ENDLESS: &str = r#"
name = "endless"
[vm]
memory_mib = 256
[trials]
count = 1
limit_s = 60
baseline_s = 0.4
settle_s = 0.4
[[case]]
name = "endless"
workload = { kind = "memory-write", working_set_mib = 128, rate_mib_s = "full" }
[libvirt]
connect = "tcp"
"#;

/// Somebody else's VM, of which nothing is ever asked.
const BYSTANDER: &str = "<domain type='qemu'><name>bystander</name><memory unit='MiB'>64</memory><os><type arch='x86_64' \
    machine='pc'>hvm</type></os><features><acpi/></features></domain>";

/// What of ours is on the nodes: shell that prints nothing where there is nothing. Nodes are below this lab's processes, and
/// libvirt calls our guests `dunlin-`.
const LEFT: &str = r#"qemus() { ps -A -o args | grep "[q]emu-system.*guest=dunlin-"; true; }
left() { qemus; for node in host-a host-b; do ip netns exec $node ip -o link | grep tap-;
    ssh $node 'ls -d /var/tmp/dunlin-* 2>/dev/null; virsh -q -c qemu:///system list --all --name | grep dunlin-'; done;
    ps -A -o args | grep -E "dunlin-helpe[r] (host|measure)|[s]sh .*-M -N|[v]irsh "; true; }
gone() { from=$(date +%s); while [ $(($(date +%s) - from)) -le 20 ]; do
    [ -z "$(left)" ] && { echo "$1: gone after $(($(date +%s) - from)) s"; return; }; sleep 0.1; done; echo "$1: left after 20 s and more:"; left; exit 1; }
moving() { for i in $(seq 600); do [ "$(qemus | wc -l)" = 2 ] && { sleep 1; return; }; sleep 0.1; done
    echo "$1: it never moved"; cat $1.said; exit 1; }
making() { for i in $(seq 6000); do ps -A -o args | grep -q "[v]irsh .* create " && return; done
    echo "$1: it was never made"; cat $1.said; exit 1; }
"#;

/// Why no guest of libvirt's can be had here; none where it can. This machine's own libvirt is not needed.
fn lack() -> Option<String> {
    let nodes = harness::ssh_nodes();
    if !nodes.is_file() {
        return Some("cargo build -p dunlin-ssh-nodes was not run".into());
    }
    let why = |what: &str, command: &mut Command| {
        let tried = command.output().unwrap();
        (!tried.status.success()).then(|| format!("{what}: {}", String::from_utf8_lossy(&tried.stderr)))
    };
    why("no guest kernel", harness::dunlin().args(["guest", "fetch"]))
        .or_else(|| why("no nodes with libvirt", Command::new(nodes).args(["--libvirt", "true"])))
}

#[test]
fn vm_nothing_is_left_of_libvirts_guests_by_a_bench_that_is_killed_or_ended_in_the_middle() {
    if let Some(lack) = lack() {
        return dunlin_test_support::skip_vms(lack);
    }
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dunlin"), bin.join("dunlin")).unwrap();
    fs::write(folder.path().join("endless.toml"), ENDLESS).unwrap();
    fs::write(folder.path().join("bystander.xml"), BYSTANDER).unwrap();
    let script = format!(
        r#"{LEFT}
        ssh() {{ command ssh -F "$DUNLIN_SSH_CONFIG" "$@"; }}
        ssh host-b 'cat >bystander.xml && virsh -c qemu:///system create bystander.xml' <bystander.xml || exit 1
        before=$(ssh host-b virsh -c qemu:///system domid bystander)
        dunlin bench endless.toml --inventory "$DUNLIN_HOSTS" --out killed >killed.said 2>&1 & bench=$!
        moving killed; kill -9 $bench; gone killed
        dunlin bench endless.toml --inventory "$DUNLIN_HOSTS" --out ended >ended.said 2>&1 & bench=$!
        moving ended; kill -INT $bench; wait $bench; echo "ended: $?"; gone ended
        dunlin bench endless.toml --inventory "$DUNLIN_HOSTS" --out made >made.said 2>&1 & bench=$!
        making made; kill -9 $bench; gone made
        # Nor does a daemon that was asked to make one do so after that.
        sleep 2; [ -z "$(left)" ] || {{ echo "it came later:"; left; exit 1; }}
        [ "$(ssh host-b virsh -c qemu:///system domid bystander)" = "$before" ] && echo "the bystander $before stays"
        "#
    );
    // Not in the arguments, where it would be found among the processes that it looks for.
    fs::write(folder.path().join("script"), script).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = Command::new(harness::ssh_nodes())
        .args(["--libvirt", "sh", "script"])
        .current_dir(folder.path())
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let story = format!("{}\n{told}{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{story}");
    println!("{told}");
    for word in ["killed: gone", "ended: 130", "ended: gone", "made: gone", "the bystander 1 stays"] {
        assert!(told.contains(word), "{word}: {story}");
    }
}
