//! The toys' driver: managed, with VMs that exist. Each answers datagrams at an address of its own while it runs.

use std::any::Any;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_hypervisor::{
    Act, Condition, CopyFacts, Driver, Hypervisor, HypervisorError, Journey, KnownAddress, MoveOrder, Mover,
    Obstacle, OpenOrder, Presence, Progress, Result, RunState, SettingKey, SettingKind, Side, ToldHeld, Vm,
    WrongSetting,
};
use dunlin_probe::DEFAULT_UDP_PORT;
use dunlin_record::{
    Case, Event, EventKind, HostId, HypervisorIdentity, HypervisorReport, MigrationState, PreCopyLimits,
    Seen, Strategy, VmId,
};
use dunlin_testbed::Host;
use serde_json::{Map, Value};

/// For how long a toy's VM answers nobody while it is moved.
pub(crate) const OUTAGE_MS: u64 = 120;

/// What becomes of the toys.
#[derive(Clone)]
pub(crate) struct Script {
    /// Those that there are.
    pub(crate) vms: Vec<&'static str>,
    /// Where they are at first.
    pub(crate) at: &'static str,
    /// Their owner has paused them.
    pub(crate) paused: bool,
    /// The bench may pause them, and let run again what it paused.
    pub(crate) may_be_paused: bool,
    pub(crate) obstacles: Vec<Obstacle>,
    /// How they are defined is other after each return.
    pub(crate) redefines: bool,
    /// The product refuses the way back.
    pub(crate) stays_away: bool,
    /// This host's product answers nothing that it is asked of VMs.
    pub(crate) is_mute: Option<&'static str>,
    /// On this host the product cannot be reached.
    pub(crate) is_down: Option<&'static str>,
    /// They come from a move nowhere.
    pub(crate) are_lost: bool,
    /// How often the user presses Ctrl-C when a VM has arrived at the destination …
    pub(crate) presses_there: u32,
    /// … and while it is on its way back.
    pub(crate) presses_back: u32,
    pub(crate) cancel: Cancel,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            vms: vec!["old-faithful"],
            at: "left",
            paused: false,
            may_be_paused: false,
            obstacles: Vec::new(),
            redefines: false,
            stays_away: false,
            is_mute: None,
            is_down: None,
            are_lost: false,
            presses_there: 0,
            presses_back: 0,
            cancel: Cancel::new(),
        }
    }
}

/// All there is of the toys' world.
pub(crate) struct Truth {
    script: Script,
    vms: Vec<VmTruth>,
    /// Every move that was begun.
    journeys: Vec<(String, Journey)>,
}

struct VmTruth {
    name: &'static str,
    address: Ipv4Addr,
    place: HostId,
    running: bool,
}

impl Truth {
    fn vm(&mut self, name: &str) -> Option<&mut VmTruth> {
        self.vms.iter_mut().find(|vm| vm.name == name)
    }
}

#[derive(Clone)]
pub(crate) struct Toy(Arc<Mutex<Truth>>);

impl Toy {
    pub(crate) fn new(script: Script) -> Self {
        // Each world has addresses of its own, also beside others in one process.
        static WORLDS: AtomicU8 = AtomicU8::new(0);
        let world = WORLDS.fetch_add(1, Ordering::Relaxed);
        let vm = |(number, name): (u8, &&'static str)| VmTruth {
            name,
            address: Ipv4Addr::new(127, 77, world, number),
            place: HostId::new(script.at),
            running: !script.paused,
        };
        let vms: Vec<VmTruth> = (1..).zip(&script.vms).map(vm).collect();
        let sockets: Vec<(&str, UdpSocket)> = vms
            .iter()
            .map(|vm| (vm.name, UdpSocket::bind((vm.address, DEFAULT_UDP_PORT)).unwrap()))
            .collect();
        let truth = Arc::new(Mutex::new(Truth { script, vms, journeys: Vec::new() }));
        for (name, socket) in sockets {
            let truth = Arc::downgrade(&truth);
            thread::spawn(move || answer(&socket, name, &truth));
        }
        Self(truth)
    }

    /// Where a VM is, and whether it runs there.
    pub(crate) fn place(&self, name: &str) -> (String, bool) {
        let mut truth = lock(&self.0);
        let vm = truth.vm(name).unwrap();
        (vm.place.to_string(), vm.running)
    }

