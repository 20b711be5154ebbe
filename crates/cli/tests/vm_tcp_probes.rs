//! TCP request/response and streams beside real migrations, and beside iperf3 and ping on the same paths.
#![expect(clippy::unwrap_used, reason = "helpers of tests should panic")]

mod harness;

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::lab::HeldLab;
use harness::sockets::cut_connections;
use harness::{Run, number};
use serde_json::Value;

/// The first VM on the lab's service network, and the destination host on the migration network.
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const HOST_B: &str = "10.78.0.12";

const BESIDE: &str = r#"
[vm]
memory_mib = 192
[probes]
udp = false
[trials]
count = 1
limit_s = 30
baseline_s = 0.6
settle_s = 1.5
[[case]]
name = "guest"
strategy = { kind = "suspend" }
probes.tcp_rr = { request_bytes = 10, response_bytes = 100 }
probes.tcp_stream = { reverse = true, send_buffer_bytes = 16384, receive_buffer_bytes = 87380 }
[[case]]
name = "hosts"
probes.hosts_tcp_rr = true
probes.hosts_tcp_stream = true
"#;

#[test]
fn vm_tcp_goes_on_beside_a_migration_and_its_bytes_are_none_of_it() {
    need_vms!();
    let finished = Run::start("test-tcp", BESIDE).finish();
    let outcomes = finished.outcomes();
    assert_eq!((finished.code, outcomes.len()), (Some(0), 2), "{}", finished.story());
    let [guest, hosts] = &outcomes[..] else { unreachable!() };
    let paused_ms = number(guest, "/downtime_ms/paused");
    // The VM stands still for all of the migration, and a transaction with it.
    assert!(number(guest, "/downtime_ms/tcp") > 0.8 * paused_ms, "{guest:#}");
    assert!(number(guest, "/tcp_streams/tcp_stream/longest_stall/length_ms") > 0.8 * paused_ms, "{guest:#}");
    // What was asked for on both ends, doubled by Linux.
    let buffers = guest.pointer("/tcp_streams/tcp_stream/connections/local").unwrap();
    assert_eq!(buffers, &serde_json::json!({ "send_bytes": 2 * 16_384, "receive_bytes": 2 * 87_380 }));
    assert_eq!(guest.pointer("/tcp_streams/tcp_stream/connections/remote"), Some(buffers));
    assert_eq!(hosts.pointer("/downtime_ms/tcp"), Some(&Value::Null), "it is no service of the VM");
    for (outcome, prefix) in [(guest, ""), (hosts, "hosts_")] {
        let rr = format!("/probes/{prefix}tcp_rr");
        let stream = format!("/tcp_streams/{prefix}tcp_stream");
        for part in ["before", "after"] {
            assert!(
                number(outcome, &format!("{rr}/response_ms/{part}/answered_per_s")) > 10.0,
                "{outcome:#}"
            );
            assert!(number(outcome, &format!("{stream}/rate_mib_s/{part}")) > 0.5, "{outcome:#}");
        }
        for of in [&rr, &stream] {
            assert_eq!(number(outcome, &format!("{of}/connections/made")), 1.0, "{outcome:#}");
            assert_eq!(number(outcome, &format!("{of}/connections/broken")), 0.0, "{outcome:#}");
        }
    }
    // The stream between the hosts had its share of the link meanwhile: none of that is the migration's.
    let sent = number(hosts, "/wire_bytes/source_tx");
    let of_memory = number(hosts, "/ram_bytes");
    assert!((0.98 * of_memory..1.25 * of_memory).contains(&sent), "{sent} of {of_memory}: {hosts:#}");
}

const CUT: &str = r#"
[vm]
memory_mib = 128
[link.migration]
rate_mbit = 200
[probes]
tcp_rr = true
[trials]
count = 1
limit_s = 8
baseline_s = 0.4
settle_s = 1.0
[[case]]
name = "cut"
workload = { kind = "memory-write", working_set_mib = 32, rate_mib_s = "full" }
"#;

