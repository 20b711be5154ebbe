//! The agent as a program, in a VM whose init is somebody else's: busybox's shell here. Skipped, with the reason, where
//! there is no QEMU, no kernel or no static busybox to be had.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

// Its tests run with the crate's own.
#[path = "../src/cpio.rs"]
#[expect(dead_code, reason = "this archive needs less than a guest's image")]
mod cpio;
#[path = "support/vm.rs"]
#[expect(dead_code, reason = "the moves of these VMs are other tests' matter")]
mod vm;

use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns, sleep_until};
use dunlin_guest::{
    AGENT, AgentClient, AgentKind, Ask, GuestError, Image, Network, build_initramfs, default_cache_dir,
    fetch_kernel,
};
use dunlin_record::{MemoryWrite, Rate, Workload};

use cpio::Cpio;
use vm::Vm;

/// Far above what anything here takes, on a machine busy with other tests too.
const LONG: Duration = Duration::from_secs(120);
const BUSYBOX: &str = "/bin/busybox";
/// What a small distribution does before services start; then it does what it reads from its second serial line.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /var/tmp
mount -t tmpfs tmpfs /var/tmp
while read -r module; do insmod /modules/$module; done </modules/order
stty -F /dev/ttyS1 raw -echo
exec </dev/ttyS1 >/dev/console 2>&1
echo shell ready
while read -r line; do eval \"$line\"; done
";

/// A VM of somebody else, with a shell in it.
struct Foreign {
    vm: Vm,
    shell: UnixStream,
    said: u32,
    _dir: tempfile::TempDir,
}

impl Foreign {
    fn start() -> Result<Self, String> {
        vm::check_qemu()?;
        let busybox = std::fs::read(BUSYBOX).map_err(|error| format!("read {BUSYBOX}: {error}"))?;
        let cache = default_cache_dir().map_err(|error| error.to_string())?;
        let kernel = fetch_kernel(&cache).map_err(|error| error.to_string())?;
        let dir = tempfile::tempdir().unwrap();
        // Of two archives the kernel takes the later's files: the modules stay, the init is another.
        let mut initramfs = build_initramfs(&kernel).unwrap();
        initramfs.extend(second_archive(&busybox));
        let path = dir.path().join("initramfs");
        std::fs::write(&path, initramfs).unwrap();
        let (kernel, release) = (kernel.image, kernel.release);
        let image = Image { kernel, initramfs: path, release, digest: String::new() };
        let line = dir.path().join("shell");
        let vm = Vm::start(&image, &["-serial", &format!("unix:{},server=on,wait=off", line.display())]);
        let shell = connected(&line);
        let foreign = Self { vm, shell, said: 0, _dir: dir };
        foreign.await_line("shell ready");
        Ok(foreign)
    }

    /// Has the shell do something, and gives what it says.
    fn tell(&mut self, commands: &str) -> String {
        self.said += 1;
        let (begin, end) = (format!("<<{}", self.said), format!("{}>>", self.said));
        writeln!(self.shell, "echo '{begin}'; {commands}; echo '{end}'").unwrap();
        let console = self.await_line(&end);
        let said = console.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end)).unwrap().0;
        said.replace('\r', "").trim().to_owned()
    }

    /// Waits until the console has this, and gives all of it.
    fn await_line(&self, text: &str) -> String {
        let deadline = Deadline::after(LONG);
        loop {
            let console = self.vm.console();
            if console.contains(text) {
                return console;
            }
            assert!(!deadline.passed(), "{text:?} does not come; console:\n{console}");
            pause(20);
        }
    }
}

fn second_archive(busybox: &[u8]) -> Vec<u8> {
    let mut archive = Cpio::default();
    archive.directory("bin");
    archive.directory("var");
    archive.program("bin/busybox", busybox);
    archive.program("bin/dunlin-agent", AGENT);
    archive.program("init", INIT.as_bytes());
    archive.finish()
}

fn connected(path: &Path) -> UnixStream {
    let deadline = Deadline::after(LONG);
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            Err(error) => panic!("connect to {}: {error}", path.display()),
        }
        assert!(!deadline.passed(), "{} does not come", path.display());
        pause(10);
    }
}

fn pause(ms: i64) {
    sleep_until(now_ns() + ms * MILLISECOND_NS);
}

fn memory_write(working_set_mib: u32, rate_mib_s: Rate) -> Workload {
    Workload::MemoryWrite(MemoryWrite::new(working_set_mib, rate_mib_s))
}

macro_rules! foreign_or_skip {
    () => {
        match Foreign::start() {
            Ok(foreign) => foreign,
            Err(why) => return dunlin_test_support::skip_vms(why),
        }
    };
}