    /// Where a VM answers.
    pub(crate) fn address(&self, name: &str) -> Ipv4Addr {
        lock(&self.0).vm(name).unwrap().address
    }

    pub(crate) fn journeys(&self) -> Vec<(String, Journey)> {
        lock(&self.0).journeys.clone()
    }

    /// Goes on by another script, from where the VMs are.
    pub(crate) fn go_on_by(&self, script: Script) {
        lock(&self.0).script = script;
    }
}

/// Answers as long as there is the toys' world.
fn answer(socket: &UdpSocket, name: &str, truth: &Weak<Mutex<Truth>>) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut frame = [0; 2048];
    while let Some(truth) = truth.upgrade() {
        if let Ok((length, from)) = socket.recv_from(&mut frame)
            && lock(&truth).vm(name).unwrap().running
        {
            let _ = socket.send_to(&frame[..length], from);
        }
    }
}

impl Driver for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn keys(&self) -> &'static [SettingKey] {
        &[
            SettingKey { name: "loud", takes: SettingKind::Flag },
            SettingKey { name: "refuses", takes: SettingKind::Flag },
            SettingKey { name: "colour", takes: SettingKind::Text },
        ]
    }

    fn resolve(&self, settings: &Map<String, Value>) -> Result<Map<String, Value>, WrongSetting> {
        Ok(settings.clone())
    }

    fn install_hint(&self) -> &'static str {
        "buy one"
    }

    fn limits(&self, _: &Map<String, Value>) -> PreCopyLimits {
        PreCopyLimits::default()
    }

    fn copy_facts(&self, _: &Map<String, Value>) -> CopyFacts {
        CopyFacts {
            bandwidth_mib_s: f64::INFINITY,
            post_copy_bandwidth_mib_s: f64::INFINITY,
            downtime_limit_s: 0.3,
            dirty_limit_mib_s: None,
            throttle: None,
            compressed_mib_s: None,
        }
    }

    fn open(&self, order: &OpenOrder<'_>) -> Result<Arc<dyn Hypervisor>> {
        if lock(&self.0).script.is_down == Some(order.host.id().as_str()) {
            return Err(no_answer(order.host.id()));
        }
        let refuses = order.case.hypervisor.settings.get("refuses") == Some(&Value::Bool(true));
        Ok(Arc::new(ToyHypervisor { host: Arc::clone(order.host), truth: Arc::clone(&self.0), refuses }))
    }
}

fn no_answer(host: &HostId) -> HypervisorError {
    HypervisorError::Timeout { host: host.clone(), waiting_for: "an answer".into(), after_s: 1.0 }
}

struct ToyHypervisor {
    host: Arc<dyn Host>,
    truth: Arc<Mutex<Truth>>,
    refuses: bool,
}

fn identity() -> HypervisorIdentity {
    HypervisorIdentity { name: "toy".into(), version: "1".into(), accelerator: String::new(), emulated: None }
}

impl Hypervisor for ToyHypervisor {
    fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    fn identity(&self) -> HypervisorIdentity {
        identity()
    }

    fn check(&self, case: &Case) -> Result<()> {
        if let Some(colour) = case.hypervisor.settings.get("colour").and_then(Value::as_str) {
            return Err(HypervisorError::WrongSetting {
                setting: "toy.colour".into(),
                why: "there is no such colour".into(),
                word: Some(colour.into()),
                known: ["red", "green"].map(str::to_owned).into(),
            });
        }
        if case.strategy == Strategy::PreCopy {
            return Ok(());
        }
        Err(HypervisorError::Unsupported {
            what: "this strategy".into(),
            because: "a toy knows only one way".into(),
        })
    }

    fn find(&self, name: &str, events: Sender<Event>) -> Result<Arc<dyn Vm>> {
        if lock(&self.truth).script.is_mute == Some(self.host.id().as_str()) {
            return Err(no_answer(self.host.id()));
        }
        let is_here = lock(&self.truth).vm(name).is_some_and(|vm| vm.place == *self.host.id());
        if !is_here {
            return Err(self.refusal("find", "no such toy"));
        }
        let vm = ToyVm::new(name, self.host.id(), &self.truth);
        let kind = EventKind::HypervisorIdentified(identity());
        let _ = events.send(Event {
            t_ns: dunlin_clock::now_ns(),
            host: Some(self.host.id().clone()),
            vm: Some(vm.id.clone()),
            kind,
        });
        Ok(Arc::new(vm))
    }

