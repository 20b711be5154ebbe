//! Every part fails in every way, before and after it took effect, with ends that die, hang and come back.

use std::collections::VecDeque;

use dunlin_record::{FileCarried, RecordError};

use super::*;

/// What can go wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// It is refused, and nothing has happened.
    Refused,
    /// It took effect, but that is not known.
    Unanswered,
    /// The end it is about dies of it.
    Dies,
    /// That end neither answers nor does anything for some time …
    Hangs,
    /// … or for ever.
    HangsForEver,
    /// The user has had enough meanwhile …
    Cancelled,
    /// … and it is not waited for.
    LeftForThat,
    /// The record cannot be kept any more.
    RecordFull,
}

const TROUBLES: [Trouble; 8] = [
    Trouble::Refused,
    Trouble::Unanswered,
    Trouble::Dies,
    Trouble::Hangs,
    Trouble::HangsForEver,
    Trouble::Cancelled,
    Trouble::LeftForThat,
    Trouble::RecordFull,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Rest,
    Bring,
    Wake(usize),
    End(usize),
    ClearAway,
}

const CALLS: [Call; 7] =
    [Call::Rest, Call::Bring, Call::Wake(0), Call::Wake(1), Call::End(0), Call::End(1), Call::ClearAway];

#[derive(Debug, Clone, Copy)]
struct Script {
    /// Its state is saved; if not, it is shut down.
    saves: bool,
    /// Both hosts see the same disks.
    shares: bool,
    troubles: [Option<(Call, Trouble)>; 2],
}

struct End {
    seen: Seen,
    silent_until_ns: i64,
}

/// Two ends and a clock that only moves when somebody waits.
struct World {
    script: Script,
    hosts: [HostId; 2],
    vm: VmId,
    ends: [End; 2],
    now_ns: i64,
    cancel: Cancel,
    /// What is told, and from when on: words take a moment.
    events: VecDeque<(i64, Event)>,
    spent: [bool; 2],
    is_full: bool,
    brought: bool,
    has_run_there: bool,
    /// It was woken at the source since it was put to rest there.
    has_run_here: bool,
    /// What must never be: two running copies, an old state over newer disks, a copy woken out of files that are not there.
    broken: Option<String>,
}

fn index(side: Side) -> usize {
    usize::from(side == Side::Destination)
}

impl World {
    fn new(script: Script) -> Self {
        let end = |seen| End { seen, silent_until_ns: 0 };
        Self {
            script,
            hosts: [HostId::new("host-a"), HostId::new("host-b")],
            vm: VmId::new("vm0"),
            ends: [end(Seen::Runs), end(Seen::Gone)],
            now_ns: 0,
            cancel: Cancel::new(),
            events: VecDeque::new(),
            spent: [false; 2],
            is_full: false,
            brought: false,
            has_run_there: false,
            has_run_here: false,
            broken: None,
        }
    }

    /// What is to go wrong with this call, once.
    fn trouble(&mut self, call: Call) -> Option<Trouble> {
        for (trouble, spent) in self.script.troubles.iter().zip(&mut self.spent) {
            if let Some((at, trouble)) = trouble
                && *at == call
                && !*spent
            {
                *spent = true;
                return Some(*trouble);
            }
        }
        None
    }

    fn is_silent(&self, end: usize) -> bool {
        self.now_ns < self.ends[end].silent_until_ns
    }

