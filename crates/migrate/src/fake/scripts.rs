//! Scripts enumerated: strategies, faults at instants, acts refused or unanswered; and what must hold after each.

mod disks;
mod products;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dunlin_hypervisor::{Act, CopyOrder, Mover, Side, Stepwise, Tuning};
use dunlin_policy::Limits;
use dunlin_record::{Event, EventKind, Place, Status, StorageSettings, Strategy, Writes};

use super::ends::FakeEnd;
use super::managed::FakeManaged;
use super::model::{self, ActFault, Fault, MS, Model, Phase, Setting};
use super::world::FakeWorld;
use crate::{Ended, Job, migrate};

/// A script: what is moved how, and what goes wrong.
#[derive(Debug, Clone)]
struct Script {
    setting: Setting,
    faults: Vec<(i64, Fault)>,
    act_faults: [Option<(u32, ActFault)>; 2],
    /// Whether the product does it all by itself.
    managed: bool,
}

const PRE_COPY: Strategy = Strategy::PreCopy;
const POST_COPY: Strategy = Strategy::PostCopy { preempt: true };
const HYBRID: Strategy = Strategy::Hybrid { after_passes: Some(2), after_s: None, preempt: true };
const SUSPEND: Strategy = Strategy::Suspend { after_passes: None };
const LATE_SUSPEND: Strategy = Strategy::Suspend { after_passes: Some(1) };
/// Where disks go.
const AT: &str = "there";
/// By then what does not converge is given up.
const LIMIT_MS: f64 = 150.0;

fn setting(strategy: &Strategy) -> Setting {
    Setting {
        strategy: strategy.clone(),
        runs_at_first: true,
        cancels_post_copy: false,
        converges_after: Some(2),
        waits: false,
        disks: false,
        how: StorageSettings::default(),
        outruns: false,
        keeps_step: true,
        differs: false,
        switch_ns: 0,
        post_copy_ns: 60 * MS,
        tells_switch_over: true,
        daemons: false,
        shows_incoming: false,
        remembers: true,
        ends_what_is_left: false,
        events_late_ns: [0, 0],
    }
}

/// All kinds of migrations that scripts are made of.
fn settings() -> Vec<Setting> {
    let plain = [PRE_COPY, POST_COPY, HYBRID, SUSPEND, LATE_SUSPEND].map(|strategy| setting(&strategy));
    let mut all: Vec<Setting> = plain.to_vec();
    all.push(Setting { converges_after: None, ..setting(&PRE_COPY) });
    all.push(Setting { runs_at_first: false, ..setting(&PRE_COPY) });
    all.push(Setting { runs_at_first: false, ..setting(&POST_COPY) });
    all.push(Setting { runs_at_first: false, ..setting(&HYBRID) });
    all.push(Setting { waits: true, ..setting(&PRE_COPY) });
    all.extend(disks::settings());
    all.push(Setting { switch_ns: 3 * MS, ..setting(&POST_COPY) });
    // As QEMU 7.2 does.
    all.push(Setting { tells_switch_over: false, ..setting(&PRE_COPY) });
    all.push(Setting { cancels_post_copy: true, tells_switch_over: false, ..setting(&HYBRID) });
    all
}

/// What moves the VM of a scripted world.
fn mover(script: &Script, model: &Arc<Mutex<Model>>, managed: bool) -> Box<dyn Mover> {
    if managed {
        return Box::new(FakeManaged::new(model));
    }
    let [source, destination] = SIDES.map(|side| Arc::new(FakeEnd::new(side, model)));
    let order = || CopyOrder { address: AT.into(), disks: None, how: script.setting.how.clone() };
    let disks = script.setting.disks.then(order);
    Box::new(Stepwise::new(source, destination, "there".into(), disks))
}

/// How what was told and what was true came out.
fn play(script: &Script) -> Result<Ended, String> {
    played(script).map(|(ended, _)| ended)
}

