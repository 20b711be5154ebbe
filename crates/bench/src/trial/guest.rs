//! A guest of a trial: started at the source, followed to the destination by its agent's client.

mod again;
mod held;

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use dunlin_clock::{Cancel, Deadline, now_ns};
use dunlin_guest::{AgentClient, GuestError, Neighbour, Network as GuestNetwork, kernel_args};
use dunlin_hypervisor::{Hypervisor, Maker, Side, Vm, VmDisk, VmOrder, VmSpec};
use dunlin_record::{
    Achieved, Blocks, Event, EventKind, ExistingVm, GuestStart, Journal, StorageFault, VmId, Workload,
};
use dunlin_testbed::{Host, MacAddress, Network, TestbedError};

use super::served::Befalling;
use super::storage::Storage;
use super::streams::Streams;
use super::{TrialContext, event};
use crate::existing::{FoundVm, agent_in};
use crate::{BenchError, Result};

/// Limit of a boot until the agent answers: some 6 s under emulation, more where the machine is busy.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// How often a guest is booted for its template before it is given up.
const BOOT_ATTEMPTS: u32 = 3;
/// Limit of a hypervisor to let its guest run: it is asked to when it starts.
const HALTED_LIMIT: Duration = Duration::from_secs(5);
/// How long one question to a booting guest waits before it is seen whether it still makes sense.
const PATIENCE: Duration = Duration::from_secs(1);
/// Limit of an agent's answer once the guest runs.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Limit of starting or ending a workload: all its memory is touched or checked.
const WORKLOAD_LIMIT: Duration = Duration::from_secs(60);

/// A guest of a trial: made for it, or found.
pub(crate) struct Guest {
    pub(crate) id: VmId,
    pub(crate) source: Arc<dyn Vm>,
    /// Absent where it is not known: then nothing probes it.
    pub(crate) address: Option<Ipv4Addr>,
    /// Absent in VMs that are not our guests.
    agent: Option<AgentClient>,
    /// What we made of it, and end; absent where it was found.
    made: Option<Made>,
    /// What is to be kept of it; absent where we made it.
    pub(super) found: Option<Found>,
    /// The seal with which it left its disk when it was shut down last.
    seal: Option<u64>,
}

/// What is to be kept of a VM that was found.
pub(super) struct Found {
    pub(super) name: String,
    /// Its owner has paused it, and nobody else lets it run.
    pub(super) paused: bool,
    /// Who told its address.
    told_by: Option<String>,
}

/// What belongs to a guest that was made for a trial.
struct Made {
    /// As it is at the source.
    spec: VmSpec,
    /// Its address and its network's prefix length, where they were given.
    given: Option<(Ipv4Addr, u8)>,
    /// Open as long as a hypervisor may open it.
    storage: Storage,
    // Last, so that the taps go after the VM.
    _taps: Vec<Tap>,
}

impl Guest {
    /// Starts a guest at the source: from its template, which is made first if need be, or by booting it. Or finds the VM
    /// that is to be moved.
    pub(crate) fn start(context: TrialContext<'_>, number: u32, journal: &mut Journal) -> Result<Self> {
        match usize::try_from(number).ok().and_then(|number| context.plan.existing.get(number)) {
            Some(existing) => Self::find(context, existing, journal),
            None => Self::make(context, number, journal),
        }
    }

    fn find(context: TrialContext<'_>, existing: &ExistingVm, journal: &mut Journal) -> Result<Self> {
        let testbed = context.world.testbed()?;
        let ends = [&*context.plan.source, &*context.plan.destination];
        let found = FoundVm::look_for(ends, existing, testbed, journal.sender())?;
        let source = Arc::clone(&found.vm);
        journal.keep(&event(Some(source.host()), Some(source.id()), found.event()))?;
        // Who is paused answers nothing.
        let agent = if found.paused { None } else { agent_of_found(&*source, journal)? };
        Ok(Self {
            id: source.id().clone(),
            source,
            address: found.address.filter(|_| !found.paused),
            agent,
            made: None,
            found: Some(Found { name: existing.name.clone(), paused: found.paused, told_by: found.told_by }),
            seal: None,
        })
    }