    fn obstacles(&self, vm: &str, _: &dyn Hypervisor, _: &Case) -> Result<Vec<Obstacle>> {
        assert!(lock(&self.truth).vm(vm).is_some());
        Ok(lock(&self.truth).script.obstacles.clone())
    }

    fn definition(&self, vm: &VmId) -> Result<Option<String>> {
        let truth = lock(&self.truth);
        let returns =
            truth.journeys.iter().filter(|(of, journey)| *of == vm.to_string() && *journey == Journey::Home);
        let colour = if truth.script.redefines { returns.count() } else { 0 };
        Ok(Some(format!("a toy\nnamed {vm}\nof colour {colour}\nand wood\n")))
    }

    fn mover(&self, vm: &Arc<dyn Vm>, to: &dyn Hypervisor, order: &MoveOrder<'_>) -> Result<Box<dyn Mover>> {
        if order.journey == Journey::Home && lock(&self.truth).script.stays_away {
            return Err(self.refusal("move", "it likes it here"));
        }
        let name = vm.id().as_str();
        Ok(Box::new(ToyMover {
            ends: [self.host.id(), to.host().id()].map(|host| ToyVm::new(name, host, &self.truth)),
            id: vm.id().clone(),
            truth: Arc::clone(&self.truth),
            refuses: self.refuses,
            journey: order.journey,
            cancelled: Cancel::new(),
            events: order.events.clone(),
        }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl ToyHypervisor {
    fn refusal(&self, command: &str, description: &str) -> HypervisorError {
        HypervisorError::Refused {
            host: self.host.id().clone(),
            command: command.into(),
            description: description.into(),
        }
    }
}

struct ToyVm {
    id: VmId,
    host: HostId,
    identity: HypervisorIdentity,
    truth: Arc<Mutex<Truth>>,
}

impl ToyVm {
    fn new(name: &str, host: &HostId, truth: &Arc<Mutex<Truth>>) -> Self {
        let (id, truth) = (VmId::new(name), Arc::clone(truth));
        Self { id, host: host.clone(), identity: identity(), truth }
    }
}

impl ToyVm {
    fn set_running(&self, running: bool) -> Result<()> {
        let mut truth = lock(&self.truth);
        assert!(truth.script.may_be_paused, "nobody stops or resumes a toy");
        let vm = truth.vm(self.id.as_str()).unwrap();
        assert!(vm.place == self.host && vm.running != running);
        vm.running = running;
        Ok(())
    }
}

impl Vm for ToyVm {
    fn id(&self) -> &VmId {
        &self.id
    }

    fn host(&self) -> &HostId {
        &self.host
    }

    fn identity(&self) -> &HypervisorIdentity {
        &self.identity
    }

    fn run_state(&self) -> Result<RunState> {
        let mut truth = lock(&self.truth);
        let vm = truth.vm(self.id.as_str()).unwrap();
        let condition = match (vm.place == self.host, vm.running) {
            (true, true) => Condition::Running,
            (true, false) => Condition::Stopped,
            (false, _) => Condition::Ended,
        };
        Ok(RunState { condition, word: format!("{condition:?}") })
    }

    fn stop(&self) -> Result<()> {
        self.set_running(false)
    }

    fn resume(&self) -> Result<()> {
        self.set_running(true)
    }

    fn check_alive(&self) -> Result<()> {
        Ok(())
    }

    fn addresses(&self) -> Result<Vec<KnownAddress>> {
        let mut truth = lock(&self.truth);
        let address = truth.vm(self.id.as_str()).unwrap().address;
        let of = |address, told_by| KnownAddress { address, mac: None, told_by };
        // The first is of a network that the bench is not in.
        Ok(vec![of(Ipv4Addr::new(192, 0, 2, 1), "a guess"), of(address, "a label")])
    }

    fn held(&self) -> Result<ToldHeld> {
        let mib = |mib: i64| Some(mib << 20);
        Ok(ToldHeld { configured_bytes: mib(64), used_bytes: mib(32), disk_used_bytes: mib(1024) })
    }

    fn end(&self, _: Duration) -> Result<()> {
        panic!("a VM that was found must not be ended")
    }
}

struct ToyMover {
    ends: [ToyVm; 2],
    id: VmId,
    truth: Arc<Mutex<Truth>>,
    refuses: bool,
    journey: Journey,
    cancelled: Cancel,
    events: Sender<Event>,
}

impl ToyMover {
    fn end(&self, side: Side) -> &ToyVm {
        &self.ends[side as usize]
    }
}

impl Mover for ToyMover {
    fn is_managed(&self) -> bool {
        true
    }

    fn vm(&self) -> &VmId {
        &self.id
    }

    fn host(&self, side: Side) -> &HostId {
        &self.end(side).host
    }

    fn handle(&self, side: Side) -> Option<&dyn Vm> {
        let end = self.end(side);
        let is_here = lock(&self.truth).vm(self.id.as_str()).unwrap().place == end.host;
        is_here.then_some(end)
    }

    fn begin(&mut self) -> Result<()> {
        if self.refuses {
            return Err(HypervisorError::Refused {
                host: self.host(Side::Source).clone(),
                command: "move".into(),
                description: "not in the mood".into(),
            });
        }
        lock(&self.truth).journeys.push((self.id.to_string(), self.journey));
        let (truth, events) = (Arc::clone(&self.truth), self.events.clone());
        let [source, destination] = [Side::Source, Side::Destination].map(|side| self.host(side).clone());
        let (vm, cancelled, journey) = (self.id.clone(), self.cancelled.clone(), self.journey);
        thread::spawn(move || {
            let tell = |host: &HostId, kind| {
                let t_ns = dunlin_clock::now_ns();
                let _ = events.send(Event { t_ns, host: Some(host.clone()), vm: Some(vm.clone()), kind });
            };
            let state =
                |word: &str, state| EventKind::MigrationStatus { status: word.into(), state: Some(state) };
            tell(&source, state("packing", MigrationState::Setup));
            thread::sleep(Duration::from_millis(30));
            tell(&source, state("rolling", MigrationState::PreCopy));
            thread::sleep(Duration::from_millis(100));
            let Script { are_lost, presses_there, presses_back, cancel, .. } = lock(&truth).script.clone();
            if journey == Journey::Home {
                press(&cancel, presses_back);
                thread::sleep(Duration::from_millis(200));
            }
            if cancelled.is_cancelled() {
                return tell(&source, state("back in the box", MigrationState::Cancelled));
            }
            let name = vm.as_str();
            let ran = std::mem::replace(&mut lock(&truth).vm(name).unwrap().running, false);
            thread::sleep(Duration::from_millis(OUTAGE_MS));
            {
                let mut truth = lock(&truth);
                let vm = truth.vm(name).unwrap();
                vm.place = if are_lost { HostId::new("nowhere") } else { destination.clone() };
                vm.running = ran;
            }
            tell(&source, state("there", MigrationState::Completed));
            if journey == Journey::Excursion && presses_there > 0 {
                // Once the migration has ended: before that it would be seen through, or given up.
                thread::sleep(Duration::from_millis(150));
                press(&cancel, presses_there);
            }
        });
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<()> {
        if act == Act::Cancel {
            self.cancelled.cancel();
            return Ok(());
        }
        Err(HypervisorError::Unsupported {
            what: act.name().into(),
            because: "a toy does it by itself".into(),
        })
    }

    fn progress(&mut self) -> Result<Progress> {
        Ok(Progress::default())
    }

    fn check(&mut self) -> Result<()> {
        Ok(())
    }

    fn ask(&mut self, side: Side) -> Presence {
        let presence = Presence::of(self.end(side));
        // Not there is not gone for good, but nothing is there.
        if presence.seen == Seen::Gone { Presence { word: "not there".into(), ..presence } } else { presence }
    }

    fn report(&mut self) -> Result<HypervisorReport> {
        Ok(HypervisorReport::default())
    }
}

/// The user presses Ctrl-C so many times, each seen apart from the one before.
fn press(cancel: &Cancel, times: u32) {
    for _ in 0..times {
        cancel.cancel();
        thread::sleep(Duration::from_millis(150));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
