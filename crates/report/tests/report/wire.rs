//! What the page shows of captures.

use dunlin_record::{
    Amount, BrokenOff, Conversation, ConversationGraph, Flow, Overhead, Retransmissions, RttMs, TrialCapture,
    WireAccount, WireGraph, WireMark,
};
use dunlin_report::html;

use super::fixture::{self, HOSTILE};
use super::report;

fn amount(packets: u64, wire_bytes: u64) -> Amount {
    Amount { packets, wire_bytes }
}

/// Of a migration of 820 ms that lost little.
pub(super) fn account() -> WireAccount {
    let overhead = Overhead {
        total: amount(1150, 1_560_000),
        goodput_bytes: 1_448_000,
        goodput_packets: 1000,
        link_header_bytes: 14_000,
        ip_header_bytes: 20_000,
        tcp_header_bytes: 32_000,
        pure_acks: amount(136, 8_976),
        handshakes: amount(4, 280),
        retransmissions: amount(10, 36_744),
    };
    let rtt_ms = Some(RttMs { samples: 90, p50: 0.2, p90: 0.5, p99: 1.5, max: 9.0 });
    let retransmissions = Retransmissions { fast: 4, recovery: 5, timeout: 1, spurious: 0 };
    let conversation = Conversation {
        number: 1,
        a: "10.78.0.11:40000".into(),
        b: "10.78.0.12:4444".into(),
        start_ms: 3.0,
        end_ms: 823.0,
        handshake_rtt_ms: Some(0.1),
        may_lack_bytes: 0,
        from_a: Flow { total: amount(1014, 1_551_000), retransmissions, rtt_ms, overhead, ..Flow::default() },
        from_b: Flow { duplicate_acks: 31, zero_windows: 2, ..Flow::default() },
        overhead,
        graph: ConversationGraph::default(),
    };
    let tick: Vec<i64> = (0..83).filter(|tick| !(40..50).contains(tick)).collect();
    WireAccount {
        format: "pcapng",
        graph: WireGraph {
            tick_ms: 10.0,
            packets: vec![16; tick.len()],
            wire_bytes: tick.iter().map(|tick| 10_000 + 100 * tick.cast_unsigned()).collect(),
            tick,
        },
        conversations: vec![conversation],
        marks: vec![
            WireMark { at_ms: 3.0, text: "vm0: initialize begins".into() },
            WireMark { at_ms: 700.0, text: "vm0: stop-and-copy begins".into() },
        ],
        ..WireAccount::default()
    }
}

fn capture(run: &fixture::Run, account: WireAccount) -> TrialCapture {
    TrialCapture {
        trial: run.outcomes[0].id.clone(),
        file: "host-a-migration.pcapng".into(),
        probed: Vec::new(),
        disks: Vec::new(),
        account,
    }
}

/// The page's section on captures.
fn section(page: &str) -> &str {
    let rest = page.split("<h2>On the wire</h2>").nth(1).expect("a section on the wire");
    rest.split("</section>").next().unwrap_or(rest)
}

#[test]
fn a_captured_migration_is_drawn_with_its_overhead() {
    let mut run = fixture::run();
    assert!(!html(&report(&run)).contains("On the wire"), "nothing was captured");
    run.captures.push(capture(&run, account()));
    let page = html(&report(&run));
    insta::assert_snapshot!(section(&page).replace("><", ">\n<"));
}

#[test]
fn what_lowers_the_worth_of_a_capture_is_said() {
    let mut run = fixture::run();
    let broken_off = Some(BrokenOff { offset: 77, why: "breaks off in a block at offset 77".into() });
    let broken = WireAccount { dropped: Some(12), broken_off, ..account() };
    run.captures = vec![capture(&run, broken), capture(&run, WireAccount::default())];
    let page = html(&report(&run));
    for words in
        ["breaks off in a block at offset 77.", "missed 12 packets", "No TCP conversation was captured."]
    {
        assert!(section(&page).contains(words), "{words}");
    }
}

#[test]
fn comments_of_a_capture_cannot_end_an_element() {
    let mut run = fixture::run();
    let mut hostile = account();
    hostile.marks[0].text = HOSTILE.into();
    run.captures.push(capture(&run, hostile));
    let page = html(&report(&run));
    assert!(!page.contains(HOSTILE) && section(&page).contains("&lt;/script&gt;"));
}