    fn make(context: TrialContext<'_>, number: u32, journal: &mut Journal) -> Result<Self> {
        let TrialContext { case, plan, world, .. } = context;
        let maker = maker(context)?;
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        let id = VmId::new(format!("vm{number}"));
        let mac = MacAddress::new([0x52, 0x54, 0x00, 0xd0, 0x00, number]);
        let storage = Storage::make(case, &id, context.logs, world.testbed()?)?;
        let hosts = [plan.source.host(), plan.destination.host()];
        let taps = hosts.map(|host| Tap::add(host, &format!("tap-{id}")));
        let taps: Vec<Tap> = taps.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let (kernel, initrd) = match &plan.image {
            Some(image) => (image.kernel.clone(), image.initramfs.clone()),
            None => Default::default(),
        };
        let spec = VmSpec {
            id: id.clone(),
            memory_mib: case.vm.memory_mib,
            vcpus: case.vm.vcpus,
            machine: Some(case.vm.machine.clone()).filter(|machine| !machine.is_empty()),
            cpu: case.vm.cpu.clone(),
            kernel,
            initrd,
            kernel_args: kernel_args(None, &case.vm.kernel_args),
            tap: taps.first().map(|tap| tap.name.clone()),
            mac: mac.to_string(),
            disks: storage.devices(Side::Source),
        };
        let given = world.testbed()?.vm_address(number);
        if let Some((address, _)) = given {
            world.testbed()?.introduce_vm(address, mac)?;
        }
        let (source, agent) = if plan.image.is_none() {
            (maker.boot(&order(context, &spec, journal.sender()))?, None)
        } else if case.vm.fresh {
            boot(context, maker, &spec, journal).map(|(vm, agent)| (vm, Some(agent)))?
        } else {
            restore(context, maker, &spec, journal).map(|(vm, agent)| (vm, Some(agent)))?
        };
        let made = Some(Made { spec, given, storage, _taps: taps });
        let address = given.map(|(address, _)| address);
        let guest = Self { id, source, address, agent, made, found: None, seal: None };
        guest.settle_in(context)?;
        Ok(guest)
    }

    /// Gives a guest that has just come up its address and its disks.
    fn settle_in(&self, context: TrialContext<'_>) -> Result<()> {
        let (Some(agent), Some(made)) = (&self.agent, &self.made) else { return Ok(()) };
        agent.refresh(ANSWER_LIMIT)?;
        let testbed = context.world.testbed()?;
        if let Some((address, prefix)) = made.given {
            let bench = testbed.bench_address(Network::Service).zip(testbed.bench_mac(Network::Service));
            let neighbours = bench.map(|(address, mac)| Neighbour { address, mac: mac.octets() });
            let network = GuestNetwork { address, prefix, neighbours: neighbours.into_iter().collect() };
            agent.configure_network(network, ANSWER_LIMIT)?;
        }
        if made.storage.has_swap() {
            agent.swap_on(ANSWER_LIMIT)?;
        }
        if made.storage.has_disk() {
            agent.mount_disk(ANSWER_LIMIT)?;
        }
        Ok(())
    }

    /// Whether we made it, and so end it.
    pub(crate) fn is_ours(&self) -> bool {
        self.made.is_some()
    }

