//! A guest of a trial: started at the source, followed to the destination by its agent's client.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use dunlin_clock::{Deadline, now_ns};
use dunlin_guest::{AgentClient, GuestError, Neighbour, Network as GuestNetwork, kernel_args};
use dunlin_hypervisor::Vm;
use dunlin_hypervisor::qemu::{
    Birth, QemuVm, QemuVmSpec, Start, TemplateKey, restore_template, save_template,
};
use dunlin_migrate::Place;
use dunlin_record::{
    Achieved, Case, Event, EventKind, GuestStart, Journal, MemoryHeld, Moment, VmId, Workload,
};
use dunlin_testbed::{Host, MacAddress, Network};

use super::storage::Storage;
use super::streams::Streams;
use super::{Nest, event};
use crate::{BenchError, Result};

/// Limit of a boot until the agent answers: some 6 s under emulation, more where the machine is busy.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// How often a guest is booted for its template before it is given up.
const BOOT_ATTEMPTS: u32 = 3;
/// How long one question to a booting guest waits before it is seen whether it still makes sense.
const PATIENCE: Duration = Duration::from_secs(1);
/// Limit of an agent's answer once the guest runs.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Limit of starting or ending a workload: all its memory is touched or checked.
const WORKLOAD_LIMIT: Duration = Duration::from_secs(60);

/// A guest of a trial.
pub(crate) struct Guest {
    pub(crate) id: VmId,
    pub(crate) spec: QemuVmSpec,
    pub(crate) source: QemuVm,
    pub(crate) address: Ipv4Addr,
    agent: AgentClient,
    /// Open as long as a hypervisor may open it.
    storage: Storage,
    // Last, so that the taps go after the VM.
    _taps: [Tap; 2],
}

impl Guest {
    /// Starts a guest at the source: from its template, which is made first if need be, or by booting it.
    pub(crate) fn start(nest: Nest<'_>, number: u32, journal: &mut Journal) -> Result<Self> {
        let Nest { case, plan, world, .. } = nest;
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        let id = VmId::new(format!("vm{number}"));
        let mac = MacAddress::new([0x52, 0x54, 0x00, 0xd0, 0x00, number]);
        let storage = Storage::make(&case.vm, nest.logs)?;
        let spec = QemuVmSpec {
            id: id.clone(),
            memory_mib: case.vm.memory_mib,
            vcpus: case.vm.vcpus,
            machine: case.vm.machine.clone(),
            cpu: case.vm.cpu.clone(),
            accelerator: plan.accelerator,
            kernel: plan.image.kernel.clone(),
            initrd: plan.image.initramfs.clone(),
            kernel_args: kernel_args(None, &case.vm.kernel_args),
            tap: format!("tap-{id}"),
            mac: mac.to_string(),
            disks: storage.devices(Place::Source),
            extra_args: case.qemu.extra_args.clone(),
        };
        let taps = [Tap::add(&plan.source.host, &spec.tap)?, Tap::add(&plan.destination.host, &spec.tap)?];
        let lab = world.lab()?;
        let (address, prefix) = lab.vm_address(number);
        lab.introduce_vm(address, mac)?;

        let (source, agent) =
            if case.vm.fresh { boot(nest, &spec, journal)? } else { restore(nest, &spec, journal)? };
        agent.refresh(ANSWER_LIMIT)?;
        let bench = Neighbour {
            address: lab.bench_address(Network::Service),
            mac: lab.bench_mac(Network::Service).octets(),
        };
        agent.configure_network(GuestNetwork { address, prefix, neighbours: vec![bench] }, ANSWER_LIMIT)?;
        if storage.has_swap() {
            agent.swap_on(ANSWER_LIMIT)?;
        }
        if storage.has_disk() {
            agent.mount_disk(ANSWER_LIMIT)?;
        }
        Ok(Self { id, spec, source, address, agent, storage, _taps: taps })
    }

    /// The same VM as the destination's hypervisor is to build it.
    pub(super) fn spec_there(&self) -> QemuVmSpec {
        QemuVmSpec { disks: self.storage.devices(Place::Destination), ..self.spec.clone() }
    }

    /// Records what the disks hold that are to move with it, if any are.
    pub(super) fn tell_storage(&self, journal: &mut Journal) -> Result<()> {
        let Some(held) = self.storage.held() else { return Ok(()) };
        Ok(journal.keep(&event(Some(self.source.host()), Some(&self.id), EventKind::StorageHeld(held)))?)
    }

