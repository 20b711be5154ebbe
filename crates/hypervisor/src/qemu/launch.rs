//! QEMU's command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_record::{Accelerator, VmId};
use dunlin_testbed::{Host, Launch, Process};

use super::checkpoints::TRACE_POINT;
use crate::{HypervisorError, Result};

/// A QEMU program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QemuBinary {
    /// The program, by name or path.
    pub program: PathBuf,
    /// Its firmware's folder, where it is not installed (`-L`).
    pub firmware: Option<PathBuf>,
}

/// A VM as QEMU is to build it: equal on both sides of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuVmSpec {
    /// Its name.
    pub id: VmId,
    /// Configured memory.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Machine type.
    pub machine: String,
    /// CPU model; QEMU's own default if absent.
    pub cpu: Option<String>,
    /// `Kvm` or `Tcg`; never `Auto`.
    pub accelerator: Accelerator,
    /// Kernel image.
    pub kernel: PathBuf,
    /// Initial file system.
    pub initrd: PathBuf,
    /// Kernel command line.
    pub kernel_args: String,
    /// The tap on the host that its network card is behind.
    pub tap: String,
    /// Its network card's address.
    pub mac: String,
    /// Its disks.
    pub disks: Vec<QemuDisk>,
    /// More arguments.
    pub extra_args: Vec<String>,
}

/// A virtio disk: a raw file, which both hosts see or each has for itself. QEMU's locks on it keep all but the VM that runs
/// from writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuDisk {
    /// By which the guest knows it, at most 20 bytes (virtio, section 5.2.6).
    pub serial: String,
    /// Its size.
    pub size_mib: u32,
    /// The file.
    pub path: PathBuf,
    /// Whether to pass the host's page cache by, as for storage that several machines share.
    pub direct: bool,
}

/// In which state a QEMU begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It boots the guest.
    Boot,
    /// It waits for a guest's state.
    Incoming,
}

/// Where a QEMU's sockets and console are on its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoints {
    pub(super) qmp: PathBuf,
    pub(super) agent: PathBuf,
    pub(super) console: PathBuf,
}

/// The name of the virtio-serial port that the guest's agent looks for.
const AGENT_PORT: &str = "dunlin.agent";

/// Starts a QEMU on a host.
pub(super) fn start(
    host: &Arc<dyn Host>,
    binary: &QemuBinary,
    args: Vec<OsString>,
    stdout: PathBuf,
    stderr: PathBuf,
) -> Result<Process> {
    let launch = Launch { program: binary.program.clone(), args, stdout, stderr };
    host.launch(launch).map_err(|source| HypervisorError::Start {
        program: binary.program.display().to_string(),
        host: host.id().clone(),
        source,
    })
}

/// The words after the program's name.
pub(super) fn arguments(
    binary: &QemuBinary,
    spec: &QemuVmSpec,
    endpoints: &Endpoints,
    start: Start,
    trace: bool,
) -> Vec<OsString> {
    let mut args = Arguments::default();
    if let Some(firmware) = &binary.firmware {
        args.option("-L", firmware);
    }
    args.option("-name", format!("{},debug-threads=on", spec.id));
    args.words(&["-nodefaults", "-no-user-config", "-display", "none"]);
    args.option("-machine", &spec.machine);
    args.option("-accel", if spec.accelerator == Accelerator::Kvm { "kvm" } else { "tcg" });
    if let Some(cpu) = &spec.cpu {
        args.option("-cpu", cpu);
    }
    args.option("-smp", spec.vcpus.to_string());
    args.option("-m", format!("{}M", spec.memory_mib));
    args.option("-kernel", &spec.kernel);
    args.option("-initrd", &spec.initrd);
    args.option("-append", &spec.kernel_args);
    args.chardev("file,id=console,append=on", &endpoints.console);
    args.option("-serial", "chardev:console");
    args.chardev("socket,id=qmp,server=on,wait=off", &endpoints.qmp);
    args.option("-mon", "chardev=qmp,mode=control");
    args.chardev("socket,id=agent,server=on,wait=off", &endpoints.agent);
    args.option("-device", "virtio-serial-pci");
    args.option("-device", format!("virtserialport,chardev=agent,name={AGENT_PORT}"));
    args.option("-netdev", format!("tap,id=net0,ifname={},script=no,downscript=no", spec.tap));
    args.option("-device", format!("virtio-net-pci,netdev=net0,mac={},romfile=", spec.mac));
    spec.disks.iter().for_each(|disk| args.disk(disk));
    args.option("-msg", "timestamp=on");
    if trace {
        args.option("-trace", TRACE_POINT);
    }
    match start {
        // A guest that panics must end, not boot for ever. (QEMU 7.2 takes the load of a state for a reboot.)
        Start::Boot => args.words(&["-no-reboot"]),
        Start::Incoming => args.option("-incoming", "defer"),
    }
    args.0.extend(spec.extra_args.iter().map(OsString::from));
    args.0
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    fn chardev(&mut self, options: &str, path: &Path) {
        self.option("-chardev", format!("{options},path={}", value(path)));
    }

    /// A disk whose errors reach the guest: a VM that stops instead would look as if it were being moved.
    fn disk(&mut self, disk: &QemuDisk) {
        let QemuDisk { serial, path, direct, .. } = disk;
        let (direct, path) = (if *direct { "on" } else { "off" }, value(path));
        self.option(
            "-blockdev",
            format!(
                "driver=raw,node-name={serial},discard=unmap,cache.direct={direct},file.driver=file,\
                 file.locking=on,file.filename={path}"
            ),
        );
        self.option(
            "-device",
            format!("virtio-blk-pci,drive={serial},serial={serial},werror=report,rerror=report"),
        );
    }
}

/// A path as a value of an option: QEMU wants a comma in it doubled.
fn value(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incoming_vm_gets_the_same_machine_and_waits() {
        let binary = QemuBinary { program: "qemu".into(), firmware: Some("fw".into()) };
        let spec = QemuVmSpec {
            id: VmId::new("vm0"),
            memory_mib: 512,
            vcpus: 1,
            machine: "q35".into(),
            cpu: None,
            accelerator: Accelerator::Tcg,
            kernel: "vmlinuz".into(),
            initrd: "initrd".into(),
            kernel_args: "quiet".into(),
            tap: "tap-vm0".into(),
            mac: "52:54:00:00:00:01".into(),
            disks: vec![QemuDisk {
                serial: "data".into(),
                size_mib: 64,
                path: "/a,b/disk".into(),
                direct: true,
            }],
            extra_args: vec!["-device".into(), "virtio-balloon-pci".into()],
        };
        let endpoints = Endpoints { qmp: "a,b/qmp".into(), agent: "agent".into(), console: "console".into() };
        let line = |start| {
            let words = arguments(&binary, &spec, &endpoints, start, true);
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let boot = line(Start::Boot);
        assert!(boot.starts_with("-L fw -name vm0,debug-threads=on -nodefaults"), "{boot}");
        assert!(boot.contains("path=a,,b/qmp"), "{boot}");
        assert!(
            boot.contains("cache.direct=on,file.driver=file") && boot.contains("filename=/a,,b/disk"),
            "{boot}"
        );
        assert!(boot.contains("virtio-blk-pci,drive=data,serial=data"), "{boot}");
        let end = "-trace vmstate_downtime_checkpoint -no-reboot -device virtio-balloon-pci";
        assert!(boot.ends_with(end), "{boot}");
        assert_eq!(line(Start::Incoming).replace("-incoming defer", "-no-reboot"), boot);
    }
}
