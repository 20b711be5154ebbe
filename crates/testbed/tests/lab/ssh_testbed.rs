//! Two nodes behind ssh as a testbed of real hosts: what all its tests share.

mod life;
mod names;
mod refusals;
mod wills;
mod works;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dunlin_clock::{Deadline, now_ns};
use dunlin_record::{HostId, Links};
use dunlin_ssh_nodes::{Client, SshNodes};
use dunlin_testbed::{
    Attachment, BenchPlace, HelperProgram, Host, HostKind, Inside, Inventory, InventoryHost, Lab, LabSpec,
    Launch, SshTestbed, TestbedError, VmAddresses,
};

pub(crate) use life::{cuts, life, own};
pub(crate) use names::names;
pub(crate) use refusals::refusals;
pub(crate) use works::works;

use dunlin_test_support::NOT_PERMITTED;

/// As the helper is named on hosts: this program is it where it has that name.
pub(crate) const HELPER: &str = "dunlin-helper";
/// Where hosts have what helpers bring.
const FOLDER: &str = "/tmp";
/// In which all must be gone: 10 s is promised, and 8.3 s measured; a noisy machine is given more.
const GONE_LIMIT: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(20);

/// A lab of two nodes behind ssh, and the program that goes there.
struct World {
    nodes: SshNodes,
    program: HelperProgram,
    /// After what lies in its folders.
    _lab: Lab,
}

impl World {
    fn up(inside: &Inside, clock_offsets_s: Vec<i64>) -> Self {
        let spec = LabSpec { kind: HostKind::Node, clock_offsets_s, ..LabSpec::new(Links::default()) };
        let because = match (SshNodes::lack(), Lab::up(inside, &spec)) {
            (None, Ok(lab)) => {
                let nodes = SshNodes::up(&lab).unwrap();
                let program = program(&own_program(nodes.folder()));
                return Self { nodes, program, _lab: lab };
            }
            (Some(lack), _) => lack,
            (None, Err(error @ (TestbedError::NotPermitted { .. } | TestbedError::Unsupported { .. }))) => {
                error.to_string()
            }
            (None, Err(error)) => panic!("{error:?}"),
        };
        println!("{because}");
        std::process::exit(NOT_PERMITTED)
    }

    fn inventory(&self, client: Client) -> Inventory {
        inventory(&self.nodes.config(client))
    }

    fn connect(&self) -> SshTestbed {
        SshTestbed::connect(&self.inventory(Client::Right), self.program).unwrap()
    }

    /// What a script says on a node, not through ssh.
    fn sh(&self, host: &str, script: &str) -> String {
        self.nodes.sh(host, script).unwrap()
    }

    /// What is on a node that only helpers leave there: their folders, taps, themselves, and what they launched.
    fn traces(&self, host: &str) -> Vec<String> {
        let found = "ls -d /tmp/dunlin-* 2>/dev/null; ip -o link | grep -o 'dt[0-9]*:'; \
            for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null; echo; done | \
            grep -E '^(sleep 1000|[^ ]*dunlin-helper)'; true";
        self.sh(host, found).lines().map(str::to_owned).collect()
    }

    /// Waits until nothing is left on both nodes, nor any connection here; says how long it took.
    fn all_gone(&self, hosts: &[&str]) -> f64 {
        let began_ns = now_ns();
        let deadline = Deadline::after(GONE_LIMIT);
        loop {
            let mut left: Vec<String> = hosts.iter().flat_map(|host| self.traces(host)).collect();
            if hosts.len() > 1 {
                left.extend(masters());
            }
            if left.is_empty() {
                return (now_ns() - began_ns) as f64 / 1e9;
            }
            assert!(!deadline.passed(), "still there: {left:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Both nodes as somebody would describe them who knows all of them.
fn inventory(config: &Path) -> Inventory {
    let host = |name: &str, last: u8| InventoryHost {
        name: HostId::new(name),
        ssh: name.into(),
        driver: None,
        sudo: false,
        folder: FOLDER.into(),
        source: true,
        destination: true,
        bridge: Some("service".into()),
        shared: None,
        service: Some(attachment([10, 77, 0, last], "uplink")),
        migration: Some(attachment([10, 78, 0, last], "migration")),
    };
    Inventory {
        bench: BenchPlace::Apart,
        vm_addresses: Some(VmAddresses {
            first: [10, 77, 0, 100].into(),
            last: [10, 77, 0, 119].into(),
            prefix: 24,
        }),
        ssh_config: Some(config.to_owned()),
        hosts: vec![host("host-a", 11), host("host-b", 12)],
    }
}

fn attachment(address: [u8; 4], interface: &str) -> Attachment {
    Attachment { address: address.into(), interface: Some(interface.into()), port: None }
}

/// This very program as it is copied to hosts: without what debuggers need, where that can be taken out.
fn own_program(folder: &Path) -> PathBuf {
    let own = fs::read_link("/proc/self/exe").unwrap();
    let stripped = folder.join("stripped");
    match Command::new("strip").arg("-o").arg(&stripped).arg(&own).status() {
        Ok(status) if status.success() => stripped,
        _ => own,
    }
}

fn program(path: &Path) -> HelperProgram {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let sha256 = said.split_whitespace().next().unwrap().to_owned();
    HelperProgram { bytes: fs::read(path).unwrap().leak(), sha256: sha256.leak() }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn launch(program: &str, args: &[&str]) -> Launch {
    Launch {
        program: program.into(),
        args: words(args),
        stdout: "/dev/null".into(),
        stderr: "/dev/null".into(),
    }
}

/// What a program says on a host, through ssh.
fn said(host: &dyn Host, script: &str) -> String {
    let output = host.run(Path::new("sh"), &words(&["-c", script]), LIMIT).unwrap();
    assert!(output.success, "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The command lines of this lab's connections.
fn masters() -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .map(|words| String::from_utf8_lossy(&words).replace('\0', " "))
        .filter(|words| words.starts_with("ssh ") && words.contains("ControlPersist"))
        .collect()
}

/// Does something and says how many seconds it took.
fn timed<T>(what: impl FnOnce() -> T) -> (T, f64) {
    let began_ns = now_ns();
    let done = what();
    (done, (now_ns() - began_ns) as f64 / 1e9)
}
