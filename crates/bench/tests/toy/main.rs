//! A driver of the managed kind that Dunlin does not know, on hosts without taps, helpers and agents, takes a whole run from
//! scenario to outcome: the rooms left of the record know contracts, never a product.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod bare_host;
mod driver;
mod elsewhere;
mod testbed;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_bench::{BenchError, Existing, Finished, Ground, Observer, Order, Scenario};
use dunlin_hypervisor::{Journey, Obstacle, Registry};
use dunlin_record::{
    EventKind, Moment, Outcome, Place, RunFolder, RunInfo, Status, TrialRecord, read_events,
};

use driver::{OUTAGE_MS, Script, Toy};
use testbed::ToyTestbed;

/// Takes what a run says before it starts.
#[derive(Default)]
struct Listener(Vec<String>);

impl Observer for Listener {
    fn run_started(&mut self, _: &str, _: RangeInclusive<usize>, _: Duration, _: &Path) {}

    fn trial_started(&mut self, _: usize, _: &str, _: Duration) {}

    fn stage(&mut self, _: &str) {}

    fn trial_ended(&mut self, _: &[Outcome]) {}

    fn note(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}

const NAME: &str = "old-faithful";
const THERE: &str = "[[case]]\nname = \"there\"\ntoy = { loud = true }\n";

/// A toys' world, in which runs are made in one folder.
struct Play {
    toy: Toy,
    script: Script,
    existing: Vec<Existing>,
    stay: bool,
    trials: u32,
    dir: tempfile::TempDir,
    said: Vec<String>,
}

impl Play {
    /// A world by a script, of which all VMs are named.
    fn of(script: Script) -> Self {
        let name = |name: &&str| Existing { name: (*name).to_owned(), address: None };
        let existing = script.vms.iter().map(name).collect();
        let (toy, dir) = (Toy::new(script.clone()), tempfile::tempdir().unwrap());
        Self { toy, script, existing, stay: false, trials: 1, dir, said: Vec::new() }
    }

    fn run(&mut self, cases: &str) -> Result<Finished, BenchError> {
        self.play(cases, false)
    }