#[test]
fn a_program_answers_works_refuses_and_leaves_nothing() {
    let mut guest = foreign_or_skip!();
    // Of the system: what is mounted, its swap, links, modules, sockets, what lies about.
    let system = "cat /proc/self/mounts /proc/swaps /proc/net/dev | cut -d: -f1; cut -d' ' -f1 /proc/modules; \
        cat /proc/net/tcp /proc/net/udp | cut -c1-30; ls -A /var/tmp; ls -A /";
    let before = guest.tell(system);
    guest.tell("dunlin-agent run & agent=$!");
    let client = AgentClient::new(guest.vm.agent()).unwrap();
    let ready = guest.vm.up(client.identify(LONG));
    assert_eq!((ready.kind, ready.troubles.as_slice()), (AgentKind::Program, [].as_slice()));
    assert_eq!(ready.kernel, guest.tell("uname -r"));

    let memory = client.memory(LONG).unwrap();
    assert_eq!(memory.total_bytes, ready.memory_total_bytes);
    let cpu = client.cpu(LONG).unwrap();
    assert!(cpu.busy_ns > 0 && cpu.idle_ns >= 0, "{cpu:?}");
    let clocks = client.clocks(LONG).unwrap();
    assert!(clocks.monotonic_ns > 0 && clocks.boottime_ns >= clocks.monotonic_ns, "{clocks:?}");
    let disk = client.disk(LONG).unwrap();
    assert_eq!(disk.mounted_at, "/");
    assert_eq!(disk.kind, guest.tell("grep ' / ' /proc/mounts | cut -d' ' -f3"), "{disk:?}");

    client.start_workload(0, &memory_write(16, Rate::Full), None, LONG).unwrap();
    pause(1000);
    assert_eq!(guest.tell("ls /var/tmp | wc -l; ls -A /var/tmp/dunlin-agent.* | wc -l"), "1\n0");
    let achieved = client.stop_workload(0, LONG).unwrap();
    eprintln!("{achieved:?}");
    assert!(achieved.rate_mib_s > Some(0.0) && achieved.corrupt_pages == Some(0), "{achieved:?}");

    let network = Network { address: Ipv4Addr::LOCALHOST, prefix: 8, neighbours: Vec::new() };
    let refused = [
        client.configure_network(network, LONG),
        client.mount_disk(LONG),
        client.swap_on(LONG),
        client.refresh(LONG),
        client.request(Ask::AddEntropy(vec![0; 8]), LONG).map(drop),
    ];
    for outcome in refused {
        let error = outcome.unwrap_err();
        let is_told = matches!(&error, GuestError::Refused { what } if what.contains("not Dunlin's"));
        assert!(is_told, "{error}");
    }

    // It is asked to end in the middle of its work.
    client.start_workload(1, &memory_write(16, Rate::Full), None, LONG).unwrap();
    assert_eq!(guest.tell("kill -TERM $agent; wait $agent; echo $?").lines().last(), Some("0"));
    assert_eq!(guest.tell(system), before);
    assert_eq!(guest.tell("pidof dunlin-agent || echo none"), "none");
    assert!(client.ping(1, Duration::from_secs(2)).is_err());
}

#[test]
fn a_program_outlives_its_clients_and_what_they_started_does_not() {
    let mut guest = foreign_or_skip!();
    // It waits for a channel that is not there, and says so.
    guest.tell("dunlin-agent run --channel no.such & agent=$!");
    guest.await_line("still waiting for the port no.such");
    assert_eq!(guest.tell("kill -TERM $agent; wait $agent; echo $?").lines().last(), Some("0"));
    guest.tell("dunlin-agent run & agent=$!");

    let first = AgentClient::new(guest.vm.agent()).unwrap();
    guest.vm.up(first.identify(LONG));
    first.start_workload(0, &memory_write(16, Rate::MibPerSecond(10.0)), None, LONG).unwrap();
    // The host's side is closed and opened again, as at a migration.
    for number in 0..10 {
        first.reattach(guest.vm.agent()).unwrap();
        first.ping(number, LONG).unwrap();
    }
    let achieved = first.stop_workload(0, LONG).unwrap();
    assert_eq!(achieved.corrupt_pages, Some(0));

    // A client that goes without a word leaves its work to nobody.
    first.start_workload(0, &memory_write(16, Rate::Full), None, LONG).unwrap();
    drop(first);
    pause(500);
    let second = AgentClient::new(guest.vm.agent()).unwrap();
    guest.vm.up(second.identify(LONG));
    let none = second.stop_workload(0, LONG).unwrap_err();
    assert!(none.to_string().contains("there is none"), "{none}");
    second.start_workload(0, &memory_write(16, Rate::Full), None, LONG).unwrap();

    // Killed, it leaves an empty folder at most, and its successor removes that.
    assert_eq!(guest.tell("kill -KILL $agent; wait $agent; ls /var/tmp | wc -l").lines().last(), Some("1"));
    guest.tell("dunlin-agent run & agent=$!");
    let forgot = second.ping(1, LONG).unwrap_err();
    assert!(matches!(forgot, GuestError::Link { .. }), "{forgot}");
    drop(second);
    let third = AgentClient::new(guest.vm.agent()).unwrap();
    guest.vm.up(third.identify(LONG));
    assert_eq!(guest.tell("ls /var/tmp | wc -l"), "1");
    assert_eq!(guest.tell("kill -TERM $agent; wait $agent; echo $?").lines().last(), Some("0"));
    assert_eq!(guest.tell("ls /var/tmp | wc -l"), "0");
}