    /// Whether its owner has paused it.
    pub(super) fn is_paused(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.paused)
    }

    /// Where a VM that was found is asked, for people; empty where its address is ours.
    pub(super) fn asked(&self) -> String {
        let told_by = self.found.as_ref().and_then(|found| found.told_by.as_deref());
        let said = |(address, told_by)| {
            format!(
                ": it is asked at {address} (told by {told_by}); another address is named by --vm-address"
            )
        };
        self.address.zip(told_by).map(said).unwrap_or_default()
    }

    /// The device on both hosts through which its frames pass; absent where there is none to be seen.
    pub(crate) fn tap(&self) -> Option<&str> {
        self.source.tap()
    }

    /// Its disks as the destination's hypervisor is to have them.
    pub(super) fn disks_there(&self) -> Vec<VmDisk> {
        self.made.as_ref().map(|made| made.storage.devices(Side::Destination)).unwrap_or_default()
    }

    /// Records what the disks hold that are to move with it, if any are.
    pub(super) fn tell_storage(&self, blocks: Blocks, journal: &mut Journal) -> Result<()> {
        let held = self.made.as_ref().and_then(|made| made.storage.held(blocks));
        let Some(held) = held else { return Ok(()) };
        Ok(journal.keep(&event(Some(self.source.host()), Some(&self.id), EventKind::StorageHeld(held)))?)
    }

    /// Has something befall the server of its disks, if it has one.
    pub(super) fn befall(
        &self,
        fault: Option<&StorageFault>,
        events: Sender<Event>,
        cancel: &Cancel,
    ) -> Option<Befalling> {
        let service = self.made.as_ref()?.storage.service()?;
        Some(Befalling::begin(fault?, service, events, cancel))
    }

    /// Fails where the server of its disks has ended, if it has one.
    pub(super) fn check_server(&self) -> Result<()> {
        let service = self.made.as_ref().and_then(|made| made.storage.service());
        Ok(service.map_or(Ok(()), |service| service.check())?)
    }

    /// Starts all that the workload is made of, one after the other.
    pub(super) fn start_workload(&self, workload: &Workload, streams: &Streams) -> Result<()> {
        let agent = self.agent.as_ref().ok_or_else(no_agent)?;
        for (job, part) in (0..).zip(workload.parts()) {
            agent.start_workload(job, part, streams.peer_of(job), WORKLOAD_LIMIT)?;
        }
        Ok(())
    }

    /// Ends it all at once, so that no part has the guest for itself, and says what each did. What died has its last
    /// words.
    pub(crate) fn stop_workload(&self, workload: &Workload) -> Result<Achieved> {
        let agent = self.agent.as_ref().ok_or_else(no_agent)?;
        let mut parts: Vec<_> = workload.parts().iter().map(|_| Ok(Achieved::default())).collect();
        thread::scope(|scope| {
            for (job, part) in (0..).zip(&mut parts) {
                scope.spawn(move || *part = agent.stop_workload(job, WORKLOAD_LIMIT));
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
    pub(crate) fn follow(&self, there: &dyn Vm) -> Result<()> {
        if let Some(agent) = &self.agent
            && let Some(stream) = there.agent_stream()?
        {
            agent.reattach(stream)?;
        }
        Ok(())
    }

    /// Records what the guest's CPUs have done until now.
    pub(crate) fn tell_cpu(&self, journal: &mut Journal) -> Result<()> {
        let Some(agent) = &self.agent else { return Ok(()) };
        let asked_ns = now_ns();
        let done = agent.cpu(ANSWER_LIMIT)?;
        let kind = EventKind::GuestCpu { busy_ns: done.busy_ns, idle_ns: done.idle_ns };
        // It was read somewhere between the question and the answer.
        let t_ns = asked_ns + (now_ns() - asked_ns) / 2;
        Ok(journal.keep(&Event { t_ns, host: None, vm: Some(self.id.clone()), kind })?)
    }

    /// Records what the guest's clocks say now.
    pub(crate) fn tell_clocks(&self, journal: &mut Journal) -> Result<()> {
        let Some(agent) = &self.agent else { return Ok(()) };
        let asked_ns = now_ns();
        let read = agent.clocks(ANSWER_LIMIT)?;
        // They were read somewhere between the question and the answer.
        let error_ns = (now_ns() - asked_ns) / 2;
        let kind = EventKind::GuestClocks {
            monotonic_ns: read.monotonic_ns,
            boottime_ns: read.boottime_ns,
            realtime_ns: read.realtime_ns,
            error_ns,
        };
        Ok(journal.keep(&Event { t_ns: asked_ns + error_ns, host: None, vm: Some(self.id.clone()), kind })?)
    }
}

fn no_agent() -> BenchError {
    TestbedError::Unsupported {
        what: "a workload".into(),
        because: "no agent of ours runs in this VM".into(),
    }
    .into()
}

fn maker(context: TrialContext<'_>) -> Result<&dyn Maker> {
    maker_of(&*context.plan.source)
}

fn maker_of(product: &dyn Hypervisor) -> Result<&dyn Maker> {
    Ok(product.maker().ok_or_else(|| TestbedError::Unsupported {
        what: "making a VM".into(),
        because: format!("this driver of {} only moves those that exist: name one", product.identity().name),
    })?)
}

fn order<'a>(context: TrialContext<'a>, spec: &'a VmSpec, events: Sender<Event>) -> VmOrder<'a> {
    VmOrder { spec, logs: context.logs, events }
}

/// The agent of one of our guests.
fn agent_of(vm: &dyn Vm) -> Result<AgentClient> {
    Ok(AgentClient::new(vm.agent_stream()?.ok_or_else(no_agent)?)?)
}

/// The agent in a VM that was found, if one answers there. Where it should and does not, that is told.
fn agent_of_found(vm: &dyn Vm, journal: &mut Journal) -> Result<Option<AgentClient>> {
    match agent_in(vm) {
        Ok(agent) => Ok(agent),
        Err(why) => {
            let text = format!("no agent answers in the VM, which has a channel for one: {why}");
            journal.keep(&event(Some(vm.host()), Some(vm.id()), EventKind::Warning { text }))?;
            Ok(None)
        }
    }
}

/// Restores the template of a guest, which is made first if it is not there.
fn restore(
    context: TrialContext<'_>,
    maker: &dyn Maker,
    spec: &VmSpec,
    journal: &mut Journal,
) -> Result<(Arc<dyn Vm>, AgentClient)> {
    let Some(path) = maker.template(spec, &context.world.cache().join("templates"))? else {
        return boot(context, maker, spec, journal);
    };
    let was_there = path.exists();
    if !was_there {
        make_template(context, maker, spec, &path)?;
    }
    let started_ns = now_ns();
    let restored = (|| {
        let vm = maker.restore(&order(context, spec, journal.sender()), &path)?;
        let agent = await_agent(context, &*vm, ANSWER_LIMIT)?;
        Ok::<_, BenchError>((vm, agent))
    })();
    match restored {
        Ok(up) => {
            ready(GuestStart::Restored, started_ns, &*up.0, journal)?;
            Ok(up)
        }
        Err(BenchError::Cancelled) => Err(BenchError::Cancelled),
        // Where the host was lost, nothing is said of the template.
        Err(BenchError::Testbed(error)) if error.may_pass() => Err(error.into()),
        // A template that does not come up is worth nothing; a fresh boot is.
        Err(_) if was_there => {
            let _ = fs::remove_file(&path);
            boot(context, maker, spec, journal)
        }
        Err(error) => Err(error),
    }
}

/// Boots a guest and saves its state once its agent answers. What happens is not part of the trial's record.
fn make_template(
    context: TrialContext<'_>,
    maker: &dyn Maker,
    spec: &VmSpec,
    path: &std::path::Path,
) -> Result<()> {
    let aside = Journal::discarding();
    let mut attempt = 1;
    let vm = loop {
        match boot_aside(context, maker, spec, &aside) {
            // An emulator now and then trips the kernel while it boots; what is saved has come up well.
            Err(BenchError::GuestDown { again: true, .. }) if attempt < BOOT_ATTEMPTS => attempt += 1,
            Err(BenchError::GuestDown { vm, host, why, console, .. }) => {
                return Err(BenchError::GuestDown { vm, host, why, console, again: false });
            }
            up => break up?,
        }
    };
    Ok(maker.save(&vm, path)?)
}

/// Boots a guest until its agent answers. The agent's session ends here: out of the template the guest comes back to a
/// client it does not know.
fn boot_aside(
    context: TrialContext<'_>,
    maker: &dyn Maker,
    spec: &VmSpec,
    aside: &Journal,
) -> Result<Arc<dyn Vm>> {
    let vm = maker.boot(&order(context, spec, aside.sender()))?;
    await_agent(context, &*vm, BOOT_LIMIT)?;
    Ok(vm)
}

fn boot(
    context: TrialContext<'_>,
    maker: &dyn Maker,
    spec: &VmSpec,
    journal: &mut Journal,
) -> Result<(Arc<dyn Vm>, AgentClient)> {
    let started_ns = now_ns();
    let vm = maker.boot(&order(context, spec, journal.sender()))?;
    let agent = await_agent(context, &*vm, BOOT_LIMIT)?;
    ready(GuestStart::Booted, started_ns, &*vm, journal)?;
    Ok((vm, agent))
}

/// Waits for a guest that comes up, but not for one whose hypervisor has ended or does not let it run, and
/// not for one nobody wants any more.
fn await_agent(context: TrialContext<'_>, vm: &dyn Vm, limit: Duration) -> Result<AgentClient> {
    let agent = agent_of(vm)?;
    let deadline = Deadline::after(limit);
    let mut halted = Deadline::after(HALTED_LIMIT);
    loop {
        match agent.identify(deadline.step(PATIENCE)) {
            Ok(_) => return Ok(agent),
            Err(GuestError::Timeout { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // A guest that panics ends its hypervisor, or resets itself.
        vm.check_alive()
            .and_then(|()| vm.check_guest())
            .map_err(|error| guest_down(vm, error.to_string(), true))?;
        match vm.run_state() {
            Ok(state) if !state.running() && halted.passed() => {
                let why = format!("its hypervisor does not let it run (it says {:?})", state.word);
                return Err(guest_down(vm, why, false));
            }
            Ok(state) if !state.running() => {}
            // One that is too busy to answer is at least not known to be halted.
            Ok(_) | Err(_) => halted = Deadline::after(HALTED_LIMIT),
        }
        if deadline.passed() {
            let why = format!("its agent did not answer within {} s", limit.as_secs());
            return Err(guest_down(vm, why, false));
        }
        if context.cancel.is_cancelled() {
            return Err(BenchError::Cancelled);
        }
    }
}

fn guest_down(vm: &dyn Vm, why: String, again: bool) -> BenchError {
    BenchError::GuestDown {
        vm: vm.id().to_string(),
        host: vm.host().to_string(),
        why,
        console: vm.console_tail().unwrap_or_default(),
        again,
    }
}

fn ready(start: GuestStart, started_ns: i64, vm: &dyn Vm, journal: &mut Journal) -> Result<()> {
    let took_ms = (now_ns() - started_ns) as f64 / 1e6;
    Ok(journal.keep(&event(Some(vm.host()), Some(vm.id()), EventKind::GuestReady { start, took_ms }))?)
}

/// A tap that goes with the guest.
struct Tap {
    host: Arc<dyn Host>,
    name: String,
}

impl Tap {
    /// Makes one on a host where that is ours to do.
    fn add(host: &Arc<dyn Host>, name: &str) -> Result<Option<Self>> {
        let Some(taps) = host.taps() else { return Ok(None) };
        taps.add_tap(name)?;
        Ok(Some(Self { host: Arc::clone(host), name: name.to_owned() }))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // It goes with its namespace at the latest.
        if let Some(taps) = self.host.taps() {
            let _ = taps.remove_tap(&self.name);
        }
    }
}
