//! A driver of the managed kind that Dunlin does not know, on hosts without taps, helpers and agents, takes a whole run from
//! scenario to outcome: the rooms left of the record know contracts, never a product.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod bare_host;
mod driver;
mod testbed;

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use dunlin_bench::{BenchError, Finished, Ground, Observer, Order, Scenario};
use dunlin_clock::Cancel;
use dunlin_hypervisor::Registry;
use dunlin_record::{EventKind, Outcome, Place, RunFolder, Status, TrialId};

use driver::{OUTAGE_MS, Toy};
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

struct Played {
    finished: Finished,
    outcomes: Vec<Outcome>,
    said: Vec<String>,
    places: Vec<Place>,
    /// Where the VM runs in truth, and how often it was moved.
    truth: (String, u32),
    _dir: tempfile::TempDir,
}

fn play(cases: &str, existing: &[&str]) -> Played {
    try_to_play(cases, existing).unwrap()
}

fn try_to_play(cases: &str, existing: &[&str]) -> Result<Played, BenchError> {
    let toy = Toy::default();
    let registry = Registry::builtin().with(toy.clone());
    let text = format!(
        "name = \"toy\"\n[link.migration]\nrate_mbit = \"none\"\n[probes]\nicmp = false\nudp = {{ interval_ms = 1.0 }}\n[trials]\ncount = 1\nbaseline_s = 0.3\n\
         settle_s = 0.3\nlimit_s = 10\n{cases}"
    );
    let scenario = Scenario::parse_for(&text, "toy.toml", &registry).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("run");
    let existing: Vec<String> = existing.iter().map(|&name| name.to_owned()).collect();
    let order = Order {
        scenario: &scenario,
        folder: &folder,
        resume: false,
        cancel: &Cancel::new(),
        registry: &registry,
        existing: &existing,
    };
    let mut listener = Listener::default();
    let finished = dunlin_bench::run(&order, Ground::Testbed(Box::new(ToyTestbed::new())), &mut listener)?;
    let folder = RunFolder::open(&folder).unwrap();
    let mut places = Vec::new();
    for trial in folder.trials().unwrap() {
        let record = folder.read_trial(&TrialId::new(trial.as_str())).unwrap();
        places.extend(record.events.iter().filter_map(|event| match event.kind {
            EventKind::VmPlaced { place, .. } => Some(place),
            _ => None,
        }));
    }
    let outcomes = folder.outcomes().unwrap();
    Ok(Played { finished, outcomes, said: listener.0, places, truth: toy.truth(), _dir: dir })
}

#[test]
fn a_driver_of_tests_takes_a_run_from_scenario_to_outcome_without_tap_helper_and_agent() {
    let played = play("[[case]]\nname = \"there\"\ntoy = { loud = true }\n", &["old-faithful"]);
    assert_eq!(played.finished.ended, [1, 0, 0]);
    let [outcome] = &played.outcomes[..] else { panic!("{:?}", played.outcomes) };
    assert_eq!((outcome.status, &played.places[..]), (Status::Completed, &[Place::Destination][..]));
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
    let said = played.said.join("\n");
    for absent in ["wire bytes", "no taps", "no agent"] {
        assert!(said.contains(absent), "{said}");
    }
    // A VM that was found, not made, is left as it is: it runs, at its new place.
    assert_eq!(played.truth, ("right".into(), 1));
}

#[test]
fn a_case_that_the_driver_fails_leaves_the_vm_where_it_was_and_says_so() {
    let played = play("[[case]]\nname = \"refused\"\ntoy = { refuses = true }\n", &["old-faithful"]);
    assert_eq!(played.finished.ended, [0, 0, 1]);
    assert_eq!(played.places, [Place::Source]);
    let error = played.outcomes[0].error.clone().unwrap();
    assert!(error.contains("not in the mood"), "{error}");
    assert_eq!(played.truth, ("left".into(), 0));
}

#[test]
fn what_the_driver_cannot_do_is_skipped_with_its_reason_before_anything_starts() {
    let played = play(
        "[[case]]\nname = \"post-copy\"\nstrategy = { kind = \"post-copy\" }\ntoy = {}\n\
         [[case]]\nname = \"there\"\ntoy = {}\n",
        &["old-faithful"],
    );
    assert_eq!((played.finished.ended, played.finished.skipped), ([1, 0, 0], 1));
    assert!(played.said.iter().any(|said| said.contains("a toy knows only one way")), "{:?}", played.said);
}

#[test]
fn what_no_version_of_the_product_knows_is_told_by_file_and_case_and_nothing_is_run() {
    let cases = "[[case]]\nname = \"there\"\ntoy = {}\n\
        [[case]]\nname = \"odd\"\ntoy = { colour = \"rde\" }\nvm.vcpus = [1, 2]\n";
    let error = try_to_play(cases, &["old-faithful"]).err().expect("a mistake");
    let told =
        "toy.toml: case \"odd 1\" and 1 more: toy.colour: there is no such colour, did you mean \"red\"?";
    assert_eq!(error.to_string(), told);
}
