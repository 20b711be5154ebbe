use std::fs;
use std::ops::RangeInclusive;
use std::time::Duration;

use dunlin_record::samples::{self, Choices};
use dunlin_record::{Event, EventKind, EventWriter, FORMAT, HostId, SeriesWriter, shapes};

use super::*;
use crate::Scenario;

/// Keeps what is noted.
#[derive(Default)]
struct Notes(Vec<String>);

impl Observer for Notes {
    fn run_started(&mut self, _: &str, _: RangeInclusive<usize>, _: Duration, _: &Path) {}
    fn trial_started(&mut self, _: usize, _: &str, _: Duration) {}
    fn stage(&mut self, _: &str) {}
    fn note(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
    fn trial_ended(&mut self, _: &[Outcome]) {}
}

fn cases(text: &str) -> Vec<Case> {
    Scenario::parse(&format!("name = \"s\"\n{text}"), "s.toml").unwrap().cases
}

fn idle() -> Vec<Case> {
    cases("[[case]]\nname = \"idle\"\n")
}

fn info() -> RunInfo {
    RunInfo {
        format: FORMAT,
        dunlin_version: "0.1.0".into(),
        scenario: "s".into(),
        title: "t".into(),
        started_epoch_ms: 1_763_686_987_000,
        cases: idle(),
        seed: Some(7),
        skipped: Vec::new(),
        hosts: vec![HostFingerprint {
            hosts: "host-a, host-b".into(),
            kernel: Some("6.1.0".into()),
            memory_mib: Some(8000),
            more: [("swap_mib".to_owned(), "0".to_owned())].into(),
            ..HostFingerprint::default()
        }],
        software: Software {
            source_hypervisors: vec!["qemu 7.2.0".into()],
            destination_hypervisors: vec!["qemu 10.0.2".into()],
            guest_kernels: vec!["6.12.1-cloud".into()],
        },
        existing: Vec::new(),
        stay: false,
        resumed: Vec::new(),
    }
}

/// Writes a trial that completed, with one series.
fn make(folder: &RunFolder, id: &str) -> TrialId {
    let id = TrialId::new(id);
    let mut writer = EventWriter::create(&folder.events_path(&id)).unwrap();
    let started = EventKind::TrialStarted {
        scenario: "s".into(),
        case: Box::new(idle().remove(0)),
        trial: id.as_str()[8..].parse().unwrap(),
        source: HostId::new("host-a"),
        destination: HostId::new("host-b"),
    };
    let ended = EventKind::TrialEnded { status: Status::Completed, error: None };
    for (t_ns, kind) in [(1, started), (9, ended)] {
        writer.write(&Event { t_ns, host: None, vm: None, kind }).unwrap();
    }
    writer.finish().unwrap();
    let mut series = SeriesWriter::create(&folder.series_path(&id, "cpu-host-a"), shapes::CPU).unwrap();
    series.push(&[1, 2, 3]).unwrap();
    series.finish().unwrap();
    id
}

/// A run of which nobody is the writer any more.
fn earlier(dir: &Path) -> RunFolder {
    begin(dir, &info()).unwrap().folder
}

#[test]
fn a_folder_has_one_writer_be_it_new_or_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let first = begin(&path, &info()).unwrap();
    let busy = |error: BenchError| error.to_string().contains("is being written by another run");
    assert!(busy(begin(&path, &info()).map(drop).unwrap_err()));
    assert!(busy(Earlier::open(&path, &idle(), &[]).map(drop).unwrap_err()));
    // Who only reads is not hindered.
    assert_eq!(RunFolder::open(&path).unwrap().info().unwrap(), info());
    drop(first);
    let second = Earlier::open(&path, &idle(), &[]).unwrap();
    assert!(busy(Earlier::open(&path, &idle(), &[]).map(drop).unwrap_err()));
    let mut notes = Notes::default();
    let taken = second.go_on(&info(), &mut notes).unwrap();
    assert_eq!((taken.seed, notes.0.len()), (Some(7), 0));
    assert!(busy(Earlier::open(&path, &idle(), &[]).map(drop).unwrap_err()));
    drop(taken);
    let holds_one = begin(&path, &info()).map(drop).unwrap_err().to_string();
    assert!(holds_one.contains("holds a run already"), "{holds_one}");
}

