//! Two nodes with libvirt, the domains on them as plain virsh makes them, and what is to be seen of both.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_guest::kernel_args;
use dunlin_ssh_nodes::{Client, Domain, LibvirtNodes, SshNodes};

pub(crate) const HOSTS: [&str; 2] = ["host-a", "host-b"];
/// Where the domains answer.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
pub(crate) const MAC: &str = "52:54:00:4d:00:64";
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// How long what goes by itself may take to be gone: a helper that hears nothing stays some 10 s.
pub(crate) const GONE_LIMIT: Duration = Duration::from_secs(30);

/// The nodes, and a guest's files where both see them.
pub(crate) struct Ground<'a> {
    pub(crate) nodes: &'a SshNodes,
    pub(crate) libvirt: &'a LibvirtNodes,
    pub(crate) inventory: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
}

/// A domain, by what virsh is told of it.
#[derive(Debug, Clone)]
pub(crate) struct Vm {
    pub(crate) name: String,
    pub(crate) uuid: String,
    /// More devices.
    pub(crate) devices: String,
    pub(crate) memory_mib: u32,
}

impl Vm {
    /// One of this name, with a number that makes its UUID.
    pub(crate) fn new(name: &str, number: u32) -> Self {
        let uuid = format!("5d3c1f0e-6a58-4a0e-9f57-0d1f2f1c{number:04x}");
        Self { name: name.into(), uuid, devices: String::new(), memory_mib: 128 }
    }
}

impl<'a> Ground<'a> {
    pub(crate) fn new(nodes: &'a SshNodes, libvirt: &'a LibvirtNodes, guest: &[String]) -> Self {
        let inventory = nodes.folder().join("hosts.toml");
        fs::write(&inventory, nodes.inventory_with_driver(Client::Right, "libvirt")).unwrap();
        // Whatever folder the cache is in, nodes see this one.
        let [kernel, initrd] = [(&guest[0], "kernel"), (&guest[1], "initrd")].map(|(file, name)| {
            let there = libvirt.shared().join(name);
            fs::copy(file, &there).unwrap();
            there
        });
        Self { nodes, libvirt, inventory, kernel, initrd }
    }