    /// Starts all that the workload is made of, one after the other.
    pub(super) fn start_workload(&self, workload: &Workload, streams: &Streams) -> Result<()> {
        for (job, part) in (0..).zip(workload.parts()) {
            self.agent.start_workload(job, part, streams.peer_of(job), WORKLOAD_LIMIT)?;
        }
        Ok(())
    }

    /// Ends it all at once, so that no part has the guest for itself, and says what each did. What died has its last
    /// words.
    pub(crate) fn stop_workload(&self, workload: &Workload) -> Result<Achieved> {
        let mut parts: Vec<_> = workload.parts().iter().map(|_| Ok(Achieved::default())).collect();
        thread::scope(|scope| {
            for (job, part) in (0..).zip(&mut parts) {
                scope.spawn(move || *part = self.agent.stop_workload(job, WORKLOAD_LIMIT));
            }
        });
        let told = parts.into_iter().map(|part| match part {
            Err(GuestError::Refused { what }) => {
                Ok(Achieved { last_words: Some(what), ..Achieved::default() })
            }
            part => part,
        });
        Ok(Achieved::of_parts(told.collect::<Result<_, _>>()?))
    }

    /// Talks to the agent where the VM runs now.
    pub(crate) fn follow(&self, destination: &QemuVm) -> Result<()> {
        Ok(self.agent.reattach(destination.agent_stream()?)?)
    }

    /// Records what the guest's CPUs have done until now.
    pub(crate) fn tell_cpu(&self, journal: &mut Journal) -> Result<()> {
        let asked_ns = now_ns();
        let done = self.agent.cpu(ANSWER_LIMIT)?;
        let kind = EventKind::GuestCpu { busy_ns: done.busy_ns, idle_ns: done.idle_ns };
        // It was read somewhere between the question and the answer.
        let t_ns = asked_ns + (now_ns() - asked_ns) / 2;
        Ok(journal.keep(&Event { t_ns, host: None, vm: Some(self.id.clone()), kind })?)
    }

    /// Records what memory and disk the guest holds, as seen from inside and from its host.
    pub(crate) fn tell_held(
        &self,
        at: &QemuVm,
        moment: Moment,
        case: &Case,
        journal: &mut Journal,
    ) -> Result<()> {
        let inside = self.agent.memory(ANSWER_LIMIT)?;
        let bytes = |value: u64| i64::try_from(value).ok();
        let swapped = inside.swap_total_bytes.saturating_sub(inside.swap_free_bytes);
        let dirtied = case.workload.as_ref().and_then(Workload::dirtied_mib).map(mib);
        let held = MemoryHeld {
            configured_bytes: Some(mib(self.spec.memory_mib)),
            allocated_bytes: at.allocated_bytes(),
            used_bytes: bytes(inside.total_bytes.saturating_sub(inside.free_bytes)),
            requested_bytes: bytes(inside.committed_bytes),
            // Without a workload nothing is rewritten on purpose; what the guest's system dirties is not known.
            dirtied_bytes: dirtied,
            swapped_bytes: self.storage.has_swap().then(|| bytes(swapped)).flatten(),
        };
        let mut tell = |kind| journal.keep(&event(Some(at.host()), Some(&self.id), kind));
        tell(EventKind::MemoryHeld { moment, held })?;
        if self.storage.has_disk() {
            let used_bytes = self.agent.disk(ANSWER_LIMIT)?.used_bytes;
            let place = if at.host() == self.source.host() { Place::Source } else { Place::Destination };
            if let Some(held) = self.storage.disk_held(place, used_bytes) {
                tell(EventKind::DiskHeld { moment, held })?;
            }
        }
        Ok(())
    }
}

/// Restores the template of a guest, which is made first if it is not there.
fn restore(nest: Nest<'_>, spec: &QemuVmSpec, journal: &mut Journal) -> Result<(QemuVm, AgentClient)> {
    let side = &nest.plan.source;
    let key = TemplateKey::of(&side.binary, &side.features, spec)?;
    let path = key.path(&nest.world.cache().join("templates"));
    let was_there = path.exists();
    if !was_there {
        make_template(nest, spec, &path)?;
    }
    let started_ns = now_ns();
    let restored = (|| {
        let mut vm = launch(nest, spec, Start::Incoming, journal.sender())?;
        restore_template(&mut vm, &side.features, &path)?;
        let agent = AgentClient::new(vm.agent_stream()?)?;
        agent.identify(ANSWER_LIMIT)?;
        Ok::<_, BenchError>((vm, agent))
    })();
    match restored {
        Ok(up) => {
            ready(GuestStart::Restored, started_ns, &up.0, journal)?;
            Ok(up)
        }
        // A template that does not come up is worth nothing; a fresh boot is.
        Err(_) if was_there => {
            let _ = fs::remove_file(&path);
            boot(nest, spec, journal)
        }
        Err(error) => Err(error),
    }
}