/// The same, with all that was recorded.
fn played(script: &Script) -> Result<(Ended, Vec<Event>), String> {
    let model = Arc::new(Mutex::new(Model::new(script.setting.clone(), &script.faults, script.act_faults)));
    let mut world = FakeWorld::new(&model);
    let mut mover = mover(script, &model, script.managed);
    let cancel = world.cancel.clone();
    let ended = migrate(
        Job {
            mover: &mut *mover,
            strategy: &script.setting.strategy,
            limits: Limits { total_ms: LIMIT_MS, stall_ms: 5_000.0, patience_ms: 60_000.0 },
            cancel: &cancel,
            on_progress: &mut |_, _| Ok(()),
            on_mirrors: &mut |_, _| Ok(()),
        },
        &mut world,
    );
    let wrongs = judge(script, &ended, &mut model.lock().unwrap());
    if wrongs.is_empty() {
        return Ok((ended, world.recorded));
    }
    let told: Vec<String> = world
        .recorded
        .iter()
        .filter(|event| !matches!(event.kind, EventKind::MigrationPass { .. }))
        .map(|event| {
            let host = event.host.as_ref().map_or("-", |host| host.as_str());
            let t_ms = (event.t_ns - 1_000 * MS) as f64 / MS as f64;
            format!("  {t_ms:9.2} {host} {:?}", event.kind)
        })
        .collect();
    Err(format!("{wrongs:#?}\n{script:#?}\ntold {ended:?}\n{}", told.join("\n")))
}

/// What is wrong, by the invariants.
fn judge(script: &Script, ended: &Ended, model: &mut Model) -> Vec<String> {
    let mut wrongs = model.wrongs.clone();
    let should_run = script.setting.runs_at_first;
    let [source, destination] = model.ends.clone();
    let may_stand = !should_run || model.product.stopped_by_others;
    let holds = |side: Side| match side {
        Side::Source => source.alive && (source.running || may_stand),
        Side::Destination => model.destination_has_it() && (destination.running || may_stand),
    };
    let is_true = match ended.place {
        Place::Source => holds(Side::Source) || model.died_since_asked(Side::Source),
        Place::Destination => holds(Side::Destination) || model.died_since_asked(Side::Destination),
        Place::Nowhere => model.running_copies() == 0 && (may_be_lost(model) || is_left_stopped(model)),
        Place::Unknown => {
            // A product's job that goes on and on may still do anything.
            let goes_on = script.managed && model.loses_last_word;
            let is_unclear = model.has_daemons() && model.is_unclear();
            SIDES.iter().any(|side| model.is_frozen(*side)) || may_be_lost(model) || goes_on || is_unclear
        }
    };
    if !is_true {
        wrongs.push("the told place is not the true one".into());
    }
    if (ended.status == Status::Completed) != (ended.place == Place::Destination && ended.error.is_none()) {
        wrongs.push("what completed is at its destination".into());
    }
    if model.running_copies() > 1 {
        wrongs.push("two copies run".into());
    }
    if script.managed && model.ends.iter().any(|end| end.ended_by_us) {
        wrongs.push("a VM of a product was ended by us".into());
    }
    wrongs.extend(disks::wrongly_told(ended, model));
    let two_ran_ms = model.two_ran_ns as f64 / MS as f64;
    let is_silent = script.faults.iter().any(|(_, fault)| matches!(fault, Fault::Freeze(..)))
        || script.act_faults.iter().any(Option::is_some);
    if two_ran_ms > if is_silent { TWO_RAN_MOST_SILENT_MS } else { TWO_RAN_MOST_MS } {
        wrongs.push(format!("two copies ran for {two_ran_ms} ms"));
    }
    let took_s = (model.now_ns - 1_000 * MS) / SECOND;
    if took_s > TOOK_MOST_S {
        wrongs.push(format!("it took {took_s} s to settle"));
    }
    // Whoever is frozen goes on at last, and does what it was told long ago.
    let later_ns = model.now_ns + 500_000 * MS;
    model.advance(later_ns);
    if model.running_copies() > 1 {
        wrongs.push("two copies run in the end".into());
    }
    let is_let_run_by_others = script.faults.iter().any(|(_, fault)| *fault == Fault::SwitchByOthers);
    if !should_run && model.running_copies() > 0 && !is_let_run_by_others {
        wrongs.push("a VM that its owner had paused runs".into());
    }
    // The other end goes where the one that has it dies just after it has said so.
    let died_since = ended.place == Place::Source && model.died_since_asked(Side::Source);
    let may_be_lost =
        may_be_lost(model) || is_left_stopped(model) || ended.place == Place::Unknown || died_since;
    if should_run && model.running_copies() == 0 && !may_be_lost {
        wrongs.push("none runs, though an end that held it lives".into());
    }
    wrongs
}

/// Whether the only end that held the VM died, or post-copy was torn apart, whose risk was accepted.
fn may_be_lost(model: &Model) -> bool {
    model.holder_died || model.torn
}

/// Whether it stands still at its source, because the product does not know whether it may run there, or somebody else has
/// stopped it.
fn is_left_stopped(model: &Model) -> bool {
    model.product.phase == Phase::InDoubt || model.product.stopped_by_others
}

