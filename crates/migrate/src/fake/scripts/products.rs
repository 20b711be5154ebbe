//! The same with products that have daemons, which die, hang and come back, and clients that are lost.

use super::*;

/// What products with daemons are like.
fn products() -> Vec<Setting> {
    let product = Setting { daemons: true, ..setting(&PRE_COPY) };
    let shows = Setting { shows_incoming: true, ..product.clone() };
    vec![
        Setting { ends_what_is_left: true, ..product.clone() },
        Setting { remembers: false, ..product.clone() },
        Setting { remembers: false, ends_what_is_left: true, ..shows.clone() },
        Setting { runs_at_first: false, ..shows.clone() },
        Setting { converges_after: None, ..shows.clone() },
        Setting { tells_switch_over: false, ..shows.clone() },
        product,
        shows,
    ]
}

/// What may go wrong with a product beside what goes wrong with its VM.
fn product_faults() -> Vec<Fault> {
    let mut faults = vec![Fault::LoseClient, Fault::CancelByOthers, Fault::StopByOthers];
    for side in SIDES {
        for time in [5 * MS, SECOND, 20 * SECOND, 50 * SECOND, NEVER] {
            faults.extend([Fault::DaemonDies(side, time), Fault::DaemonHangs(side, time)]);
        }
    }
    faults
}

fn managed(setting: &Setting, faults: &[(i64, Fault)]) -> Script {
    Script { managed: true, ..script(setting, faults) }
}

#[test]
fn a_product_with_daemons_completes_where_nothing_goes_wrong() {
    for setting in products() {
        let ended = play(&managed(&setting, &[])).unwrap();
        let expected = if setting.converges_after.is_some() {
            (Status::Completed, Place::Destination)
        } else {
            (Status::NotConverged, Place::Source)
        };
        assert_eq!((ended.status, ended.place), expected, "{setting:?} {ended:?}");
    }
}

#[test]
fn one_fault_of_a_product_at_any_instant_leaves_one_copy_in_a_known_place() {
    let mut scripts = Vec::new();
    for setting in products() {
        for at in instants().step_by(5) {
            let faults = product_faults().into_iter().chain(single_faults());
            scripts.extend(faults.map(|fault| managed(&setting, &[(at, fault)])));
        }
    }
    play_all(&scripts);
}

/// All that goes wrong elsewhere goes wrong with each kind of product, and something with the product itself besides.
#[test]
fn faults_of_a_product_beside_others_leave_one_copy_in_a_known_place() {
    let is_plain = |script: &Script| {
        script.setting.strategy == PRE_COPY && !script.setting.waits && !script.setting.disks
    };
    let all = one_fault().into_iter().chain(faults_around_an_end()).chain(late_events());
    let all: Vec<Script> = all.filter(is_plain).collect();
    // What is away for good is waited for with all patience: it has its own test.
    let (products, mut faults) = (products(), product_faults());
    faults.retain(|fault| !matches!(fault, Fault::DaemonDies(_, NEVER) | Fault::DaemonHangs(_, NEVER)));
    let chance = &mut Chance(13);
    let mut scripts = Vec::new();
    for base in all {
        let product = chance.one_of(&products).clone();
        let (events_late_ns, runs_at_first) = (base.setting.events_late_ns, base.setting.runs_at_first);
        let setting = Setting { events_late_ns, runs_at_first, ..product };
        let near = base.faults.first().map_or(0, |(at, _)| *at);
        let at = (near + (chance.below(41) - 20) * MS / 4).max(0);
        let more = (at, *chance.one_of(&faults));
        let faults: Vec<_> = base.faults.into_iter().chain([more]).collect();
        scripts.push(managed(&setting, &faults));
    }
    assert!(scripts.len() > 10_000, "{}", scripts.len());
    play_all(&scripts);
}