    /// A call at an end, with what goes wrong with it.
    fn act(&mut self, call: Call, end: usize, effect: impl FnOnce(&mut Self)) -> Result<(), Fault> {
        self.now_ns += 1_000_000_000;
        if self.is_silent(end) {
            return Err("no answer".into());
        }
        match self.trouble(call) {
            None => {
                effect(self);
                self.look();
                Ok(())
            }
            Some(Trouble::Refused) => Err("refused".into()),
            Some(Trouble::Unanswered) => {
                effect(self);
                self.look();
                Err("the answer was lost".into())
            }
            Some(Trouble::Dies) => {
                effect(self);
                self.look();
                self.ends[end].seen = Seen::Gone;
                Err("it has died".into())
            }
            Some(trouble @ (Trouble::Hangs | Trouble::HangsForEver)) => {
                effect(self);
                self.look();
                let ns = if trouble == Trouble::Hangs { 10_000_000_000 } else { i64::MAX - self.now_ns };
                self.ends[end].silent_until_ns = self.now_ns + ns;
                Err("no answer".into())
            }
            Some(Trouble::Cancelled) => {
                self.cancel.cancel();
                effect(self);
                self.look();
                Ok(())
            }
            Some(Trouble::LeftForThat) => {
                self.cancel.cancel();
                effect(self);
                self.look();
                Err("it was cancelled".into())
            }
            Some(Trouble::RecordFull) => {
                self.is_full = true;
                effect(self);
                self.look();
                Ok(())
            }
        }
    }

    fn look(&mut self) {
        if self.ends.iter().all(|end| end.seen == Seen::Runs) {
            self.broken = Some("two copies run".into());
        }
    }
}

/// The parts and the surroundings look at the same world.
#[derive(Clone)]
struct Shared(std::rc::Rc<std::cell::RefCell<World>>, VmId, [HostId; 2]);

impl Standstill for Shared {
    fn vm(&self) -> &VmId {
        &self.1
    }

    fn host(&self, side: Side) -> &HostId {
        &self.2[index(side)]
    }

    fn ask(&mut self, side: Side) -> Presence {
        let world = self.0.borrow();
        let end = index(side);
        let seen = if world.is_silent(end) { Seen::Silent } else { world.ends[end].seen };
        Presence { seen, word: format!("{seen:?}") }
    }

    fn can_return_after_it_ran(&self, side: Side) -> bool {
        let script = self.0.borrow().script;
        !(script.saves && (script.shares || side == Side::Source))
    }

    fn rest(&mut self) -> Result<(), Fault> {
        self.0.borrow_mut().act(Call::Rest, 0, |world| {
            world.ends[0].seen = if world.script.saves { Seen::Holds } else { Seen::Gone };
        })
    }

    fn bring(&mut self, _: Duration, cancel: &Cancel, tell: &mut dyn FnMut(EventKind)) -> Result<(), Fault> {
        let brought = self.0.borrow_mut().act(Call::Bring, 1, |world| world.brought = true);
        tell(EventKind::FileCarried(FileCarried::default()));
        if cancel.is_cancelled() { Err("cancelled".into()) } else { brought }
    }

    fn wake(&mut self, side: Side) -> Result<(), Fault> {
        let end = index(side);
        self.0.borrow_mut().act(Call::Wake(end), end, |world| {
            if end == 1 && !world.brought {
                world.broken = Some("woken without its files".into());
            }
            let of_state = end == 0 && world.script.saves && world.ends[0].seen == Seen::Gone;
            if end == 0 && world.has_run_there && world.script.saves && world.script.shares {
                world.broken = Some("an old state was woken over newer disks".into());
            }
            if of_state && world.has_run_here {
                world.broken = Some("a state was woken a second time, over the disks of the first".into());
            }
            world.ends[end].seen = Seen::Runs;
            world.has_run_there |= end == 1;
            world.has_run_here |= end == 0;
            let (host, vm) = (Some(world.hosts[end].clone()), Some(world.vm.clone()));
            let t_ns = world.now_ns;
            let heard_ns = t_ns + 100_000_000;
            world.events.push_back((heard_ns, Event { t_ns, host, vm, kind: EventKind::VcpusRunning }));
        })
    }

    fn end(&mut self, side: Side) -> Result<(), Fault> {
        let end = index(side);
        self.0.borrow_mut().act(Call::End(end), end, |world| {
            if world.ends[end].seen == Seen::Runs {
                world.broken = Some("a running copy was ended".into());
            }
            world.ends[end].seen = Seen::Gone;
        })
    }