/// A source whose migration failed after all had been sent runs the VM again by itself: until that is heard of, asked about
/// and undone, two run; longer where an answer is waited for in vain meanwhile.
const TWO_RAN_MOST_MS: f64 = 300.0;
const TWO_RAN_MOST_SILENT_MS: f64 = 6_500.0;
/// Twice the limit, patience twice, and the acts that are waited for in vain.
const TOOK_MOST_S: i64 = 600;
const SIDES: [Side; 2] = [Side::Source, Side::Destination];
const SECOND: i64 = 1_000 * MS;
/// After how long what goes away for good would be back.
const NEVER: i64 = 1_000_000 * SECOND;

/// Instants all along a migration, dense where it switches over.
fn instants() -> impl Iterator<Item = i64> {
    let coarse = (0..30).map(|step| step * 5 * MS);
    // Pre-copy of two passes switches over between 42 and 54 ms; post-copy at once between 2 and 10 ms.
    let fine = (0..64).map(|step| 40 * MS + step * MS / 4);
    let early = (0..24).map(|step| step * MS / 2);
    coarse.chain(fine).chain(early)
}

fn single_faults() -> Vec<Fault> {
    let mut faults =
        vec![Fault::CutLink, Fault::Reset, Fault::Interrupt, Fault::FullDisk, Fault::FailAtSource];
    for side in SIDES {
        faults.push(Fault::Kill(side));
        faults.extend(
            [SECOND / 2, 12 * SECOND, 40 * SECOND, 400 * SECOND].map(|time| Fault::Freeze(side, time)),
        );
    }
    faults
}

fn script(setting: &Setting, faults: &[(i64, Fault)]) -> Script {
    Script { setting: setting.clone(), faults: faults.to_vec(), act_faults: [None, None], managed: false }
}

/// One fault at any instant.
fn one_fault() -> Vec<Script> {
    let mut scripts = Vec::new();
    for setting in settings() {
        for at in instants() {
            scripts.extend(single_faults().into_iter().map(|fault| script(&setting, &[(at, fault)])));
        }
    }
    scripts
}

/// The user, or a failure, ends a migration around another fault, which comes at any instant before or after.
fn faults_around_an_end() -> Vec<Script> {
    let ends = [Fault::Interrupt, Fault::FailAtSource, Fault::CutLink, Fault::Reset];
    let mut scripts = Vec::new();
    for setting in settings() {
        for end_at in [10 * MS, 41 * MS, 42 * MS + MS / 2, 44 * MS, 46 * MS, 48 * MS, 49 * MS + MS / 2] {
            for end in ends {
                for before in [-3, -1, 0, 1, 3, 8] {
                    for fault in single_faults() {
                        let at = (end_at + before * MS / 2).max(0);
                        scripts.push(script(&setting, &[(end_at, end), (at, fault)]));
                    }
                }
            }
        }
    }
    scripts
}

/// Any act is refused or remains unanswered, while the migration ends by itself, by its limit, the user or a cut link.
fn acts_that_fail() -> Vec<Script> {
    let causes: [&[(i64, Fault)]; 5] = [
        &[],
        &[(10 * MS, Fault::Interrupt)],
        &[(43 * MS, Fault::Interrupt)],
        &[(46 * MS, Fault::CutLink)],
        &[(30 * MS, Fault::FailAtSource)],
    ];
    let mut scripts = Vec::new();
    for setting in settings() {
        for cause in causes {
            for act in 1..=5 {
                for fault in [ActFault::Refused, ActFault::Unanswered] {
                    for at_source in [true, false] {
                        let wrong = Some((act, fault));
                        let act_faults = if at_source { [wrong, None] } else { [None, wrong] };
                        scripts.push(Script { act_faults, ..script(&setting, cause) });
                    }
                }
            }
        }
    }
    scripts
}

/// The events of one end come late, so that what the other says is heard first.
fn late_events() -> Vec<Script> {
    let mut scripts = Vec::new();
    for setting in settings() {
        for events_late_ns in [[30 * MS, 0], [0, 30 * MS], [3 * MS, 0], [0, 3 * MS]] {
            let setting = Setting { events_late_ns, ..setting.clone() };
            for at in instants().filter(|at| *at > 30 * MS) {
                for fault in [
                    Fault::Interrupt,
                    Fault::Kill(Side::Destination),
                    Fault::Kill(Side::Source),
                    Fault::CutLink,
                ] {
                    scripts.push(script(&setting, &[(at, fault)]));
                }
                // It has become another's post-copy, and that is not heard yet.
                scripts
                    .push(script(&setting, &[(at - 10 * MS, Fault::SwitchByOthers), (at, Fault::Interrupt)]));
            }
        }
    }
    scripts
}