#[test]
fn several_faults_of_a_product_at_random_leave_one_copy_in_a_known_place() {
    let (products, mut kinds) = (products(), product_faults());
    kinds.extend(single_faults());
    let one = |seed: u64| {
        let chance = &mut Chance(seed + 1_000_000);
        let setting = chance.one_of(&products).clone();
        let faults: Vec<_> = (0..2 + chance.below(3))
            .map(|_| {
                let at = if chance.below(2) == 0 { chance.below(600) } else { 160 + chance.below(64) };
                (at * MS / 4, *chance.one_of(&kinds))
            })
            .collect();
        managed(&setting, &faults)
    };
    play_all(&(0..4_000).map(one).collect::<Vec<_>>());
}

#[test]
fn a_migration_that_somebody_else_cancels_has_failed_at_once() {
    let endless = Setting { converges_after: None, ..setting(&PRE_COPY) };
    let product = Setting { daemons: true, ..endless.clone() };
    for script in [script(&endless, &[]), managed(&product, &[])] {
        let ended = play(&Script { faults: vec![(20 * MS, Fault::CancelByOthers)], ..script }).unwrap();
        assert_eq!((ended.status, ended.place), (Status::Failed, Place::Source), "{ended:?}");
        assert_eq!(ended.error.as_deref(), Some("somebody else ended the migration"));
    }
}

/// A cancel that was lost with a daemon that hung is asked for again, else the migration would go on for ever.
#[test]
fn a_cancel_that_a_product_did_not_answer_is_asked_for_again() {
    let product = Setting { daemons: true, converges_after: None, ..setting(&PRE_COPY) };
    for shows_incoming in [false, true] {
        let setting = Setting { shows_incoming, ..product.clone() };
        let hangs = [(15 * MS, Fault::DaemonHangs(Side::Source, 20 * SECOND))];
        let ended = play(&managed(&setting, &hangs)).unwrap();
        assert_eq!((ended.status, ended.place), (Status::NotConverged, Place::Source), "{ended:?}");
    }
}

/// What the destination's daemon was ordered while it hung it does when it goes on, though the source's has given it up by then.
#[test]
fn a_source_whose_product_is_in_doubt_is_not_resumed_while_the_destination_shows_what_may_yet_run() {
    let setting = Setting { daemons: true, shows_incoming: true, ..setting(&PRE_COPY) };
    for step in 0..40 {
        let at = 45 * MS + step * MS / 4;
        play(&managed(&setting, &[(at, Fault::DaemonHangs(Side::Destination, 50 * SECOND))])).unwrap();
    }
}

/// What goes wrong and when, and what comes of it.
type Row<'a> = (&'a [(i64, Fault)], Status, Place);

/// As `docs/drivers.md` says of each.
#[test]
fn what_follows_from_a_daemon_that_is_away_is_what_the_guide_says() {
    use Fault::{CancelByOthers, DaemonDies, LoseClient, StopByOthers};
    use Side::{Destination, Source};
    let product = Setting { daemons: true, ..setting(&PRE_COPY) };
    // The order to run is given at 49.8 ms, and obeyed half a millisecond later.
    let (before, after) = (20 * MS, 50 * MS + MS / 2);
    let rows: [Row<'_>; 10] = [
        (&[(before, DaemonDies(Source, SECOND))], Status::Failed, Place::Source),
        (&[(before, DaemonDies(Source, NEVER))], Status::Failed, Place::Unknown),
        (&[(after, DaemonDies(Source, SECOND))], Status::Failed, Place::Destination),
        (&[(before, DaemonDies(Destination, SECOND))], Status::Failed, Place::Source),
        (&[(before, DaemonDies(Destination, NEVER))], Status::Failed, Place::Source),
        (&[(50 * MS, DaemonDies(Destination, NEVER))], Status::Failed, Place::Unknown),
        (&[(50 * MS, DaemonDies(Destination, SECOND))], Status::Failed, Place::Nowhere),
        (&[(before, LoseClient)], Status::Completed, Place::Destination),
        (&[(before, CancelByOthers)], Status::Failed, Place::Source),
        (&[(before, StopByOthers)], Status::Completed, Place::Destination),
    ];
    for (faults, status, place) in rows {
        let ended = play(&managed(&product, faults)).unwrap();
        assert_eq!((ended.status, ended.place), (status, place), "{faults:?}: {ended:?}");
    }
}