/// Boots a guest and saves its state once its agent answers. What happens is not part of the trial's record.
fn make_template(nest: Nest<'_>, spec: &QemuVmSpec, path: &std::path::Path) -> Result<()> {
    let aside = Journal::discarding();
    let mut attempt = 1;
    let mut vm = loop {
        match boot_aside(nest, spec, &aside) {
            // QEMU 7.2's emulation now and then trips the kernel while it boots; what is saved has come up well.
            Err(BenchError::GuestDown { .. }) if attempt < BOOT_ATTEMPTS => attempt += 1,
            up => break up?,
        }
    };
    Ok(save_template(&mut vm, &nest.plan.source.features, path)?)
}

/// Boots a guest until its agent answers. The agent's session ends here: out of the template the guest comes back to a
/// client it does not know.
fn boot_aside(nest: Nest<'_>, spec: &QemuVmSpec, aside: &Journal) -> Result<QemuVm> {
    let mut vm = launch(nest, spec, Start::Boot, aside.sender())?;
    await_agent(nest, &mut vm)?;
    Ok(vm)
}

fn boot(nest: Nest<'_>, spec: &QemuVmSpec, journal: &mut Journal) -> Result<(QemuVm, AgentClient)> {
    let started_ns = now_ns();
    let mut vm = launch(nest, spec, Start::Boot, journal.sender())?;
    let agent = await_agent(nest, &mut vm)?;
    ready(GuestStart::Booted, started_ns, &vm, journal)?;
    Ok((vm, agent))
}

fn launch(
    nest: Nest<'_>,
    spec: &QemuVmSpec,
    start: Start,
    events: std::sync::mpsc::Sender<Event>,
) -> Result<QemuVm> {
    let side = &nest.plan.source;
    let (host, binary, features) = (&side.host, &side.binary, &side.features);
    Ok(QemuVm::launch(Birth { host, binary, features, spec, start, logs: nest.logs, events })?)
}

/// Waits for a booting guest, but not for one whose hypervisor has ended, and not for one nobody wants any more.
fn await_agent(nest: Nest<'_>, vm: &mut QemuVm) -> Result<AgentClient> {
    let agent = AgentClient::new(vm.agent_stream()?)?;
    let deadline = Deadline::after(BOOT_LIMIT);
    loop {
        match agent.identify(deadline.step(PATIENCE)) {
            Ok(_) => return Ok(agent),
            Err(GuestError::Timeout { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // A guest that panics ends its hypervisor.
        vm.check_alive().map_err(|error| guest_down(vm, error.to_string()))?;
        if deadline.passed() {
            return Err(guest_down(
                vm,
                format!("its agent did not answer within {} s", BOOT_LIMIT.as_secs()),
            ));
        }
        if nest.cancel.is_cancelled() {
            return Err(BenchError::Cancelled);
        }
    }
}

fn guest_down(vm: &QemuVm, why: String) -> BenchError {
    BenchError::GuestDown {
        vm: vm.id().to_string(),
        host: vm.host().to_string(),
        why,
        console: vm.console_tail(),
    }
}

fn ready(start: GuestStart, started_ns: i64, vm: &QemuVm, journal: &mut Journal) -> Result<()> {
    let took_ms = (now_ns() - started_ns) as f64 / 1e6;
    Ok(journal.keep(&event(Some(vm.host()), Some(vm.id()), EventKind::GuestReady { start, took_ms }))?)
}

fn mib(mib: u32) -> i64 {
    i64::from(mib) << 20
}

/// A tap that goes with the guest.
struct Tap {
    host: Arc<dyn Host>,
    name: String,
}

impl Tap {
    fn add(host: &Arc<dyn Host>, name: &str) -> Result<Self> {
        host.add_tap(name)?;
        Ok(Self { host: Arc::clone(host), name: name.to_owned() })
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // It goes with its namespace at the latest.
        let _ = self.host.remove_tap(&self.name);
    }
}
