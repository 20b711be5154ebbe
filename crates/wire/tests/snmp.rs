//! Counters of a real SNMP agent (net-snmp's) about the loopback interface of this test's own network namespace. Needs
//! root and snmpd; skipped without.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns, sleep_until};
use dunlin_record::{ABSENT, SnmpAuth, SnmpPrivacy};
use dunlin_test_support::skip;
use dunlin_wire::{
    RowSink, Secret, SnmpAccess, SnmpAgent, SnmpAuthentication, count_switch_port, read_interface,
    set_snmp_integer,
};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

const PASSWORD: &str = "a long password";
/// `nsCacheTimeout` of `ifTable`: how long net-snmp believes what it has read, in seconds.
const CACHE_TIMEOUT: [u64; 19] = [1, 3, 6, 1, 4, 1, 8072, 1, 5, 3, 1, 2, 1, 3, 6, 1, 2, 1, 2];
const START_LIMIT: Duration = Duration::from_secs(10);
const POLL_NS: i64 = 20 * MILLISECOND_NS;

#[test]
fn the_agents_counters_are_the_interfaces() {
    let Some(snmpd) = Snmpd::start() else { return };
    let accesses = [
        SnmpAccess::Community(Secret::new("public")),
        user("open", None),
        user("sha1", Some((SnmpAuth::Sha1, false))),
        user("sha256", Some((SnmpAuth::Sha256, false))),
        user("private", Some((SnmpAuth::Sha256, true))),
    ];
    for access in accesses {
        let told = format!("{access:?}");
        let (sink, rows) = collect();
        let recording = count_switch_port(&snmpd.agent(access), "lo", POLL_NS, sink).unwrap();
        sleep_until(now_ns() + 3 * POLL_NS);
        let before = read_interface("lo").unwrap();
        send_to_nobody(500);
        let after = read_interface("lo").unwrap();
        sleep_until(now_ns() + 5 * POLL_NS);
        recording.stop().unwrap();

        let rows: Vec<Vec<i64>> = rows.iter().flatten().collect();
        assert!(rows.len() > 5 && rows.iter().all(|row| row[1] >= row[0]), "{told}: {rows:?}");
        let seen = [2, 3].map(|column| rows.last().unwrap()[column] - rows[0][column]);
        let sent = (after.tx_bytes - before.tx_bytes).cast_signed();
        // The questions and answers themselves pass the same interface.
        assert!(seen.iter().all(|bytes| (sent..sent + sent / 2).contains(bytes)), "{told}: {seen:?} {sent}");
        assert!(rows.iter().all(|row| row[4] == 64 && row[5] > 0), "{told}: {rows:?}");
    }
}

#[test]
fn an_agent_that_does_not_know_us_or_the_port_is_told() {
    let Some(snmpd) = Snmpd::start() else { return };
    let because = |access, port| {
        let error = count_switch_port(&snmpd.agent(access), port, POLL_NS, Box::new(|_| ())).unwrap_err();
        error.to_string()
    };
    let public = || SnmpAccess::Community(Secret::new("public"));
    let unknown = because(public(), "Gi1/0/1");
    assert!(unknown.contains("no port goes by Gi1/0/1; there are lo"), "{unknown}");
    let refused = because(SnmpAccess::Community(Secret::new("wrong")), "lo");
    assert!(refused.contains("no answer within"), "{refused}");
    let wrong_password = Some(SnmpAuthentication {
        protocol: SnmpAuth::Sha256,
        password: Secret::new("another password"),
        privacy: None,
    });
    let refused = because(SnmpAccess::User { name: "sha256".into(), authentication: wrong_password }, "lo");
    assert!(refused.contains("uthentica"), "{refused}");
}

#[test]
fn an_agent_that_falls_silent_leaves_rows_without_counters() {
    let Some(mut snmpd) = Snmpd::start() else { return };
    let (sink, rows) = collect();
    let agent = snmpd.agent(SnmpAccess::Community(Secret::new("public")));
    let recording = count_switch_port(&agent, "lo", POLL_NS, sink).unwrap();
    sleep_until(now_ns() + 10 * POLL_NS);
    snmpd.kill();
    sleep_until(now_ns() + 20 * POLL_NS);
    recording.stop().unwrap();
    let rows: Vec<Vec<i64>> = rows.iter().flatten().collect();
    let (first, last) = (&rows[0], rows.last().unwrap());
    assert!(first[1..].iter().all(|value| *value != ABSENT), "{first:?}");
    assert!(last[0] != ABSENT && last[1..].iter().all(|value| *value == ABSENT), "{last:?}");
}

/// An agent on loopback in a network namespace of its own.
struct Snmpd {
    child: Child,
    _folder: TempDir,
}

impl Snmpd {
    fn start() -> Option<Self> {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            skip(format!("cannot make a network namespace: {error}"));
            return None;
        }
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("snmpd.conf");
        let users = [("open", ""), ("sha1", "SHA"), ("sha256", "SHA-256"), ("private", "SHA-256")];
        let mut text = "rocommunity public\nrwcommunity secret default .1.3.6.1.4.1.8072\n".to_owned();
        for (name, auth) in users {
            let level = if auth.is_empty() { "noauth" } else { "auth" };
            let keys = match (auth, name) {
                ("", _) => String::new(),
                (auth, "private") => format!("{auth} \"{PASSWORD}\" AES \"{PASSWORD}\""),
                (auth, _) => format!("{auth} \"{PASSWORD}\""),
            };
            text += &format!("createUser {name} {keys}\nrouser {name} {level}\n");
        }
        std::fs::write(&configuration, text).unwrap();
        let spawned = Command::new("snmpd")
            .args(["-f", "-C", "-Lf", "/dev/null", "-I", "-smux", "-c"])
            .arg(&configuration)
            .arg("udp:127.0.0.1:161")
            .env("SNMP_PERSISTENT_DIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) => {
                skip(format!("snmpd cannot be started: {error}"));
                return None;
            }
        };
        let snmpd = Self { child, _folder: folder };
        let writer = snmpd.agent(SnmpAccess::Community(Secret::new("secret")));
        let object: Vec<u64> = CACHE_TIMEOUT.into_iter().chain([2]).collect();
        let deadline = Deadline::after(START_LIMIT);
        while let Err(error) = set_snmp_integer(&writer, &object, 0) {
            assert!(!deadline.passed(), "{error}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(snmpd)
    }

    fn agent(&self, access: SnmpAccess) -> SnmpAgent {
        let address = "127.0.0.1:161".parse().unwrap();
        SnmpAgent { address, access, timeout: Duration::from_millis(300) }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Snmpd {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn user(name: &str, authentication: Option<(SnmpAuth, bool)>) -> SnmpAccess {
    let authentication = authentication.map(|(protocol, private)| SnmpAuthentication {
        protocol,
        password: Secret::new(PASSWORD),
        privacy: private.then(|| (SnmpPrivacy::Aes128, Secret::new(PASSWORD))),
    });
    SnmpAccess::User { name: name.into(), authentication }
}

/// A sink, and the rows it got.
fn collect() -> (RowSink, Receiver<Vec<Vec<i64>>>) {
    let (sender, receiver) = channel();
    let sink = Box::new(move |rows: &[i64]| {
        drop(sender.send(rows.chunks_exact(7).map(<[i64]>::to_vec).collect()));
    });
    (sink, receiver)
}

/// Sends datagrams that nobody takes, over loopback.
fn send_to_nobody(datagrams: usize) {
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..datagrams {
        from.send_to(&[0; 1000], sink.local_addr().unwrap()).unwrap();
    }
}