/// Faults and acts that fail and late events, several at once, by chance that is always the same.
fn at_random(count: u64) -> Vec<Script> {
    let settings = settings();
    (0..count).map(|seed| one_at_random(&settings, &mut Chance(seed))).collect()
}

fn one_at_random(settings: &[Setting], chance: &mut Chance) -> Script {
    let mut kinds = single_faults();
    kinds.extend([Fault::FailCopy, Fault::SwitchByOthers, Fault::LoseLastWord]);
    let setting = chance.one_of(settings).clone();
    let mut late = || chance.one_of(&[0, 0, 0, MS / 2, 3 * MS, 30 * MS, 80 * MS]).to_owned();
    let events_late_ns = [late(), late()];
    let setting = Setting { events_late_ns, ..setting };
    let faults = (0..2 + chance.below(3)).map(|_| {
        // All along, or around the switch-over, which is later where disks go first.
        let at = match chance.below(2) {
            0 => chance.below(600) * MS / 4,
            _ => (if setting.disks { 57 * MS } else { 40 * MS }) + chance.below(64) * MS / 4,
        };
        (at, *chance.one_of(&kinds))
    });
    let faults = faults.collect();
    let act_faults = [(); 2].map(|()| {
        let fault = *chance.one_of(&[ActFault::Refused, ActFault::Unanswered]);
        let act = u32::try_from(1 + chance.below(8)).unwrap_or(1);
        (chance.below(2) == 0).then_some((act, fault))
    });
    let managed = setting.strategy == PRE_COPY && !setting.waits && !setting.disks && chance.below(4) == 0;
    Script { setting, faults, act_faults: if managed { [None; 2] } else { act_faults }, managed }
}

/// Numbers that look like chance (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        i64::try_from((z ^ (z >> 31)) >> 1).unwrap_or(0) % limit
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let last = i64::try_from(all.len()).unwrap_or(1);
        &all[usize::try_from(self.below(last)).unwrap_or(0)]
    }
}

/// Plays scripts on all cores; fails with the first few that are wrong.
fn play_all(scripts: &[Script]) -> Vec<Ended> {
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    let results: Vec<Result<Ended, String>> = std::thread::scope(|scope| {
        let parts = scripts.chunks(scripts.len().div_ceil(cores));
        let threads: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().map(play).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let wrong: Vec<&String> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    let shown: Vec<&str> = wrong.iter().take(2).map(|text| text.as_str()).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} scripts are wrong:\n{}",
        wrong.len(),
        scripts.len(),
        shown.join("\n\n")
    );
    results.into_iter().flatten().collect()
}

fn count(ended: &[Ended], place: Place) -> usize {
    ended.iter().filter(|ended| ended.place == place).count()
}

#[test]
fn every_strategy_completes_where_nothing_goes_wrong() {
    for setting in settings() {
        let ended = play(&script(&setting, &[])).unwrap();
        let expected = if setting.converges_after.is_some() {
            (Status::Completed, Place::Destination)
        } else {
            (Status::NotConverged, Place::Source)
        };
        assert_eq!((ended.status, ended.place), expected, "{setting:?}");
    }
}

#[test]
fn one_fault_at_any_instant_leaves_one_copy_in_a_known_place() {
    let scripts = one_fault();
    let ended = play_all(&scripts);
    println!(
        "{} scripts: {} at the source, {} at the destination, {} nowhere, {} unknown",
        scripts.len(),
        count(&ended, Place::Source),
        count(&ended, Place::Destination),
        count(&ended, Place::Nowhere),
        count(&ended, Place::Unknown)
    );
}

#[test]
fn a_fault_around_an_end_leaves_one_copy_in_a_known_place() {
    let scripts = faults_around_an_end();
    assert!(scripts.len() > 10_000, "{}", scripts.len());
    play_all(&scripts);
}

#[test]
fn an_act_that_is_refused_or_not_answered_leaves_one_copy_in_a_known_place() {
    play_all(&acts_that_fail());
}

#[test]
fn events_that_come_late_leave_one_copy_in_a_known_place() {
    play_all(&late_events());
}

#[test]
fn several_faults_at_random_leave_one_copy_in_a_known_place() {
    play_all(&at_random(20_000));
}

/// The switch is asked for when it has gone over by itself, but that is heard late.
#[test]
fn a_switch_that_comes_too_late_ends_no_healthy_migration() {
    let late = Setting { events_late_ns: [50 * MS, 0], ..setting(&POST_COPY) };
    let ended = play(&script(&late, &[])).unwrap();
    assert_eq!((ended.status, ended.place), (Status::Completed, Place::Destination), "{ended:?}");
}