    fn play(&mut self, cases: &str, resume: bool) -> Result<Finished, BenchError> {
        let registry = Registry::builtin().with(self.toy.clone());
        let text = format!(
            "name = \"toy\"\n[link.migration]\nrate_mbit = \"none\"\n[probes]\nicmp = false\nudp = {{ interval_ms = 1.0 }}\n[trials]\ncount = {}\nbaseline_s = 0.3\n\
             settle_s = 0.3\nlimit_s = 10\n{cases}",
            self.trials
        );
        let scenario = Scenario::parse_for(&text, "toy.toml", &registry).unwrap();
        let order = Order {
            scenario: &scenario,
            folder: &self.path(),
            resume,
            cancel: &self.script.cancel,
            registry: &registry,
            existing: &self.existing,
            stay: self.stay,
        };
        let mut listener = Listener::default();
        let ground = Ground::Testbed(Box::new(ToyTestbed::new()));
        let finished = dunlin_bench::run(&order, ground, &mut listener);
        self.said = listener.0;
        finished
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn folder(&self) -> RunFolder {
        RunFolder::open(&self.path()).unwrap()
    }

    fn info(&self) -> RunInfo {
        self.folder().info().unwrap()
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.folder().outcomes().unwrap()
    }

    fn records(&self) -> Vec<TrialRecord> {
        let folder = self.folder();
        folder.trials().unwrap().iter().map(|id| folder.read_trial(id).unwrap()).collect()
    }

    /// Where the VMs were in the end, as the records say.
    fn places(&self) -> Vec<Place> {
        let records = self.records();
        let events = records.iter().flat_map(|record| &record.events);
        events
            .filter_map(|event| match event.kind {
                EventKind::VmPlaced { place, .. } => Some(place),
                _ => None,
            })
            .collect()
    }

    fn warnings(&self) -> Vec<String> {
        let events = self.records().into_iter().flat_map(|record| record.events);
        events
            .filter_map(|event| match event.kind {
                EventKind::Warning { text } => Some(text),
                _ => None,
            })
            .collect()
    }

    /// A file among a trial's logs.
    fn log(&self, trial: usize, name: &str) -> PathBuf {
        let folder = self.folder();
        folder.logs_path(&folder.trials().unwrap()[trial]).join(name)
    }

    fn journeys(&self) -> Vec<Journey> {
        self.toy.journeys().into_iter().map(|(_, journey)| journey).collect()
    }

    fn heard(&self, words: &str) -> bool {
        self.said.iter().any(|said| said.contains(words))
    }
}

fn text_of(result: Result<Finished, BenchError>) -> String {
    result.expect_err("an error").to_string()
}

#[test]
fn a_driver_of_tests_takes_a_run_from_scenario_to_outcome_without_tap_helper_and_agent() {
    let mut play = Play::of(Script::default());
    let finished = play.run(THERE).unwrap();
    assert_eq!(finished.ended, [1, 0, 0]);
    let outcomes = play.outcomes();
    let [outcome] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!((outcome.status, &play.places()[..]), (Status::Completed, &[Place::Destination][..]));
    assert_eq!(outcome.hypervisor.as_ref().unwrap().name, "toy");
    // The probe saw what the product did not tell; never less than it lasted, and not by far more.
    let udp_ms = outcome.downtime_ms.udp.unwrap();
    assert!(udp_ms >= OUTAGE_MS as f64 - 2.0 && udp_ms < 20.0 * OUTAGE_MS as f64, "{udp_ms}");
    assert!(outcome.total_time_ms.unwrap() > udp_ms);
    // What nobody could measure is absent, and was said to be beforehand.
    assert_eq!((outcome.downtime_ms.reported, outcome.downtime_ms.icmp), (None, None));
    assert!(
        outcome.wire_bytes.is_none() && outcome.ram_bytes.is_none() && outcome.link.goodput_mbit.is_none()
    );
    for absent in ["wire bytes", "no taps", "no agent"] {
        assert!(play.heard(absent), "{:?}", play.said);
    }
    assert!(!play.heard("address is not known"), "{:?}", play.said);
}

#[test]
fn a_vm_that_exists_is_brought_back_after_each_trial_and_is_as_it_was() {
    let mut play = Play::of(Script::default());
    play.trials = 2;
    let finished = play.run(THERE).unwrap();
    assert_eq!((finished.ended, finished.definitions_changed), ([2, 0, 0], 0));
    use Journey::{Excursion, Home};
    assert_eq!(play.journeys(), [Excursion, Home, Excursion, Home]);
    assert_eq!(play.toy.place(NAME), ("left".into(), true));
    // Of the way back nothing is in the record, and all of it beside that.
    assert_eq!(play.places(), [Place::Destination; 2]);
    let events = read_events(&play.log(1, "way-back/events.jsonl.zst")).unwrap().events;
    let hosts: Vec<_> = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::MigrateCommand | EventKind::MigrationCompleted))
        .map(|event| event.host.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(hosts, ["right", "left"]);
    assert!(!play.log(1, "definition-old-faithful.diff").exists());
    assert_eq!(play.info().existing, play.existing);
}

#[test]
fn where_a_vm_is_reached_and_who_says_so_is_told_and_recorded() {
    let mut play = Play::of(Script::default());
    play.run(THERE).unwrap();
    let found = |play: &Play| {
        let records = play.records();
        let mut kinds = records[0].events.iter().map(|event| &event.kind);
        kinds
            .find_map(|kind| match kind {
                EventKind::VmFound { address, told_by, paused } => Some((*address, told_by.clone(), *paused)),
                _ => None,
            })
            .unwrap()
    };
    // Not the first, of a network in which nobody is, nor the one that the testbed would give a guest of ours.
    let (address, told_by, paused) = found(&play);
    let address = address.unwrap();
    assert_eq!(
        (&address.octets()[..2], told_by.as_deref(), paused),
        (&[127, 77][..], Some("a label"), false)
    );
    assert!(
        play.heard(&format!("old-faithful is reached at {address} (told by a label)")),
        "{:?}",
        play.said
    );

    // What the user says goes before what the product knows.
    let mut play = Play::of(Script::default());
    let given = play.toy.address(NAME);
    play.existing[0].address = Some(given);
    play.run(THERE).unwrap();
    assert_eq!(found(&play), (Some(given), Some("--vm-address".to_owned()), false));
    assert_eq!(play.info().existing[0].address, Some(given));
}

#[test]
fn what_the_product_knows_that_a_vm_holds_is_recorded_where_no_agent_says_it() {
    let mut play = Play::of(Script::default());
    play.run(THERE).unwrap();
    let outcome = &play.outcomes()[0];
    for moment in [Moment::Before, Moment::After] {
        let records = play.records();
        let held = records[0].events.iter().find_map(|event| match &event.kind {
            EventKind::MemoryHeld { moment: when, held } if *when == moment => Some(*held),
            _ => None,
        });
        let held = held.unwrap();
        assert_eq!((held.configured_bytes, held.used_bytes), (Some(64 << 20), Some(32 << 20)));
    }
    assert_eq!((outcome.memory_mib.configured, outcome.memory_mib.used), (Some(64.0), Some(32.0)));
    assert_eq!(outcome.disk_mib.as_ref().and_then(|disk| disk.used), Some(1024.0), "{outcome:?}");
}

#[test]
fn a_case_that_the_driver_fails_leaves_the_vm_where_it_was_and_says_so() {
    let mut play = Play::of(Script::default());
    let finished = play.run("[[case]]\nname = \"refused\"\ntoy = { refuses = true }\n").unwrap();
    assert_eq!(finished.ended, [0, 0, 1]);
    assert_eq!(play.places(), [Place::Source]);
    let error = play.outcomes()[0].error.clone().unwrap();
    assert!(error.contains("not in the mood"), "{error}");
    assert_eq!((play.toy.place(NAME), play.journeys()), (("left".into(), true), Vec::new()));
    assert!(!play.log(0, "way-back").exists());
}

#[test]
fn a_vm_that_does_not_come_back_ends_the_run_with_what_both_ends_say_and_keeps_what_was_measured() {
    let mut play = Play::of(Script { stays_away: true, ..Script::default() });
    play.trials = 3;
    let error = text_of(play.run(THERE));
    for words in [
        "old-faithful is not back on left: ",
        "it likes it here",
        "left says: left refused find: no such toy",
        "right says of it: Running",
    ] {
        assert!(error.contains(words), "{error}");
    }
    assert_eq!((play.journeys(), play.outcomes().len()), (vec![Journey::Excursion], 1));
    assert_eq!(play.toy.place(NAME), ("right".into(), true));

    // Before it is brought back by hand nothing goes on, and nobody is told to start a second one.
    let error = play.play(THERE, true).expect_err("it is not there");
    elsewhere::is_told_to_be_at_the_other_host(&error, "Running");
    assert_eq!(play.outcomes().len(), 1);
}

#[test]
fn a_vm_of_which_nobody_knows_is_left_alone_and_ends_the_run() {
    let mut play = Play::of(Script { are_lost: true, ..Script::default() });
    play.trials = 2;
    let error = text_of(play.run(THERE));
    assert!(
        error.starts_with("it is not known where old-faithful runs, so nothing was done to it: "),
        "{error}"
    );
    assert_eq!(error.matches("no such toy").count(), 2, "{error}");
    assert_eq!((play.journeys(), play.outcomes().len()), (vec![Journey::Excursion], 1));
}

#[test]
fn what_speaks_against_moving_a_vm_is_told_whole_and_nothing_is_begun() {
    let obstacle = |what: &str, mend: &str| Obstacle { what: what.into(), mend: mend.into() };
    let obstacles =
        vec![obstacle("right has no shelf", "put one up"), obstacle("the box is taped", "cut it")];
    let mut play = Play::of(Script { obstacles, ..Script::default() });
    let cases = format!("{THERE}[[case]]\nname = \"again\"\ntoy = {{}}\n");
    let error = text_of(play.run(&cases));
    let told = "nothing was moved, because of:\n\
        1. old-faithful: right has no shelf\n   mend it by: put one up\n\
        2. old-faithful: the box is taped\n   mend it by: cut it";
    assert_eq!(error, told);
    assert!(play.journeys().is_empty() && !play.path().exists());
}

#[test]
fn a_definition_that_is_other_after_the_return_is_told_counted_and_shown() {
    let mut play = Play::of(Script { redefines: true, ..Script::default() });
    play.trials = 2;
    let finished = play.run(THERE).unwrap();
    assert_eq!((finished.ended, finished.definitions_changed), ([2, 0, 0], 2));
    assert!(play.heard("warning: old-faithful is not defined on left as it was before"), "{:?}", play.said);
    let warned = |text: &&String| text.contains("is not defined on left");
    assert_eq!(play.warnings().iter().filter(warned).count(), 2);
    let shown = std::fs::read_to_string(play.log(1, "definition-old-faithful.diff")).unwrap();
    assert_eq!(shown, " a toy\n named old-faithful\n-of colour 1\n+of colour 2\n and wood\n");
}

#[test]
fn a_vm_that_its_owner_paused_comes_and_goes_paused_and_nobody_resumes_it() {
    // A toy that is told to stop or to resume panics.
    let mut play = Play::of(Script { paused: true, ..Script::default() });
    let cases = format!("{THERE}[[case]]\nname = \"asked\"\ntoy = {{}}\nvm.paused = true\n");
    let finished = play.run(&cases).unwrap();
    assert_eq!(finished.ended, [2, 0, 0], "{:?}", play.outcomes());
    assert_eq!(play.toy.place(NAME), ("left".into(), false));
    assert_eq!((play.places(), play.journeys().len()), (vec![Place::Destination; 2], 4));
    assert!(
        play.heard("old-faithful is paused, and is moved as it is: nothing probes it"),
        "{:?}",
        play.said
    );
    assert!(play.outcomes().iter().all(|outcome| outcome.downtime_ms.udp.is_none()));
}

#[test]
fn a_vm_that_the_case_pauses_runs_again_after_the_move_and_when_it_failed() {
    for (settings, journeys, ended) in [("{}", 2, [1, 0, 0]), ("{ refuses = true }", 0, [0, 0, 1])] {
        let mut play = Play::of(Script { may_be_paused: true, ..Script::default() });
        let case = format!("[[case]]\nname = \"c\"\ntoy = {settings}\nvm.paused = true\n");
        let finished = play.run(&case).unwrap();
        assert_eq!((finished.ended, play.journeys().len()), (ended, journeys), "{:?}", play.outcomes());
        assert_eq!(play.toy.place(NAME), ("left".into(), true));
    }
}

#[test]
fn a_vm_that_is_to_stay_is_moved_once_and_for_good() {
    let mut play = Play::of(Script::default());
    play.stay = true;
    play.trials = 2;
    let error = text_of(play.run(THERE));
    assert!(error.starts_with("2 trials are asked for, and with --stay there can be one"), "{error}");
    assert!(play.journeys().is_empty() && !play.path().exists());

    play.trials = 1;
    let finished = play.run(THERE).unwrap();
    assert_eq!((finished.ended, play.journeys()), ([1, 0, 0], vec![Journey::ForGood]));
    assert_eq!(play.toy.place(NAME), ("right".into(), true));
    assert!(play.info().stay && !play.log(0, "way-back").exists());
}

#[test]
fn who_ends_the_run_after_the_arrival_gets_the_vm_back_first() {
    let mut play = Play::of(Script { presses_there: 1, ..Script::default() });
    play.trials = 2;
    let finished = play.run(THERE).unwrap();
    assert!(finished.cancelled && play.script.cancel.is_cancelled());
    assert_eq!(play.journeys(), [Journey::Excursion, Journey::Home]);
    assert_eq!(play.toy.place(NAME), ("left".into(), true));
    let told = "bringing old-faithful back to left; Ctrl-C once more leaves it on right";
    assert!(play.heard(told), "{:?}", play.said);

    // The trial that was ended, and the other, are made when the run is gone on with.
    let script = Script { cancel: dunlin_clock::Cancel::new(), ..Script::default() };
    play.toy.go_on_by(script.clone());
    play.script = script;
    let finished = play.play(THERE, true).unwrap();
    assert_eq!((finished.ended, finished.cancelled), ([2, 0, 0], false));
    assert_eq!(play.outcomes().len(), 2);
}

#[test]
fn who_ends_the_run_on_the_way_back_is_told_once_and_leaves_the_vm_with_the_second_wish() {
    let mut play = Play::of(Script { presses_back: 1, ..Script::default() });
    play.trials = 2;
    let finished = play.run(THERE).unwrap();
    // What was measured had ended.
    assert_eq!((finished.ended, finished.cancelled), ([1, 0, 0], true));
    assert_eq!(play.toy.place(NAME), ("left".into(), true));
    assert!(play.heard("Ctrl-C once more leaves it on right"), "{:?}", play.said);

    let mut play = Play::of(Script { presses_back: 2, ..Script::default() });
    let error = play.run(THERE).expect_err("it is not back");
    assert!(matches!(error, BenchError::NotHome { by_user: true, .. }), "{error:?}");
    let error = error.to_string();
    for words in ["is not back on left: ended by the user", "right says of it: Running"] {
        assert!(error.contains(words), "{error}");
    }
    assert_eq!((play.toy.place(NAME), play.outcomes().len()), (("right".into(), true), 1));
}

#[test]
fn several_vms_each_go_and_come_back_whatever_they_are_called() {
    let mut play = Play::of(Script { vms: vec!["a/../../b", "größe 2"], ..Script::default() });
    let finished = play.run(THERE).unwrap();
    assert_eq!(finished.ended, [1, 0, 0], "{:?}", play.outcomes());
    use Journey::{Excursion, Home};
    let (one, two) = ("a/../../b".to_owned(), "größe 2".to_owned());
    let expected =
        [(one.clone(), Excursion), (two.clone(), Excursion), (one.clone(), Home), (two.clone(), Home)];
    assert_eq!(play.toy.journeys(), expected);
    for vm in [&one, &two] {
        assert_eq!(play.toy.place(vm), ("left".into(), true));
    }
    let time = finished.time;
    let shares = [time.migrating_ns, time.observing_ns, time.starting_ns, time.other_ns];
    assert!(shares.iter().all(|share| *share >= 0), "{time:?}");
    // Each has its own figures, read back by its own name.
    let outcomes = play.outcomes();
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.iter().all(|outcome| outcome.downtime_ms.udp.is_some()), "{outcomes:?}");
    // Nothing is written beside the run.
    assert_eq!(std::fs::read_dir(play.dir.path()).unwrap().count(), 1);
}

