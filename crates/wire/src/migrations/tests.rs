//! Accounts written out: which migrations they show.

use dunlin_record::{
    Announcement, AnnouncementKind, Conversation, Flow, Overhead, Service, Silence, StreamKind,
};

use super::*;

const MILLI: i64 = 1_000_000;
/// Some time in 2026.
const EPOCH_NS: i64 = 1_795_236_987_000_000_000;

fn conversation(
    number: u64,
    to: &str,
    span_ms: (f64, f64),
    bytes: u64,
    kind: Option<StreamKind>,
) -> Conversation {
    let overhead = Overhead { goodput_bytes: bytes, ..Overhead::default() };
    Conversation {
        number,
        a: format!("10.78.0.11:4{number:04}"),
        b: to.into(),
        start_ms: span_ms.0,
        end_ms: span_ms.1,
        from_a: Flow { begins_as: kind, overhead, ..Flow::default() },
        overhead,
        ..Conversation::default()
    }
}

fn account(start_ms: i64, conversations: Vec<Conversation>) -> WireAccount {
    let mut overhead = Overhead::default();
    conversations.iter().for_each(|one| overhead += one.overhead);
    WireAccount {
        start_epoch_ns: Some(EPOCH_NS + start_ms * MILLI),
        conversations,
        overhead,
        ..WireAccount::default()
    }
}

fn rarp(at_ms: i64) -> Announcement {
    Announcement {
        at_ns: at_ms * MILLI,
        kind: AnnouncementKind::Rarp,
        mac: "52:54:00:00:00:01".into(),
        address: None,
    }
}

/// Answers every ms but for these times.
fn echo(silences: &[(i64, i64)]) -> Service {
    let silence = |&(begin_ms, end_ms): &(i64, i64)| Silence {
        begin_ns: begin_ms * MILLI,
        end_ns: end_ms * MILLI,
        requests: (end_ms - begin_ms).cast_unsigned(),
        is_unfinished: false,
    };
    Service {
        what: "ICMP echo".into(),
        address: "10.77.0.100".into(),
        mac: Some("52:54:00:00:00:01".into()),
        client: "10.77.0.1".into(),
        requests: 1000,
        answers: 900,
        interval_ms: 1.0,
        usual_wait_ms: 0.2,
        silences: silences.iter().map(silence).collect(),
    }
}

fn find(accounts: &[WireAccount]) -> Vec<Vec<WireMigration>> {
    let names = ["one.pcapng", "two.pcapng", "three.pcapng"];
    let files: Vec<(&str, &WireAccount)> = names.into_iter().zip(accounts).collect();
    find_migrations(&files)
}

#[test]
fn a_stream_its_vm_s_announcement_and_its_service_s_outage_are_put_together_over_files() {
    let migration = account(
        0,
        vec![
            conversation(1, "10.78.0.12:22", (0.0, 5000.0), 90 << 20, Some(StreamKind::Ssh)),
            conversation(2, "10.78.0.12:4444", (100.0, 900.0), 5 << 20, Some(StreamKind::QemuMigration)),
            conversation(3, "10.78.0.12:4444", (110.0, 890.0), 3 << 20, None),
        ],
    );
    // Its first packet came 50 ms later: 800 ms there are 850 here.
    let service = WireAccount {
        announcements: vec![rarp(810), rarp(860), rarp(9000)],
        services: vec![echo(&[(20, 24), (760, 804)])],
        ..account(50, Vec::new())
    };
    let told = find(&[migration, service]);
    let [one] = &told[0][..] else { panic!("{told:#?}") };
    assert_eq!(one.evidence, MigrationEvidence::QemuStream);
    assert_eq!(one.hosts, Some(["10.78.0.11".into(), "10.78.0.12:4444".into()]));
    assert_eq!((one.begin_ms, one.end_ms, one.goodput_bytes), (Some(100.0), Some(900.0), 8 << 20));
    assert_eq!(one.conversations, [2, 3]);
    let [moved] = &one.moved[..] else { panic!("{one:#?}") };
    assert_eq!((moved.announcements, moved.first_ms, moved.last_ms), (2, 860.0, 910.0));
    assert_eq!(
        (moved.addresses.as_slice(), moved.file.as_deref()),
        (&["10.77.0.100".to_owned()][..], Some("two.pcapng"))
    );
    let [outage] = &one.outages[..] else { panic!("{one:#?}") };
    assert_eq!((outage.outage_ms, outage.begin_ms, outage.end_ms), (43.0, 810.0, 854.0));
    assert_eq!(
        (outage.usual_ms, outage.requests, outage.file.as_deref()),
        (Some(3.0), 44, Some("two.pcapng"))
    );
    // Much later, it says so again, and was not gone.
    assert_eq!(told[1], []);
}