/// Asked for, but nothing goes to a destination that stands still: after all patience it is taken back, not left alone.
#[test]
fn a_switch_that_never_comes_about_is_taken_back() {
    let setting = Setting { switch_ns: 3 * MS, ..setting(&POST_COPY) };
    for at in [0, 2 * MS, 3 * MS] {
        let ended = play(&script(&setting, &[(at, Fault::Freeze(Side::Destination, 400 * SECOND))])).unwrap();
        assert_eq!((ended.status, ended.place), (Status::Failed, Place::Source), "{ended:?}");
    }
}

/// Post-copy may begin at any moment then: what is cancelled would be torn apart.
#[test]
fn once_the_switch_is_asked_for_the_user_comes_too_late() {
    // A source that is long at a pass takes its time; both ends answer meanwhile, and nothing is known to have begun.
    let setting = Setting { switch_ns: 100 * MS, converges_after: None, ..setting(&POST_COPY) };
    for at in [3 * MS, 6 * MS, 30 * MS, 70 * MS] {
        let ended = play(&script(&setting, &[(at, Fault::Interrupt)])).unwrap();
        assert_eq!((ended.status, ended.place), (Status::Completed, Place::Destination), "{ended:?}");
    }
}

/// Another's post-copy is heard of late, if at all: neither of QEMU's events tells of it before its cancel is refused.
#[test]
fn a_post_copy_that_others_began_is_not_torn_apart() {
    let late = [50 * MS; 2];
    let setting = Setting { post_copy_ns: 30 * SECOND, events_late_ns: late, ..setting(&PRE_COPY) };
    for ms in 31..60 {
        let faults = [(30 * MS, Fault::SwitchByOthers), (ms * MS, Fault::Interrupt)];
        let ended = play(&script(&setting, &faults)).unwrap();
        let went_over = (ended.status, ended.place) == (Status::Completed, Place::Destination);
        // Until its device state is sent it can still be cancelled.
        assert!(went_over || (ms < 35 && ended.place == Place::Source), "{ms} {ended:?}");
    }
}

/// When its connection breaks at last, it would run the VM that runs elsewhere.
#[test]
fn a_source_that_never_hears_of_the_arrival_does_not_run_the_vm_again() {
    for setting in settings().into_iter().filter(|setting| setting.converges_after.is_some()) {
        for frozen in [None, Some((70 * MS, Fault::Freeze(Side::Source, 400 * SECOND)))] {
            let mut faults = vec![(0, Fault::LoseLastWord), (700 * SECOND, Fault::CutLink)];
            faults.extend(frozen);
            play(&script(&setting, &faults)).unwrap();
        }
    }
    let lost = [(0, Fault::LoseLastWord), (700 * SECOND, Fault::CutLink)];
    let ended = play(&script(&setting(&PRE_COPY), &lost)).unwrap();
    assert_eq!(ended.place, Place::Destination, "{ended:?}");
}

#[test]
fn a_managed_migration_ends_in_a_known_place_whatever_happens() {
    let pre_copy = |setting: &Setting| setting.strategy == PRE_COPY && !setting.waits && !setting.disks;
    let managed = |script: Script| Script { managed: true, ..script };
    let all = one_fault().into_iter().chain(faults_around_an_end()).chain(late_events());
    let scripts: Vec<Script> = all.filter(|script| pre_copy(&script.setting)).map(managed).collect();
    assert!(scripts.len() > 10_000, "{}", scripts.len());
    play_all(&scripts);
}

#[test]
fn a_migration_under_way_is_tuned_by_either_kind_of_mover() {
    let limit = Duration::from_millis(40);
    let acts = [Act::SetDowntimeLimit { limit }, Act::SetBandwidth { bytes_s: Some(7) }];
    for managed in [false, true] {
        let model = Arc::new(Mutex::new(Model::new(setting(&PRE_COPY), &[], [None, None])));
        let mut mover = mover(&script(&setting(&PRE_COPY), &[]), &model, managed);
        mover.begin().unwrap();
        acts.iter().for_each(|act| mover.act(*act).unwrap());
        mover.act(Act::SetBandwidth { bytes_s: None }).unwrap();
        let expected = [Tuning::DowntimeLimit(limit), Tuning::Bandwidth(Some(7)), Tuning::Bandwidth(None)];
        let tunings = model.lock().unwrap().tunings.clone();
        assert_eq!(tunings, expected.map(|tuning| (model::Job::Setup, tuning)));
    }
    assert_eq!(acts.map(Act::name), ["set-downtime-limit", "set-bandwidth"]);
}