    fn clear_away(&mut self) -> Result<(), Fault> {
        self.0.borrow_mut().act(Call::ClearAway, 1, |world| {
            if world.ends[1].seen == Seen::Runs {
                world.broken = Some("a running copy's files were removed".into());
            }
            world.brought = false;
        })
    }
}

struct Here {
    shared: Shared,
    failure: Option<RecordError>,
    recorded: Vec<Event>,
}

impl Surroundings for Here {
    fn now_ns(&self) -> i64 {
        self.shared.0.borrow().now_ns
    }

    fn next(&mut self, limit: Duration) -> Option<Event> {
        let mut world = self.shared.0.borrow_mut();
        if world.is_full && self.failure.is_none() {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            self.failure = Some(RecordError::io("write", "events")(full));
        }
        let until_ns = world.now_ns + i64::try_from(limit.as_nanos()).unwrap();
        let is_due = world.events.front().is_some_and(|(heard_ns, _)| *heard_ns <= until_ns);
        let next = if is_due { world.events.pop_front() } else { None };
        world.now_ns = next.as_ref().map_or(until_ns, |(heard_ns, _)| world.now_ns.max(*heard_ns));
        let event = next.map(|(_, event)| event);
        self.recorded.extend(event.clone());
        event
    }

    fn keep(&mut self, event: &Event) {
        self.recorded.push(event.clone());
    }

    fn fail(&mut self, error: RecordError) {
        self.failure.get_or_insert(error);
    }

    fn failure(&self) -> Option<&RecordError> {
        self.failure.as_ref()
    }
}

struct Played {
    ended: Ended,
    world: World,
    recorded: Vec<Event>,
}

fn play(script: Script) -> Played {
    let world = World::new(script);
    let (vm, hosts, cancel) = (world.vm.clone(), world.hosts.clone(), world.cancel.clone());
    let shared = Shared(std::rc::Rc::new(std::cell::RefCell::new(world)), vm, hosts);
    let mut here = Here { shared: shared.clone(), failure: None, recorded: Vec::new() };
    let mut parts = shared.clone();
    let job = StandstillJob {
        parts: &mut parts,
        limit: Duration::from_secs(60),
        patience: Duration::from_secs(30),
        cancel: &cancel,
    };
    let ended = stand_still(job, &mut here);
    let recorded = here.recorded;
    drop((parts, here.shared));
    let world = std::rc::Rc::try_unwrap(shared.0).ok().unwrap().into_inner();
    Played { ended, world, recorded }
}

/// What holds whatever happens.
fn check(script: Script) -> Played {
    let played = play(script);
    let Played { ended, world, .. } = &played;
    let say = || {
        format!(
            "{script:?}\n{ended:?}\nsource {:?}, destination {:?}",
            world.ends[0].seen, world.ends[1].seen
        )
    };
    assert_eq!(world.broken, None, "{}", say());
    let running = world.ends.iter().filter(|end| end.seen == Seen::Runs).count();
    assert!(running <= 1, "{}", say());
    match ended.place {
        Place::Source => assert_eq!(world.ends[0].seen, Seen::Runs, "{}", say()),
        Place::Destination => assert_eq!(world.ends[1].seen, Seen::Runs, "{}", say()),
        Place::Nowhere => assert_eq!(running, 0, "{}", say()),
        // Only of an end that never says anything again, or one that was asked in vain.
        Place::Unknown => {
            let hung = |trouble: &Option<(Call, Trouble)>| {
                matches!(trouble, Some((_, Trouble::HangsForEver | Trouble::Hangs)))
            };
            assert!(script.troubles.iter().any(hung), "{}", say());
        }
    }
    if ended.status == Status::Completed {
        assert_eq!(ended.place, Place::Destination, "{}", say());
    } else {
        assert!(ended.error.is_some(), "{}", say());
    }
    played
}

