//! Passages and counters.

use std::sync::mpsc::{Receiver, channel};

use dunlin_clock::{MILLISECOND_NS, now_ns, sleep_until};
use dunlin_wire::{
    PROBE_MAGIC, RowSink, UDP_PROBE_PORT, count_flow, count_interface, read_interface, watch_passages,
};

use crate::pair::{REQUESTS, Veth, ip, send_icmp, send_udp};

#[test]
fn passages_are_exactly_the_requests_sent_and_their_answers() {
    let Some(_veth) = Veth::new() else { return };
    let (sink, rows) = collect();
    let recording = watch_passages("near", sink).unwrap();
    let before_ns = now_ns();
    send_icmp(&PROBE_MAGIC);
    send_icmp(b"ping");
    send_udp(UDP_PROBE_PORT, &PROBE_MAGIC);
    send_udp(UDP_PROBE_PORT, b"junk");
    send_udp(UDP_PROBE_PORT + 1, &PROBE_MAGIC);
    // The far end is this machine's too: its answers take no longer than a scheduling delay.
    sleep_until(now_ns() + 300 * MILLISECOND_NS);
    let summary = recording.stop().unwrap();
    let after_ns = now_ns();

    assert_eq!(summary.dropped, Some(0));
    let slack_ns = summary.clock_error_ns.unwrap() + MILLISECOND_NS;
    let rows = rows_of::<4>(&rows);
    for probe in [0, 1] {
        for direction in [0, 1] {
            let seen = rows.iter().filter(|row| row[0] == probe && row[2] == direction);
            let seqs: Vec<i64> = seen.map(|row| row[1]).collect();
            let sent: Vec<i64> = (0..REQUESTS.cast_signed()).collect();
            assert_eq!(seqs, sent, "probe {probe}, direction {direction}");
        }
    }
    assert_eq!(rows.len() as u64, REQUESTS * 4);
    for [probe, seq, direction, t_ns] in &rows {
        assert!(
            before_ns - slack_ns < *t_ns && *t_ns < after_ns + slack_ns,
            "{probe} {seq} {direction} {t_ns}"
        );
    }
}

#[test]
fn frames_going_the_other_way_through_an_interface_are_no_passages() {
    let Some(veth) = Veth::new() else { return };
    // From `near` the responder is behind the interface; on an interface with the prober behind it, requests come
    // in and answers leave, as with frames flooded to the tap of a VM that is elsewhere.
    let (near, near_rows) = collect();
    let (far, far_rows) = collect();
    let near = watch_passages("near", near).unwrap();
    let far = veth.at_far(|| watch_passages("far", far).unwrap());
    send_icmp(&PROBE_MAGIC);
    sleep_until(now_ns() + 300 * MILLISECOND_NS);
    near.stop().unwrap();
    far.stop().unwrap();
    assert_eq!(rows_of::<4>(&near_rows).len() as u64, 2 * REQUESTS);
    assert_eq!(rows_of::<4>(&far_rows).len(), 0);
}

#[test]
fn counters_agree_with_what_was_sent() {
    let Some(_veth) = Veth::new() else { return };
    let (sink, rows) = collect();
    let first = read_interface("near").unwrap();
    let recording = count_interface("near", sink).unwrap();
    send_udp(UDP_PROBE_PORT, &PROBE_MAGIC);
    sleep_until(now_ns() + 300 * MILLISECOND_NS);
    recording.stop().unwrap();
    let rows = rows_of::<5>(&rows);

    let frame_bytes = 14 + 20 + 8 + 16;
    // Address resolution may add a few small frames each way, never hundreds.
    let few = 10;
    let last = rows.last().unwrap();
    let packets = REQUESTS.cast_signed();
    for (name, column, before) in [("sent", 3, first.tx_packets), ("received", 4, first.rx_packets)] {
        let counted = last[column] - before.cast_signed();
        assert!((packets..=packets + few).contains(&counted), "{name}: {counted} packets");
    }
    for (name, column, before) in [("sent", 1, first.tx_bytes), ("received", 2, first.rx_bytes)] {
        let counted = last[column] - before.cast_signed();
        let expected = packets * frame_bytes;
        assert!((expected..=expected + few * 100).contains(&counted), "{name}: {counted} bytes");
    }
    for pair in rows.windows(2) {
        assert!(pair[0].iter().zip(&pair[1]).all(|(earlier, later)| earlier <= later), "{pair:?}");
    }
    // 300 ms at one row in 10 ms; a noisy machine may skip many of them.
    assert!(rows.len() > 5, "{} rows", rows.len());
}

#[test]
fn of_a_flow_only_its_own_frames_are_counted_each_way() {
    let Some(_veth) = Veth::new() else { return };
    let (sink, rows) = collect();
    let recording = count_flow("near", &format!("udp port {UDP_PROBE_PORT}").parse().unwrap(), sink).unwrap();
    send_udp(UDP_PROBE_PORT, &PROBE_MAGIC);
    send_udp(UDP_PROBE_PORT + 1, &PROBE_MAGIC);
    send_icmp(&PROBE_MAGIC);
    sleep_until(now_ns() + 300 * MILLISECOND_NS);
    assert_eq!(recording.stop().unwrap().dropped, Some(0));
    let rows = rows_of::<5>(&rows);
    let packets = REQUESTS.cast_signed();
    let bytes = packets * (14 + 20 + 8 + 16);
    assert_eq!(rows.last().unwrap()[1..], [bytes, bytes, packets, packets]);
    for pair in rows.windows(2) {
        assert_eq!(pair[1][0] - pair[0][0], 10 * MILLISECOND_NS, "no tick is left out");
    }
}

#[test]
fn a_counted_interface_that_goes_away_ends_the_record_with_a_reason() {
    let Some(_veth) = Veth::new() else { return };
    let (sink, _rows) = collect();
    let recording = count_interface("near", sink).unwrap();
    ip("link delete near");
    sleep_until(now_ns() + 100 * MILLISECOND_NS);
    let error = recording.stop().unwrap_err();
    assert_eq!(error.to_string(), "cannot read the counters of near");
}

fn collect() -> (RowSink, Receiver<Vec<i64>>) {
    let (sender, receiver) = channel();
    (Box::new(move |rows: &[i64]| drop(sender.send(rows.to_vec()))), receiver)
}

fn rows_of<const N: usize>(batches: &Receiver<Vec<i64>>) -> Vec<[i64; N]> {
    let values: Vec<i64> = batches.iter().flatten().collect();
    values.chunks_exact(N).map(|row| row.try_into().unwrap()).collect()
}
