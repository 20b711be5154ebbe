//! The hot paths of a probe: what is done once for every request and once for every answer.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use dunlin_probe::{DEFAULT_UDP_PORT, Identity, Ledger, PAYLOAD_BYTES, ProbeKind, RequestFrame};

const IP_HEADER_BYTES: usize = 20;

fn write_request(c: &mut Criterion) {
    for kind in [ProbeKind::Icmp, ProbeKind::Udp { port: DEFAULT_UDP_PORT }] {
        let mut frame = RequestFrame::new(Identity::random(kind), PAYLOAD_BYTES);
        let mut seq = 0;
        c.bench_function(&format!("write a request/{kind}"), |b| {
            b.iter(|| {
                seq += 1;
                black_box(frame.write(seq)).len()
            });
        });
    }
}

fn parse_answer(c: &mut Criterion) {
    let identity = Identity::random(ProbeKind::Icmp);
    let mut packet = vec![0; IP_HEADER_BYTES];
    packet[0] = 0x45;
    packet.extend_from_slice(RequestFrame::new(identity, PAYLOAD_BYTES).write(70_000));
    packet[IP_HEADER_BYTES] = 0;
    assert_eq!(identity.answer_seq(&packet), Some(70_000));
    c.bench_function("parse an answer/icmp", |b| b.iter(|| identity.answer_seq(black_box(&packet))));
}

fn find_departed_request(c: &mut Criterion) {
    let identity = Identity::random(ProbeKind::Icmp);
    let mut frame = vec![0; 14 + IP_HEADER_BYTES];
    frame.extend_from_slice(RequestFrame::new(identity, PAYLOAD_BYTES).write(70_000));
    assert_eq!(identity.request_seq(&frame), Some(70_000));
    c.bench_function("find a departed request/icmp", |b| b.iter(|| identity.request_seq(black_box(&frame))));
}

fn keep_the_ledger(c: &mut Criterion) {
    let (mut ledger, mut rows, mut seq) = (Ledger::new(), Vec::new(), 0);
    c.bench_function("account for a request", |b| {
        b.iter(|| {
            ledger.add(0);
            ledger.stamp(seq, 1);
            ledger.close(2, &mut rows);
            seq += 1;
            assert!(ledger.knows(seq - 1));
            black_box(&rows);
            rows.clear();
        });
    });
}

criterion_group!(hot_paths, write_request, parse_answer, find_departed_request, keep_the_ledger);
criterion_main!(hot_paths);
