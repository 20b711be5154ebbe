//! What the renderings show of captures' figures.

use dunlin_record::{Amount, CaptureOutcome, Overhead, Retransmissions, RttMs};
use dunlin_report::{csv, json, table};

use super::fixture;
use super::report;

/// Of a migration whose link lost `lost` segments.
fn capture(lost: u64) -> CaptureOutcome {
    let amount = |packets, wire_bytes| Amount { packets, wire_bytes };
    let goodput_packets = 180_000;
    let overhead = Overhead {
        total: amount(225_004 + lost, 285_900_280 + 1514 * lost),
        goodput_bytes: 271_050_000,
        goodput_packets,
        link_header_bytes: 14 * goodput_packets,
        ip_header_bytes: 20 * goodput_packets,
        tcp_header_bytes: 32 * goodput_packets,
        pure_acks: amount(45_000, 2_970_000),
        handshakes: amount(4, 280),
        retransmissions: amount(lost, 1514 * lost),
    };
    CaptureOutcome {
        file: "host-a-migration.pcapng".into(),
        complete: true,
        dropped: Some(0),
        conversations: 1,
        first_to_last_packet_ms: Some(2290.125),
        goodput_mbit_s: Some(946.848),
        overhead_percent: overhead.percent(),
        overhead,
        retransmissions: Retransmissions { fast: lost, ..Retransmissions::default() },
        out_of_order: lost / 2,
        duplicate_acks: 3 * lost,
        zero_windows: 2,
        malformed: 0,
        rtt_ms: Some(RttMs { samples: 45_000, p50: 2.1, p90: 3.5, p99: 4.25, max: 9.0 }),
    }
}

/// The first two cases were captured, of the first not every trial wholly.
fn run() -> fixture::Run {
    let mut run = fixture::run();
    for (index, lost) in [0, 0, 0, 12, 9, 1007].into_iter().enumerate() {
        run.outcomes[index].capture = Some(CaptureOutcome { complete: index != 1, ..capture(lost) });
    }
    run
}

#[test]
fn the_papers_list_stands_below_the_summary_for_the_cases_that_were_captured() {
    let text = table(&report(&run()), Some(100));
    let section = text.split("The migration's TCP conversations").nth(1).expect("a section");
    let section = section.split("\nNot completed:").next().unwrap();
    assert!(section.lines().all(|line| line.chars().count() <= 100));
    insta::assert_snapshot!(section);
    assert!(!table(&report(&fixture::run()), None).contains("TCP conversations"), "nothing was captured");
}

#[test]
fn csv_has_columns_of_captures_where_there_are_any() {
    let run = run();
    let text = csv(&report(&run));
    let fields = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
    let mut lines = text.lines().map(fields);
    let header = lines.next().unwrap();
    let told = |fields: &[String]| -> Vec<String> {
        let pairs = header.iter().zip(fields).filter(|(name, _)| name.starts_with("capture_"));
        pairs.map(|(name, value)| format!("{name} {value}")).collect()
    };
    let all: Vec<_> = lines.map(|line| told(&line)).collect();
    insta::assert_snapshot!(all[3].join("\n"));
    assert!(all[6].iter().all(|pair| pair.ends_with(' ')), "{:?}", all[6]);
    assert!(!csv(&report(&fixture::run())).contains("capture_"), "nothing was captured");
}

#[test]
fn json_has_the_spreads_by_case() {
    let run = run();
    let value: serde_json::Value = serde_json::from_str(&json(&report(&run))).unwrap();
    let cases = &value["run"]["cases"];
    assert_eq!(
        cases[1]["capture"]["retransmission_packets"],
        serde_json::json!({ "median": 509.5, "min": 12.0, "max": 1007.0 }),
        "the second trial did not complete"
    );
    assert_eq!(cases[2].get("capture"), None);
    assert_eq!(value["trials"][3]["capture"]["overhead"]["handshakes"]["packets"], 4);
}