#[test]
fn a_run_is_gone_on_with_with_the_vms_it_had() {
    let mut play = Play::of(Script { vms: vec![NAME, "other"], ..Script::default() });
    play.existing.truncate(1);
    play.run(THERE).unwrap();
    play.trials = 2;
    let had = std::mem::take(&mut play.existing);
    let error = text_of(play.play(THERE, true));
    assert!(error.ends_with("moved old-faithful, and not guests of ours"), "{error}");
    play.existing = vec![Existing { name: "other".into(), address: None }];
    let error = text_of(play.play(THERE, true));
    assert!(error.ends_with("moved old-faithful, and not other"), "{error}");
    play.existing = had;
    let finished = play.play(THERE, true).unwrap();
    assert_eq!((finished.ended, play.outcomes().len()), ([1, 0, 0], 2));
}

#[test]
fn a_workload_in_a_vm_without_an_agent_is_skipped_before_anything_is_moved() {
    let mut play = Play::of(Script::default());
    let cases = format!(
        "{THERE}[[case]]\nname = \"busy\"\ntoy = {{}}\nworkload = {{ kind = \"memory-write\", working_set_mib = 1 }}\n"
    );
    let finished = play.run(&cases).unwrap();
    assert_eq!((finished.ended, finished.skipped), ([1, 0, 0], 1));
    assert!(play.heard("a workload in old-faithful is not supported: no agent of ours"), "{:?}", play.said);
    assert_eq!(play.journeys().len(), 2);
}