    /// What virsh says on a node, which must succeed.
    pub(crate) fn said(&self, at: &str, args: &[&str]) -> String {
        self.libvirt.virsh_said(at, args).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn xml(&self, vm: &Vm) -> String {
        let domain = Domain {
            name: &vm.name,
            uuid: &vm.uuid,
            kernel: &self.kernel,
            initrd: &self.initrd,
            cmdline: &kernel_args(Some((ADDRESS, 24)), ""),
            memory_mib: vm.memory_mib,
            bridge: Some(("service", MAC)),
            console: &self.console(vm),
            devices: &vm.devices,
        };
        domain.xml()
    }

    pub(crate) fn console(&self, vm: &Vm) -> PathBuf {
        self.libvirt.shared().join(format!("{}.console", vm.uuid))
    }

    /// A file that both nodes see.
    pub(crate) fn write_shared(&self, name: &str, text: &str) -> PathBuf {
        let path = self.libvirt.shared().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// `virsh define` on a node.
    pub(crate) fn define(&self, at: &str, vm: &Vm) {
        self.define_xml(at, &self.xml(vm));
    }

    pub(crate) fn define_xml(&self, at: &str, xml: &str) {
        let file = self.write_shared("domain.xml", xml);
        self.said(at, &["define", &file.display().to_string()]);
    }

    /// Lets it run at the source, from wherever it is, and waits until its guest answers.
    pub(crate) fn run_at_source(&self, vm: &Vm) {
        for host in HOSTS {
            // It may not be there.
            let _ = self.libvirt.virsh(host, &["destroy", &vm.uuid]);
        }
        let _ = fs::remove_file(self.console(vm));
        self.said("host-a", &["start", &vm.uuid]);
        self.await_boot(vm);
    }

    /// Ends it and takes away all definitions of it, on both nodes.
    pub(crate) fn forget(&self, vm: &Vm) {
        for host in HOSTS {
            // It may not run there, nor be defined.
            let _ = self.libvirt.virsh(host, &["destroy", &vm.uuid]);
            let _ = self.libvirt.virsh(host, &["undefine", &vm.uuid]);
            assert_eq!(self.state(host, vm), None);
        }
    }

    /// Waits until its guest answers. It has no channel, so that it says nothing when it is up.
    pub(crate) fn await_boot(&self, vm: &Vm) {
        let said = || fs::read(self.console(vm)).map(|said| String::from_utf8_lossy(&said).into_owned());
        assert!(self.answers_within(BOOT_LIMIT), "{:?}\n{}", said(), self.libvirt.log("host-a").unwrap());
    }

    /// Whether the guest answers the bench over the service network.
    pub(crate) fn answers(&self) -> bool {
        self.answers_within(Duration::from_secs(10))
    }

    fn answers_within(&self, limit: Duration) -> bool {
        let mut ping = Command::new("ping");
        ping.args(["-c", "1", "-W", "1", &ADDRESS.to_string()]).stdin(Stdio::null());
        let deadline = Deadline::after(limit);
        loop {
            if ping.output().unwrap().status.success() {
                return true;
            }
            if deadline.passed() {
                return false;
            }
        }
    }

    /// What a node's libvirt says of a domain; nothing where it knows none.
    pub(crate) fn state(&self, at: &str, vm: &Vm) -> Option<String> {
        let output = self.libvirt.virsh(at, &["domstate", &vm.uuid]).unwrap();
        output.success.then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// How it is defined on a node; nothing where it is not.
    pub(crate) fn definition(&self, at: &str, vm: &Vm) -> Option<String> {
        let all = self.said(at, &["list", "--all", "--persistent", "--uuid"]);
        all.lines()
            .any(|line| line.trim() == vm.uuid)
            .then(|| self.said(at, &["dumpxml", &vm.uuid, "--inactive"]))
    }

    /// What of a domain's XML as it runs is its owner's, and not numbered by libvirt.
    pub(crate) fn live(&self, at: &str, vm: &Vm) -> String {
        let xml = self.said(at, &["dumpxml", &vm.uuid]);
        let is_numbered = |line: &str| {
            let line = line.trim();
            line.starts_with("<alias name=")
                || line.starts_with("<target dev='vnet")
                || line.starts_with("<domain ")
        };
        xml.lines().filter(|line| !is_numbered(line)).collect::<Vec<_>>().join("\n")
    }

    /// The hosts on which a process runs the domain.
    pub(crate) fn processes(&self, vm: &Vm) -> Vec<&'static str> {
        let on = |host: &&'static str| {
            let all = self.libvirt.qemus(host).unwrap();
            all.iter().filter(|qemu| qemu.uuid == vm.uuid).map(|_| *host).collect::<Vec<_>>()
        };
        HOSTS.iter().flat_map(on).collect()
    }

    /// What of ours is on the nodes: processes, folders, devices.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for host in HOSTS {
            let script = "ls -d /var/tmp/dunlin-* 2>/dev/null; ls /sys/class/net | grep '^tap-'; true";
            let said = self.nodes.sh(host, script).unwrap();
            left.extend(said.lines().map(|line| format!("{host}: {line}")));
        }
        let bench = std::process::id();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse::<u32>().ok()) else {
                continue;
            };
            let words = words(pid);
            let is_helper = words.get(1).is_some_and(|role| role == "host" || role == "measure")
                && words[0].contains("dunlin");
            let is_reader = words.iter().any(|word| word == "virsh" || word == "/usr/bin/virsh")
                && words.iter().any(|word| word.contains("event") || word == "migrate");
            if pid != bench && (is_helper || is_reader) {
                left.push(words.join(" "));
            }
        }
        left
    }

    /// Waits until nothing of ours is left; what is.
    pub(crate) fn gone(&self) -> Vec<String> {
        let deadline = Deadline::after(GONE_LIMIT);
        loop {
            let left = self.left();
            if left.is_empty() || deadline.passed() {
                return left;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// One copy of the domain runs, at the source, where it is defined as before, and nowhere else.
    pub(crate) fn is_home(&self, vm: &Vm, definition: &Option<String>) {
        assert_eq!(self.state("host-a", vm).as_deref(), Some("running"));
        let deadline = Deadline::after(Duration::from_secs(5));
        while self.processes(vm) != ["host-a"] {
            assert!(!deadline.passed(), "{:?}", self.processes(vm));
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(&self.definition("host-a", vm), definition, "its definition");
        assert_eq!(self.definition("host-b", vm), None, "it is defined at the destination");
        assert_eq!(self.state("host-b", vm), None, "the destination knows it");
        assert!(self.answers(), "its guest does not answer");
    }
}

/// A process's words; none if it is gone.
pub(crate) fn words(pid: u32) -> Vec<String> {
    let bytes = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}