#[test]
fn vm_a_probes_connection_that_is_cut_is_counted_and_made_anew() {
    need_vms!();
    let mut run = Run::start("test-cut-tcp", CUT);
    run.await_migration("01-cut-1");
    let cut: usize = run.inner_pids().into_iter().map(|pid| cut_connections(pid, GUEST)).sum();
    assert_eq!(cut, 1, "one process of the bench has one connection to the guest");
    let finished = run.finish();
    let outcome = &finished.outcomes()[0];
    let of = |what: &str| number(outcome, &format!("/probes/tcp_rr/{what}"));
    assert_eq!((of("connections/made"), of("connections/broken")), (2.0, 1.0), "{}", finished.story());
    assert_eq!(of("failures/broken"), 1.0, "{outcome:#}");
    let connections =
        finished.events("01-cut-1").into_iter().filter(|event| event["event"] == "probe-connection");
    let broken: Vec<bool> = connections.map(|event| event["broken"].is_string()).collect();
    assert_eq!(broken, [true, false]);
}

/// Ends with this, whatever happens.
struct Server(Child);

impl Server {
    fn start(mut command: Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PATHS: &str = r#"
[vm]
memory_mib = 128
[link.migration]
rate_mbit = 200
[link.service]
delay_ms = 5
[[case]]
name = "paths"
"#;

/// Runs until it says something that can be read, for a server takes a while to come up.
fn told(mut command: impl FnMut() -> Command) -> Value {
    let mut last = String::new();
    for _ in 0..20 {
        let output = command().output().unwrap();
        // iperf3 tells that nobody was there in its answer, with an exit code that says all is well.
        let answer = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success());
        if let Some(answer) = answer.filter(|answer: &Value| answer.get("error").is_none()) {
            return answer;
        }
        last =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("{last}")
}

#[test]
fn vm_the_figures_are_those_of_iperf3_and_ping_on_the_same_path() {
    need_vms!();
    if Command::new("iperf3").arg("--version").output().is_err() {
        println!("skipped: there is no iperf3 to compare with");
        return;
    }
    let lab = HeldLab::up("test-paths", PATHS);
    let dunlin = env!("CARGO_BIN_EXE_dunlin");
    let _servers = [
        Server::start(lab.on("host-b", &["iperf3", "--server"])),
        Server::start(lab.on("host-b", &[dunlin, "tcp", "serve", "--bind", "0.0.0.0"])),
    ];
    for reverse in [false, true] {
        let with = |words: &[&str]| {
            let reverse = reverse.then_some("--reverse");
            lab.on("host-a", &words.iter().copied().chain(reverse).collect::<Vec<_>>())
        };
        let iperf3 = told(|| with(&["iperf3", "--client", HOST_B, "--time", "2", "--omit", "1", "--json"]));
        let theirs = number(&iperf3, "/end/sum_received/bits_per_second") / 1e6;
        let ours = told(|| with(&[dunlin, "tcp", "stream", HOST_B, "--for", "3s", "--json"]));
        let ours = number(&ours, "/rate_mbit_s");
        println!("reverse {reverse}: iperf3 {theirs:.1} Mbit/s, dunlin {ours:.1} Mbit/s");
        assert!((0.9..1.1).contains(&(ours / theirs)), "{ours} and {theirs} Mbit/s");
    }
    // The guest's way is longer than its machine is slow: 20 ms there and back.
    let guest = GUEST.to_string();
    let ping = lab.run("bench", &["ping", "-q", "-c", "20", "-i", "0.1", &guest]);
    let ping = String::from_utf8_lossy(&ping.stdout).into_owned();
    let average =
        ping.rsplit(" = ").next().and_then(|figures| figures.split('/').nth(1)?.parse::<f64>().ok());
    let ping_ms = average.unwrap_or_else(|| panic!("{ping}"));
    let rr = told(|| lab.on("bench", &[dunlin, "tcp", "rr", &guest, "--for", "2s", "--json"]));
    let (ours_ms, per_s) = (number(&rr, "/p50_ms"), number(&rr, "/transactions_per_s"));
    println!("ping {ping_ms:.2} ms, transactions of {ours_ms:.2} ms, {per_s:.1} a second");
    assert!((0.8..1.5).contains(&(ours_ms / ping_ms)), "{ours_ms} and {ping_ms} ms");
    assert!(per_s * ours_ms / 1e3 > 0.6 && per_s * ours_ms / 1e3 < 1.2, "{per_s} a second of {ours_ms} ms");
    assert_eq!(lab.end(), Some(0));
}