#[test]
fn each_migration_of_a_file_is_told_with_its_own_conversations() {
    let to = "10.78.0.12:4444";
    let head = Some(StreamKind::QemuMigration);
    let told = find(&[account(
        0,
        vec![
            conversation(1, to, (0.0, 500.0), 1000, head),
            conversation(2, to, (10.0, 490.0), 1000, Some(StreamKind::QemuChannel)),
            conversation(3, to, (1000.0, 1500.0), 1000, head),
            conversation(4, "10.78.0.13:4444", (20.0, 600.0), 1000, Some(StreamKind::XenMigration)),
        ],
    )]);
    let told: Vec<_> = told[0].iter().map(|one| (one.evidence, one.conversations.clone())).collect();
    let qemu = MigrationEvidence::QemuStream;
    assert_eq!(told, [(qemu, vec![1, 2]), (MigrationEvidence::XenStream, vec![4]), (qemu, vec![3])]);
}

#[test]
fn a_migration_that_both_hosts_captured_is_one() {
    let of_host = |start_ms| {
        let number = if start_ms == 0 { 1 } else { 7 };
        account(start_ms, vec![conversation(number, "10.78.0.12:4444", (0.0, 900.0), 5 << 20, None)])
    };
    let mut accounts = [of_host(0), of_host(3)];
    for one in &mut accounts {
        one.conversations[0].a = "10.78.0.11:40001".into();
    }
    let told = find(&accounts);
    assert_eq!((told[0].len(), told[1].len()), (1, 0));
    assert_eq!(told[0][0].evidence, MigrationEvidence::Bulk);
}

/// As where a capture begins with an acknowledgement, so that the listener is taken for who opened it.
#[test]
fn who_sends_is_told_by_the_head_or_else_by_who_sent_most() {
    let hosts = |from_a: (u64, Option<StreamKind>), from_b: (u64, Option<StreamKind>)| {
        let mut one = conversation(1, "10.78.0.12:40000", (0.0, 900.0), from_a.0, from_a.1);
        one.a = "10.78.0.11:49152".into();
        one.from_b.overhead.goodput_bytes = from_b.0;
        one.from_b.begins_as = from_b.1;
        one.overhead.goodput_bytes += from_b.0;
        find(&[account(0, vec![one])])[0][0].hosts.clone().unwrap()
    };
    let head = Some(StreamKind::QemuMigration);
    let forth = ["10.78.0.11", "10.78.0.12:40000"];
    let back = ["10.78.0.12", "10.78.0.11:49152"];
    assert_eq!(hosts((50 << 20, None), (1 << 10, None)), forth);
    assert_eq!(hosts((1 << 10, None), (50 << 20, None)), back);
    assert_eq!(hosts((1 << 10, head), (50 << 20, None)), forth);
    assert_eq!(hosts((50 << 20, None), (1 << 10, head)), back);
}

#[test]
fn what_went_one_way_for_long_may_be_one_unless_something_surely_is() {
    let bulk = |kind| conversation(1, "10.78.0.12:8000", (0.0, 900.0), 50 << 20, kind);
    let evidence = |account: WireAccount| find(&[account])[0].first().map(|one| one.evidence);
    assert_eq!(evidence(account(0, vec![bulk(None)])), Some(MigrationEvidence::Bulk));
    assert_eq!(evidence(account(0, vec![bulk(Some(StreamKind::Tls))])), Some(MigrationEvidence::Bulk));
    assert_eq!(evidence(account(0, vec![bulk(Some(StreamKind::Http))])), None);
    let announced = WireAccount { announcements: vec![rarp(870)], ..account(0, vec![bulk(None)]) };
    assert_eq!(evidence(announced), Some(MigrationEvidence::BulkAndAnnouncement));
    let small = conversation(1, "10.78.0.12:8000", (0.0, 900.0), 1 << 19, None);
    assert_eq!(evidence(account(0, vec![small])), None);
    let both_ways = {
        let mut one = bulk(None);
        one.from_b.overhead.goodput_bytes = 20 << 20;
        one
    };
    assert_eq!(evidence(account(0, vec![both_ways])), None);
}

#[test]
fn who_comes_up_is_no_migration_unless_it_was_gone() {
    let gratuitous = Announcement {
        kind: AnnouncementKind::GratuitousArp,
        address: Some("10.77.0.100".into()),
        ..rarp(5000)
    };
    let of = |silences: &[(i64, i64)]| WireAccount {
        announcements: vec![gratuitous.clone()],
        services: vec![echo(silences)],
        ..account(0, Vec::new())
    };
    assert_eq!(find(&[of(&[])])[0], []);
    let told = find(&[of(&[(4900, 5010)])]);
    let [one] = &told[0][..] else { panic!("{told:#?}") };
    assert_eq!((one.begin_ms, one.outages[0].outage_ms), (None, 109.0));
}