#[test]
fn what_the_driver_cannot_do_is_skipped_with_its_reason_before_anything_starts() {
    let mut play = Play::of(Script::default());
    let cases =
        format!("[[case]]\nname = \"post-copy\"\nstrategy = {{ kind = \"post-copy\" }}\ntoy = {{}}\n{THERE}");
    let finished = play.run(&cases).unwrap();
    assert_eq!((finished.ended, finished.skipped), ([1, 0, 0], 1));
    assert!(play.heard("a toy knows only one way"), "{:?}", play.said);
}

#[test]
fn what_no_version_of_the_product_knows_is_told_by_file_and_case_and_nothing_is_run() {
    let cases = "[[case]]\nname = \"there\"\ntoy = {}\n\
        [[case]]\nname = \"odd\"\ntoy = { colour = \"rde\" }\nvm.vcpus = [1, 2]\n";
    let error = text_of(Play::of(Script::default()).run(cases));
    let told =
        "toy.toml: case \"odd 1\" and 1 more: toy.colour: there is no such colour, did you mean \"red\"?";
    assert_eq!(error, told);
}

#[test]
fn what_names_no_driver_is_for_the_one_that_is_preferred() {
    let registry = Registry::builtin().with(Toy::new(Script { vms: Vec::new(), ..Script::default() }));
    let text = "name = \"plain\"\n[[case]]\nname = \"plain\"\n[[case]]\nname = \"own\"\nqemu = {}\n";
    let drivers = |registry: &Registry| {
        let scenario = Scenario::parse_for(text, "plain.toml", registry).unwrap();
        scenario.cases.into_iter().map(|case| case.hypervisor.driver).collect::<Vec<_>>()
    };
    assert_eq!(drivers(&registry), ["qemu", "qemu"]);
    let preferring = registry.preferring("toy");
    assert_eq!(drivers(&preferring), ["toy", "qemu"]);
    assert_eq!(drivers(&preferring.preferring("unknown")), ["toy", "qemu"]);
}
