//! The counts agree with those of tshark on real captures: of a migration, of a path with made loss, reordering and
//! duplicates seen from either end, and of a reader that stalls.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use dunlin_record::{Conversation, Flow, RttMs};
use dunlin_test_support::skip;
use dunlin_wire::{AccountOptions, PacketReader, account};

const FIXTURES: [&str; 7] = [
    "migration.pcapng.zst",
    "lossy.pcap.gz",
    "lossy-receiver.pcap.zst",
    "stalled.pcap.gz",
    "mixed.pcapng",
    "cooked.pcap",
    "cooked-v2.pcap",
];

type Count = fn(&Flow) -> u64;

/// Tshark's field, and what it is here. Its `retransmission` is set on the fast and the spurious ones too.
const COUNTS: [(&str, Count); 10] = [
    ("retransmission", |flow| flow.retransmissions.total()),
    ("fast_retransmission", |flow| flow.retransmissions.fast),
    ("spurious_retransmission", |flow| flow.retransmissions.spurious),
    ("out_of_order", |flow| flow.out_of_order),
    ("duplicate_ack", |flow| flow.duplicate_acks),
    ("zero_window", |flow| flow.zero_windows),
    ("window_full", |flow| flow.windows_full),
    ("keep_alive", |flow| flow.keep_alives),
    ("lost_segment", |flow| flow.gaps),
    ("ack_lost_segment", |flow| flow.acks_of_unseen),
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn conversations(name: &str) -> Vec<Conversation> {
    let mut reader = PacketReader::open(&fixture(name)).unwrap();
    let account = account(&mut reader, AccountOptions { tick_ns: 10_000_000 });
    assert_eq!(account.broken_off, None, "{name}");
    account.conversations
}

/// What tshark says of the packets that a port sent in a conversation.
#[derive(Default)]
struct Theirs {
    packets: u64,
    counts: BTreeMap<&'static str, u64>,
    /// Of the segments that these packets acknowledge, in ms.
    rtt_ms: Vec<f64>,
}

/// By conversation (from 1) and sending port; `None` where tshark is not installed.
fn ask_tshark(name: &str) -> Option<BTreeMap<(u64, u16), Theirs>> {
    let fields = ["tcp.stream", "tcp.srcport", "tcp.analysis.ack_rtt"].map(str::to_owned);
    let fields = fields.into_iter().chain(COUNTS.map(|(field, _)| format!("tcp.analysis.{field}")));
    let output = Command::new("tshark")
        .args(["-T", "fields", "-E", "separator=;", "-E", "occurrence=f", "-Y", "tcp", "-r"])
        .arg(fixture(name))
        .args(fields.flat_map(|field| ["-e".to_owned(), field]))
        .output()
        .ok()?;
    assert!(output.status.success(), "{output:?}");
    let mut theirs: BTreeMap<_, Theirs> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let values: Vec<&str> = line.split(';').collect();
        // The later fragments of a packet, put together by tshark.
        let Ok(stream) = values[0].parse::<u64>() else { continue };
        let theirs = theirs.entry((stream + 1, values[1].parse().unwrap())).or_default();
        theirs.packets += 1;
        theirs.rtt_ms.extend(values[2].parse::<f64>().map(|seconds| seconds * 1000.0).ok());
        for ((field, _), value) in COUNTS.iter().zip(&values[3..]) {
            *theirs.counts.entry(field).or_default() += u64::from(!value.is_empty());
        }
    }
    Some(theirs)
}

fn port(end: &str) -> u16 {
    end.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Conversation, sending port, what was sent, and what the other end sent.
fn directions(conversations: &[Conversation]) -> impl Iterator<Item = (u64, u16, &Flow, &Flow)> {
    conversations.iter().flat_map(|one| {
        [
            (one.number, port(&one.a), &one.from_a, &one.from_b),
            (one.number, port(&one.b), &one.from_b, &one.from_a),
        ]
    })
}

#[test]
fn counts_are_tshark_s() {
    for name in FIXTURES {
        let Some(theirs) = ask_tshark(name) else {
            return skip("tshark is not installed");
        };
        let conversations = conversations(name);
        for (number, port, flow, _) in directions(&conversations) {
            let theirs =
                theirs.get(&(number, port)).unwrap_or_else(|| panic!("{name}: no #{number} from {port}"));
            assert_eq!(flow.total.packets, theirs.packets, "{name}: packets of #{number} from {port}");
            for (field, count) in COUNTS {
                assert_eq!(count(flow), theirs.counts[field], "{name}: {field} of #{number} from {port}");
            }
        }
        assert_eq!(directions(&conversations).count(), theirs.len(), "{name}");
    }
}

/// Tshark also times what was sent twice, from the first time. Here such segments, and those that were acknowledged
/// together with one, do not count (Karn), so that there are fewer samples where there was loss, and as many elsewhere.
#[test]
fn round_trip_times_are_tshark_s() {
    for name in FIXTURES {
        let Some(theirs) = ask_tshark(name) else {
            return skip("tshark is not installed");
        };
        for (number, port, acknowledging, timed) in directions(&conversations(name)) {
            let sent_twice =
                timed.retransmissions.total() + timed.out_of_order + acknowledging.duplicate_acks > 0;
            let mut rtt_ms = theirs[&(number, port)].rtt_ms.clone();
            rtt_ms.sort_by(f64::total_cmp);
            let of_whom = format!("{name}: acknowledged by {port} in #{number}");
            let samples = timed.rtt_ms.map_or(0, |rtt| rtt.samples);
            if sent_twice {
                assert!(samples <= rtt_ms.len() as u64, "{of_whom}: {samples} of {}", rtt_ms.len());
                continue;
            }
            assert_eq!(samples, rtt_ms.len() as u64, "{of_whom}");
            let Some(RttMs { p50, p90, p99, max, .. }) = timed.rtt_ms else { continue };
            let rank = |share: f64| rtt_ms[(share * rtt_ms.len() as f64).ceil() as usize - 1];
            for (ours, theirs) in [(p50, rank(0.5)), (p90, rank(0.9)), (p99, rank(0.99)), (max, rank(1.0))] {
                // The buckets are 0.4 % wide; tshark counts in ns and tcpdump stamped some of the files in µs.
                assert!(
                    (ours - theirs).abs() <= 0.004 * theirs + 0.000_002,
                    "{of_whom}: {ours} is not {theirs}"
                );
            }
        }
    }
}