#[test]
fn a_silence_that_nobody_asked_into_or_that_does_not_stand_out_is_no_outage() {
    let outages = |silences: &[(i64, i64)], requests: Option<u64>| {
        let mut service = echo(silences);
        if let Some(requests) = requests {
            service.silences.iter_mut().for_each(|silence| silence.requests = requests);
        }
        let head = Some(StreamKind::QemuMigration);
        let moves = vec![conversation(1, "10.78.0.12:4444", (500.0, 900.0), 5 << 20, head)];
        let account = WireAccount { services: vec![service], ..account(0, moves) };
        find(&[account])[0][0].outages.len()
    };
    assert_eq!(outages(&[(800, 850)], None), 1);
    assert_eq!(outages(&[(800, 850)], Some(1)), 0, "only the request of the answer after it");
    assert_eq!(outages(&[(100, 160), (800, 850)], None), 0, "longer before");
    assert_eq!(outages(&[(100, 140), (800, 850)], None), 0, "nearly as long before");
    assert_eq!(outages(&[(100, 120), (800, 850)], None), 1, "less than half as long before");
    assert_eq!(outages(&[(-700, -540), (800, 850)], None), 1, "longer, long before");
    assert_eq!(outages(&[(2000, 2050)], None), 0, "long after");
}

#[test]
fn what_is_announced_again_is_another_migration_only_if_it_was_gone_again() {
    let moves =
        vec![conversation(1, "10.78.0.12:4444", (500.0, 900.0), 5 << 20, Some(StreamKind::QemuMigration))];
    let of = |silences: &[(i64, i64)]| {
        let announcements = vec![rarp(890), rarp(4500)];
        find(&[WireAccount { announcements, services: vec![echo(silences)], ..account(0, moves.clone()) }])
    };
    // Longer than the migration's end, and told with it.
    assert_eq!(of(&[(850, 2500)])[0].len(), 1);
    let told = of(&[(850, 900), (4300, 4490)]);
    let evidence: Vec<MigrationEvidence> = told[0].iter().map(|one| one.evidence).collect();
    assert_eq!(evidence, [MigrationEvidence::QemuStream, MigrationEvidence::Announcement]);
    assert_eq!(told[0][1].outages[0].outage_ms, 189.0);
}

#[test]
fn a_silence_that_is_no_longer_than_answers_usually_take_is_no_outage() {
    let outages = |usual_wait_ms: f64| {
        let service = Service { interval_ms: 0.01, usual_wait_ms, ..echo(&[(800, 802)]) };
        let head = Some(StreamKind::QemuMigration);
        let moves = vec![conversation(1, "10.78.0.12:4444", (500.0, 900.0), 5 << 20, head)];
        find(&[WireAccount { services: vec![service], ..account(0, moves) }])[0][0].outages.len()
    };
    assert_eq!((outages(2.0), outages(1.1), outages(0.9)), (0, 0, 1));
}

#[test]
fn how_many_services_were_watched_is_told() {
    let watched = |services: Vec<Service>| {
        let head = Some(StreamKind::QemuMigration);
        let moves = vec![conversation(1, "10.78.0.12:4444", (500.0, 900.0), 5 << 20, head)];
        find(&[WireAccount { services, ..account(0, moves) }])[0][0].watched
    };
    let of_host = Service { address: "10.78.0.12".into(), ..echo(&[]) };
    let never_asked = Service { requests: 0, ..echo(&[]) };
    assert_eq!(watched(Vec::new()), 0);
    assert_eq!(watched(vec![of_host, never_asked]), 0);
    assert_eq!(watched(vec![echo(&[]), echo(&[])]), 2);
}

#[test]
fn an_outage_is_found_however_many_others_answer_more() {
    let many = (0..1000).map(|number| Service {
        address: format!("10.79.{}.{}", number / 250, number % 250),
        answers: 5000,
        mac: None,
        ..echo(&[])
    });
    let head = Some(StreamKind::QemuMigration);
    let moves = vec![conversation(1, "10.78.0.12:4444", (500.0, 900.0), 5 << 20, head)];
    let services = many.chain([echo(&[(800, 850)])]).collect();
    let told = find(&[WireAccount { services, ..account(0, moves) }]);
    let [outage] = &told[0][0].outages[..] else { panic!("{told:#?}") };
    assert_eq!((outage.address.as_str(), outage.outage_ms), ("10.77.0.100", 49.0));
}
