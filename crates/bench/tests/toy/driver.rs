//! The toys' driver: managed, with one VM that exists. The VM is a thread that answers datagrams while it runs.

use std::any::Any;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use dunlin_hypervisor::{
    Act, Condition, CopyFacts, Driver, Hypervisor, HypervisorError, MoveOrder, Mover, OpenOrder, Presence,
    Progress, Result, RunState, SettingKey, SettingKind, Side, Vm, WrongSetting,
};
use dunlin_probe::DEFAULT_UDP_PORT;
use dunlin_record::{
    Case, Event, EventKind, HostId, HypervisorIdentity, HypervisorReport, MigrationState, PreCopyLimits,
    Seen, Strategy, VmId,
};
use dunlin_testbed::Host;
use serde_json::{Map, Value};

use crate::testbed::VM_ADDRESS;

/// For how long a toy's VM answers nobody while it is moved.
pub(crate) const OUTAGE_MS: u64 = 120;
const NAME: &str = "old-faithful";

/// All there is of the toys' world.
struct Truth {
    place: HostId,
    running: bool,
    moves: u32,
}

#[derive(Clone)]
pub(crate) struct Toy(Arc<Mutex<Truth>>);

impl Default for Toy {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Truth { place: HostId::new("left"), running: true, moves: 0 })))
    }
}

impl Toy {
    pub(crate) fn truth(&self) -> (String, u32) {
        let truth = lock(&self.0);
        assert!(truth.running);
        (truth.place.to_string(), truth.moves)
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
        let refuses = order.case.hypervisor.settings.get("refuses") == Some(&Value::Bool(true));
        Ok(Arc::new(ToyHypervisor { host: Arc::clone(order.host), truth: Arc::clone(&self.0), refuses }))
    }
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
        assert_eq!(name, NAME);
        let vm = ToyVm::new(self.host.id(), &self.truth);
        let kind = EventKind::HypervisorIdentified(identity());
        let _ = events.send(Event {
            t_ns: dunlin_clock::now_ns(),
            host: Some(self.host.id().clone()),
            vm: Some(vm.id.clone()),
            kind,
        });
        Ok(Arc::new(vm))
    }

    fn mover(&self, vm: &Arc<dyn Vm>, to: &dyn Hypervisor, order: &MoveOrder<'_>) -> Result<Box<dyn Mover>> {
        Ok(Box::new(ToyMover {
            ends: [self.host.id(), to.host().id()].map(|host| ToyVm::new(host, &self.truth)),
            id: vm.id().clone(),
            truth: Arc::clone(&self.truth),
            refuses: self.refuses,
            events: order.events.clone(),
        }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct ToyVm {
    id: VmId,
    host: HostId,
    identity: HypervisorIdentity,
    truth: Arc<Mutex<Truth>>,
    /// The thread that is the VM goes with the first handle that made it.
    life: Arc<AtomicBool>,
}

impl ToyVm {
    fn new(host: &HostId, truth: &Arc<Mutex<Truth>>) -> Self {
        let life = Arc::new(AtomicBool::new(true));
        // Only one of the handles gets the address; the others look on.
        if let Ok(socket) = UdpSocket::bind((VM_ADDRESS, DEFAULT_UDP_PORT)) {
            let (truth, life) = (Arc::clone(truth), Arc::clone(&life));
            thread::spawn(move || answer(&socket, &truth, &life));
        }
        Self { id: VmId::new(NAME), host: host.clone(), identity: identity(), truth: Arc::clone(truth), life }
    }
}

impl Drop for ToyVm {
    fn drop(&mut self) {
        self.life.store(false, Ordering::Relaxed);
    }
}

fn answer(socket: &UdpSocket, truth: &Mutex<Truth>, life: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut frame = [0; 2048];
    while life.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut frame)
            && lock(truth).running
        {
            let _ = socket.send_to(&frame[..length], from);
        }
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
        let truth = lock(&self.truth);
        let condition = match (truth.place == self.host, truth.running) {
            (true, true) => Condition::Running,
            (true, false) => Condition::Stopped,
            (false, _) => Condition::Ended,
        };
        Ok(RunState { condition, word: format!("{condition:?}") })
    }

    fn stop(&self) -> Result<()> {
        panic!("nobody stops a toy")
    }

    fn resume(&self) -> Result<()> {
        panic!("nobody has to resume a toy")
    }

    fn check_alive(&self) -> Result<()> {
        Ok(())
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
        (lock(&self.truth).place == end.host).then_some(end)
    }

    fn begin(&mut self) -> Result<()> {
        if self.refuses {
            return Err(HypervisorError::Refused {
                host: self.host(Side::Source).clone(),
                command: "move".into(),
                description: "not in the mood".into(),
            });
        }
        let (truth, events) = (Arc::clone(&self.truth), self.events.clone());
        let [source, destination] = [Side::Source, Side::Destination].map(|side| self.host(side).clone());
        let vm = self.id.clone();
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
            lock(&truth).running = false;
            thread::sleep(Duration::from_millis(OUTAGE_MS));
            *lock(&truth) = Truth { place: destination.clone(), running: true, moves: 1 };
            tell(&source, state("there", MigrationState::Completed));
        });
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<()> {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