#[test]
fn other_cases_are_refused_with_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    earlier(dir.path());
    let refused =
        |text: &str| Earlier::open(dir.path(), &cases(text), &[]).map(drop).unwrap_err().to_string();
    let said = refused("trials.count = 5\nvm.memory_mib = 256\n[[case]]\nname = \"idle\"\n");
    assert!(said.contains("idle: trials.count was 3, is 5"), "{said}");
    assert!(said.contains("idle: vm.memory_mib was 512, is 256"), "{said}");
    let said = refused("[[case]]\nname = \"dirty\"\nvm.vcpus = [1, 2, 3, 4, 5]\n");
    assert!(said.contains("only in the run: idle"), "{said}");
    assert!(said.contains("only asked for now: dirty 1, dirty 2, dirty 3 and 2 more"), "{said}");
}

#[test]
fn more_trials_can_be_asked_for_and_fewer_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let folder = earlier(dir.path());
    make(&folder, "01-idle-1");
    let asked = |count: &str| cases(&format!("trials.{count}\n[[case]]\nname = \"idle\"\n"));
    let more = asked("count = 5");
    let taken = Earlier::open(dir.path(), &more, &[]).unwrap().go_on(&info(), &mut Notes::default()).unwrap();
    assert_eq!(taken.done.len(), 1, "what was made is kept");
    assert_eq!(folder.info().unwrap().cases, more);
    drop(taken);
    let refused = Earlier::open(dir.path(), &asked("count = 4"), &[]).map(drop).unwrap_err().to_string();
    assert!(refused.contains("idle: trials.count was 5, is 4"), "{refused}");
    drop(Earlier::open(dir.path(), &asked("until = \"5%\""), &[]).unwrap());
    let refused = Earlier::open(dir.path(), &asked("limit_s = 7"), &[]).map(drop).unwrap_err().to_string();
    assert!(refused.contains("trials.limit_s"), "{refused}");
}

#[test]
fn other_conditions_are_told_and_recorded_and_the_first_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let folder = earlier(dir.path());
    make(&folder, "01-idle-1");
    let mut now = info();
    now.dunlin_version = "0.2.0".into();
    now.started_epoch_ms += 60_000;
    now.software.destination_hypervisors = vec!["qemu 10.1.0".into()];
    now.software.guest_kernels = vec!["6.12.2-cloud".into()];
    now.hosts[0].kernel = Some("6.2.0".into());
    now.hosts[0].memory_mib = Some(7990);
    now.hosts[0].more.insert("swap_mib".into(), "1024".into());
    let mut notes = Notes::default();
    Earlier::open(dir.path(), &idle(), &[]).unwrap().go_on(&now, &mut notes).unwrap();
    let expected = [
        "warning: since this run began, dunlin's version was 0.1.0, is 0.2.0",
        "warning: since this run began, the destination's hypervisor was qemu 10.0.2, is qemu 10.1.0",
        "warning: since this run began, the guests' kernel was 6.12.1-cloud, is 6.12.2-cloud",
        "warning: since this run began, kernel of host-a, host-b was 6.1.0, is 6.2.0",
        "warning: since this run began, swap_mib of host-a, host-b was 0, is 1024",
    ];
    assert_eq!(notes.0, expected);
    let recorded = folder.info().unwrap();
    let [resumption] = &recorded.resumed[..] else { panic!("{recorded:?}") };
    assert_eq!(resumption.kept, [TrialId::new("01-idle-1")]);
    assert_eq!(resumption.differences.len(), expected.len());
    assert_eq!(RunInfo { resumed: Vec::new(), ..recorded }, info());
}