fn kinds() -> impl Iterator<Item = Script> {
    let bools = [false, true];
    bools.into_iter().flat_map(move |saves| {
        bools.into_iter().map(move |shares| Script { saves, shares, troubles: [None, None] })
    })
}

#[test]
fn all_goes_well_in_the_order_that_is_told() {
    for script in kinds() {
        let Played { ended, world, recorded } = check(script);
        assert_eq!((ended.status, ended.place), (Status::Completed, Place::Destination));
        assert_eq!(world.ends[0].seen, Seen::Gone, "nothing is left at the source");
        let told: Vec<String> = recorded
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::MigrateCommand => Some("command".into()),
                EventKind::StandstillStage { stage } => Some(format!("{stage:?}")),
                EventKind::MigrationCompleted => Some("completed".into()),
                EventKind::VmPlaced { .. } => Some("placed".into()),
                _ => None,
            })
            .collect();
        assert_eq!(told, ["command", "Rest", "Wake", "completed", "placed"]);
    }
}

#[test]
fn one_trouble_anywhere_leaves_one_copy_running() {
    for script in kinds() {
        for (call, trouble) in CALLS.into_iter().flat_map(|call| TROUBLES.map(|trouble| (call, trouble))) {
            let script = Script { troubles: [Some((call, trouble)), None], ..script };
            let Played { ended, world, .. } = check(script);
            let is_lost = match trouble {
                // A saved state does not bear disks that were written since.
                Trouble::Dies => call == Call::Wake(1) && script.saves && script.shares,
                Trouble::HangsForEver => true,
                _ => false,
            };
            let running = world.ends.iter().filter(|end| end.seen == Seen::Runs).count();
            assert!(running == 1 || is_lost, "{script:?}: {ended:?}");
        }
    }
}

#[test]
fn two_troubles_never_make_two_copies() {
    let all: Vec<_> =
        CALLS.into_iter().flat_map(|call| TROUBLES.map(|trouble| Some((call, trouble)))).collect();
    for script in kinds() {
        for (first, second) in all.iter().flat_map(|first| all.iter().map(move |second| (*first, *second))) {
            check(Script { troubles: [first, second], ..script });
        }
    }
}

#[test]
fn one_that_the_user_left_while_it_was_woken_is_cancelled_and_has_not_failed() {
    for script in kinds() {
        let troubles = [Some((Call::Wake(1), Trouble::LeftForThat)), None];
        let Played { ended, .. } = check(Script { troubles, ..script });
        assert_eq!((ended.status, ended.place), (Status::Cancelled, Place::Destination));
        assert_eq!(ended.error.as_deref(), Some("ended by the user"));
    }
}

#[test]
fn a_state_out_of_which_the_vm_ran_again_is_not_woken_once_more() {
    for script in kinds() {
        let troubles = [Some((Call::Bring, Trouble::Refused)), Some((Call::Wake(0), Trouble::Dies))];
        let Played { ended, recorded, .. } = check(Script { troubles, ..script });
        let expected = if script.saves { Place::Nowhere } else { Place::Source };
        assert_eq!(ended.place, expected, "{script:?}");
        let left = |event: &Event| matches!(&event.kind, EventKind::Decision { action, .. } if action == "leave-at-rest");
        assert_eq!(recorded.iter().any(left), script.saves);
    }
}

#[test]
fn a_vm_that_runs_there_is_not_taken_back_though_its_agent_was_not_heard() {
    for script in kinds() {
        let troubles = [Some((Call::Wake(1), Trouble::Unanswered)), None];
        let Played { ended, world, .. } = check(Script { troubles, ..script });
        assert_eq!((ended.status, ended.place), (Status::Failed, Place::Destination));
        assert_eq!(world.ends[0].seen, Seen::Gone);
    }
}
