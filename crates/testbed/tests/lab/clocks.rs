//! Nodes with clocks of their own.

use dunlin_clock::now_ns;
use dunlin_record::Links;
use dunlin_testbed::{Host, HostKind, Inside, Lab, LabHost, LabSpec, TestbedError};

use dunlin_test_support::NOT_PERMITTED;

use super::roles::sh;

/// A node whose clock is hours off, as a real host's is, beside one that has the bench's.
pub(crate) fn play(inside: &Inside) {
    let offset_s = 5000;
    let nodes = LabSpec { kind: HostKind::Node, ..LabSpec::new(Links::default()) };
    let lab = match Lab::up(inside, &LabSpec { clock_offsets_s: vec![0, offset_s], ..nodes.clone() }) {
        Err(TestbedError::Unsupported { what, because }) => {
            println!("{what} is not supported: {because}");
            std::process::exit(NOT_PERMITTED)
        }
        lab => lab.unwrap(),
    };
    let [a, b] = lab.hosts() else { panic!("two hosts") };
    let off_s = |host: &LabHost| {
        let monotonic = "import time; print(time.clock_gettime(time.CLOCK_MONOTONIC))";
        let there: f64 = sh(host, &format!("python3 -c '{monotonic}'")).parse().unwrap();
        there - now_ns() as f64 / 1e9
    };
    let (off_a, off_b) = (off_s(a), off_s(b) - offset_s as f64);
    println!("off by {off_a:.3} s, and by {off_b:.3} s more than was asked");
    assert!(off_a.abs() < 20.0 && off_b.abs() < 20.0, "{off_a} {off_b}");
    // The boot-time clock goes with it, also for whom a program there started.
    let uptime_s = |host: &LabHost| sh(host, "cat /proc/uptime | cut -d. -f1").parse::<i64>().unwrap();
    assert!((uptime_s(b) - uptime_s(a) - offset_s).abs() < 20);
    // Nobody takes its stamps for the bench's.
    assert!(matches!(b.helper(), Err(TestbedError::Unsupported { .. })));
    assert_eq!(b.clock().monotonic(1), None);
    drop(a.helper().unwrap());
    drop(lab);

    let shared = LabSpec { kind: HostKind::Namespace, clock_offsets_s: vec![1], ..nodes };
    assert!(matches!(Lab::up(inside, &shared), Err(TestbedError::Unsupported { .. })));
}