#[test]
fn a_run_is_not_gone_on_with_on_other_machines() {
    let dir = tempfile::tempdir().unwrap();
    earlier(dir.path());
    let mut now = info();
    let mut apart = now.hosts[0].clone();
    (now.hosts[0].hosts, apart.hosts) = ("host-a".into(), "host-b".into());
    now.hosts.push(apart);
    let error =
        Earlier::open(dir.path(), &idle(), &[]).unwrap().go_on(&now, &mut Notes::default()).err().unwrap();
    assert!(error.to_string().ends_with("was made on [host-a, host-b], not on [host-a] [host-b]"), "{error}");
}

#[test]
fn what_an_older_run_did_not_record_is_not_other() {
    let mut before = info();
    before.software = Software::default();
    before.hosts[0].kernel = None;
    assert_eq!(differences(&before, &info()), []);
    let mut elsewhere = info();
    elsewhere.hosts[0].hosts = "host-c".into();
    let differences = differences(&info(), &elsewhere);
    assert!(
        differences.iter().any(|one| one.to_string() == "kernel of host-a, host-b was 6.1.0, is not known")
    );
}

#[test]
fn a_damaged_series_or_events_file_costs_its_trial_only() {
    let dir = tempfile::tempdir().unwrap();
    let folder = earlier(dir.path());
    let [whole, series, events, cut] =
        ["01-idle-1", "01-idle-2", "01-idle-3", "01-idle-4"].map(|id| make(&folder, id));
    let packed = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
    fs::write(folder.series_path(&series, "cpu-host-a"), packed(b"{\"no\":\"header\"}\n")).unwrap();
    fs::write(folder.events_path(&events), packed(b"no event\n")).unwrap();
    fs::write(folder.series_path(&cut, "cpu-host-a"), b"garbage").unwrap();
    let mut notes = Notes::default();
    let taken = Earlier::open(dir.path(), &idle(), &[]).unwrap().go_on(&info(), &mut notes).unwrap();
    let kept: Vec<&TrialId> = taken.done.iter().map(|outcome| &outcome.id).collect();
    assert_eq!(kept, [&whole]);
    assert_eq!(notes.0.len(), 2, "{:?}", notes.0);
    assert!(notes.0[0].contains("01-idle-2 cannot be read and is made again"), "{:?}", notes.0);
    // When it is made again, nothing of the damaged one is left to be read with it.
    folder.clear_trial(&series).unwrap();
    make(&folder, "01-idle-2");
    assert!(!folder.read_trial(&series).unwrap().truncated);
}

#[test]
fn what_a_newer_version_wrote_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let folder = earlier(dir.path());
    let id = make(&folder, "01-idle-1");
    let newer = zstd::encode_all(&b"{\"format\":99,\"name\":\"x\",\"columns\":[]}\n"[..], 1).unwrap();
    fs::write(folder.series_path(&id, "cpu-host-a"), newer).unwrap();
    let error = Earlier::open(dir.path(), &idle(), &[]).unwrap().go_on(&info(), &mut Notes::default());
    assert!(matches!(error, Err(BenchError::Record(RecordError::Format { found: 99, .. }))));
}

#[test]
fn whatever_a_foreign_folder_holds_it_can_be_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let folder = earlier(dir.path());
    let id = TrialId::new("01-idle-1");
    let seed: Vec<u8> = (0..9000_u32).map(|index| (index * index / 11) as u8).collect();
    let record = samples::record(&mut Choices::new(&seed));
    let mut writer = EventWriter::create(&folder.events_path(&id)).unwrap();
    record.events.iter().for_each(|event| writer.write(event).unwrap());
    writer.finish().unwrap();
    Earlier::open(dir.path(), &idle(), &[]).unwrap().go_on(&info(), &mut Notes::default()).unwrap();
}
