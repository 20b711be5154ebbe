//! QEMU's command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_testbed::{Host, Launch, Process};

use super::blockdev;
use super::checkpoints::TRACE_POINT;
use crate::accelerator::Accelerator;
use crate::{HypervisorError, Result, VmDisk, VmSpec};

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
pub(super) struct Machine {
    /// What all products have.
    pub(super) spec: VmSpec,
    /// Never `Auto`.
    pub(super) accelerator: Accelerator,
    /// More arguments.
    pub(super) extra_args: Vec<String>,
}

/// In which state a QEMU begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
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

/// The machine type of a VM that names none.
pub(super) const DEFAULT_MACHINE: &str = "q35";

/// The program where a scenario names none.
pub(super) const DEFAULT_PROGRAM: &str = "qemu-system-x86_64";

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
        mend: mend(&binary.program),
        source: Box::new(source),
    })
}

/// What may help where a program cannot be started: a package only where the user named none of their own.
fn mend(program: &Path) -> String {
    let name = program.display();
    if program == Path::new(DEFAULT_PROGRAM) {
        format!("install it (on Debian: apt-get install qemu-system-x86), or name your {name} by qemu.binary")
    } else {
        format!("qemu.binary or qemu.destination_binary names {name}: is it there, and may it be run?")
    }
}

impl Machine {
    /// The same with the guest's kernel and initial file system where they lie on a host.
    pub(super) fn on(&self, host: &dyn Host) -> Result<Self> {
        let mut there = self.clone();
        for file in [&mut there.spec.kernel, &mut there.spec.initrd] {
            // A VM may have neither.
            if !file.as_os_str().is_empty() {
                *file = host.place(file)?;
            }
        }
        Ok(there)
    }
}

/// The words after the program's name.
pub(super) fn arguments(
    binary: &QemuBinary,
    machine: &Machine,
    endpoints: &Endpoints,
    start: Start,
    trace: bool,
) -> Vec<OsString> {
    let Machine { spec, accelerator, extra_args } = machine;
    let mut args = Arguments::default();
    if let Some(firmware) = &binary.firmware {
        args.option("-L", firmware);
    }
    args.option("-name", format!("{},debug-threads=on", spec.id));
    args.words(&["-nodefaults", "-no-user-config", "-display", "none"]);
    args.option("-machine", spec.machine.as_deref().unwrap_or(DEFAULT_MACHINE));
    args.option("-accel", accelerator.name());
    if let Some(cpu) = &spec.cpu {
        args.option("-cpu", cpu);
    }
    args.option("-smp", spec.vcpus.to_string());
    args.option("-m", format!("{}M", spec.memory_mib));
    // Without a kernel it is the firmware that boots something.
    if !spec.kernel.as_os_str().is_empty() {
        args.option("-kernel", &spec.kernel);
        args.option("-initrd", &spec.initrd);
        args.option("-append", &spec.kernel_args);
    }
    args.chardev("file,id=console,append=on", &endpoints.console);
    args.option("-serial", "chardev:console");
    args.chardev("socket,id=qmp,server=on,wait=off", &endpoints.qmp);
    args.option("-mon", "chardev=qmp,mode=control");
    args.chardev("socket,id=agent,server=on,wait=off", &endpoints.agent);
    args.option("-device", "virtio-serial-pci");
    args.option("-device", format!("virtserialport,chardev=agent,name={AGENT_PORT}"));
    if let Some(tap) = &spec.tap {
        args.option("-netdev", format!("tap,id=net0,ifname={tap},script=no,downscript=no"));
        args.option("-device", format!("virtio-net-pci,netdev=net0,mac={},romfile=", spec.mac));
    }
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
    args.0.extend(extra_args.iter().map(OsString::from));
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
    fn disk(&mut self, disk: &VmDisk) {
        let serial = &disk.serial;
        self.option("-blockdev", blockdev::node(disk, serial).to_string());
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
    use dunlin_record::ImageFormat;
    use dunlin_testbed::DiskPlace;

    use super::*;

    #[test]
    fn a_program_that_the_user_named_is_not_sought_in_a_package() {
        assert!(mend(Path::new(DEFAULT_PROGRAM)).contains("apt-get"));
        for own in ["/opt/qemu/bin/qemu-system-x86_64", "qemu-9"] {
            let told = mend(Path::new(own));
            assert!(told.contains(own) && !told.contains("apt"), "{told}");
        }
    }

    #[test]
    fn an_incoming_vm_gets_the_same_machine_and_waits() {
        let binary = QemuBinary { program: "qemu".into(), firmware: Some("fw".into()) };
        let spec = VmSpec {
            id: dunlin_record::VmId::new("vm0"),
            memory_mib: 512,
            vcpus: 1,
            machine: None,
            cpu: None,
            kernel: "vmlinuz".into(),
            initrd: "initrd".into(),
            kernel_args: "quiet".into(),
            tap: Some("tap-vm0".into()),
            mac: "52:54:00:00:00:01".into(),
            disks: vec![VmDisk {
                serial: "data".into(),
                size_mib: 64,
                format: ImageFormat::Raw,
                place: DiskPlace::File("/a,b/disk".into()),
                backing: None,
                direct: true,
            }],
        };
        let machine = Machine {
            spec,
            accelerator: Accelerator::Tcg,
            extra_args: vec!["-device".into(), "virtio-balloon-pci".into()],
        };
        let endpoints = Endpoints { qmp: "a,b/qmp".into(), agent: "agent".into(), console: "console".into() };
        let line = |start| {
            let words = arguments(&binary, &machine, &endpoints, start, true);
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let boot = line(Start::Boot);
        assert!(boot.starts_with("-L fw -name vm0,debug-threads=on -nodefaults"), "{boot}");
        assert!(boot.contains("path=a,,b/qmp"), "{boot}");
        assert!(boot.contains(r#""filename":"/a,b/disk""#), "{boot}");
        assert!(boot.contains("virtio-blk-pci,drive=data,serial=data"), "{boot}");
        let end = "-trace vmstate_downtime_checkpoint -no-reboot -device virtio-balloon-pci";
        assert!(boot.ends_with(end), "{boot}");
        assert_eq!(line(Start::Incoming).replace("-incoming defer", "-no-reboot"), boot);
    }
}
