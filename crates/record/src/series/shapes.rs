//! Names, columns and units of the series Dunlin records: the one place that fixes each row's shape.

/// Columns by name and unit.
pub type Shape = &'static [(&'static str, &'static str)];

/// Makes a constant of each shape, and of all of them the list [`ALL`], so that none is left out of it.
macro_rules! shapes {
    ($($(#[$doc:meta])* $shape:ident in $($name:literal)|+ = $columns:expr;)+) => {
        $($(#[$doc])* pub const $shape: Shape = $columns;)+

        /// Every shape with the names of its series, whose parts in angle brackets are anything, as in
        /// `<vm>-probe-<probe>-sent`.
        pub const ALL: &[(Shape, &[&str])] = &[$(($shape, &[$($name),+]),)+];
    };
}

shapes! {
    /// `<vm>-probe-<probe>-sent`: a request. `due_ns` is when it should have left, `sent_ns` when it did: the
    /// kernel's stamp (of the HTTP probe its own, of when it asked for the connection), absent where there is none.
    PROBE_SENT in "<vm>-probe-<probe>-sent" = &[("seq", "1"), ("due_ns", "ns"), ("sent_ns", "ns")];
    /// `<vm>-probe-<probe>-answers`: an answer, with the kernel's stamp of its arrival (of the HTTP probe its own, of
    /// when it had the whole answer).
    PROBE_ANSWERS in "<vm>-probe-<probe>-answers" = &[("seq", "1"), ("arrived_ns", "ns")];
    /// `<vm>-probe-<probe>-failures`: a request that will have no good answer, when that was known, and why
    /// ([`RequestFailure::code`](crate::RequestFailure::code)).
    PROBE_FAILURES in "<vm>-probe-<probe>-failures" = &[("seq", "1"), ("t_ns", "ns"), ("failure", "1")];
    /// `<vm>-probe-<probe>-transactions`: request/response over TCP, one row a transaction in order, with the prober's own
    /// stamps: when it handed the request to the kernel, and when it had the whole response (absent where none came).
    /// `failure` ([`RequestFailure::code`](crate::RequestFailure::code)) is absent but where the connection broke.
    PROBE_TRANSACTIONS in "<vm>-probe-<probe>-transactions" = &[("sent_ns", "ns"), ("arrived_ns", "ns"), ("failure", "1")];
    /// `<vm>-probe-<probe>-samples`: a TCP stream as the kernel of the measuring end knows it (`TCP_INFO`), once each
    /// millisecond. `connection`: from 1; what follows is of it alone. `bytes`: payload that the other end has acknowledged,
    /// of a reverse stream that has arrived; `rtt_us`: smoothed; `window_segments`: of congestion.
    PROBE_SAMPLES in "<vm>-probe-<probe>-samples" = &[
        ("t_ns", "ns"),
        ("connection", "1"),
        ("bytes", "bytes"),
        ("retransmitted_segments", "segments"),
        ("rtt_us", "us"),
        ("window_segments", "segments"),
    ];
    /// `<vm>-passages-<host>`: a probe's frame seen on the VM's tap on this host. `probe`: 0 ICMP, 1 UDP;
    /// `direction`: 0 request to the VM, 1 answer from it.
    PASSAGES in "<vm>-passages-<host>" = &[("probe", "1"), ("seq", "1"), ("direction", "1"), ("t_ns", "ns")];
    /// `wire-<host>-<network>`: an interface's counters, as seen from the host. `wire-<host>-migration-probes`: what TCP
    /// probes between the hosts had of them.
    WIRE in "wire-<host>-<network>" = &[
        ("t_ns", "ns"),
        ("tx_bytes", "bytes"),
        ("rx_bytes", "bytes"),
        ("tx_packets", "packets"),
        ("rx_packets", "packets"),
    ];
    /// `switch-<host>-migration`: what a managed switch says (SNMP) of its port to the host, as seen from the switch. A
    /// question that was not answered is a row with no more than `asked_ns`. `counter_bits`: 32 or 64, where the
    /// counters start anew; `uptime_cs`: since the agent's start (`sysUpTime`); `discontinuity_cs`: the uptime at which
    /// the port's counters were last reset (`ifCounterDiscontinuityTime`).
    SWITCH in "switch-<host>-migration" = &[
        ("asked_ns", "ns"),
        ("answered_ns", "ns"),
        ("in_bytes", "bytes"),
        ("out_bytes", "bytes"),
        ("counter_bits", "1"),
        ("uptime_cs", "cs"),
        ("discontinuity_cs", "cs"),
    ];
    /// `<vm>-progress`: the hypervisor's own counters at the source.
    PROGRESS in "<vm>-progress" = &[
        ("t_ns", "ns"),
        ("transferred_bytes", "bytes"),
        ("remaining_bytes", "bytes"),
        ("total_bytes", "bytes"),
        ("normal_pages", "pages"),
        ("zero_pages", "pages"),
        ("dirty_rate_pages_s", "pages/s"),
        ("pass", "1"),
        ("throttle_percent", "%"),
        ("postcopy_requests", "1"),
    ];
    /// `<vm>-storage`: how far the copy of the VM's disks is, by the hypervisor's own counters at the source, all disks
    /// together and holes included. What the guest writes meanwhile makes the total grow.
    STORAGE in "<vm>-storage" = &[("t_ns", "ns"), ("copied_bytes", "bytes"), ("total_bytes", "bytes")];
    /// `<vm>-cpu-<host>`: CPU time of the VM's hypervisor process there since its start; `vcpus_ns` of its threads that
    /// run vCPUs.
    PROCESS_CPU in "<vm>-cpu-<host>" = &[("t_ns", "ns"), ("process_ns", "ns"), ("vcpus_ns", "ns")];
    /// `<vm>-stream-<workload>`: what moved at the bench's end of a stream, by the millisecond of the bench's clock;
    /// `t_ns` is its begin. Milliseconds in which nothing did have no row. `blocks`: those that ended in it.
    STREAM in "<vm>-stream-<workload>" = &[("t_ns", "ns"), ("bytes", "bytes"), ("blocks", "1")];
    /// `<vm>-disorder-<workload>`: what the bench's end, a receiver, found wrong with the order or the content of blocks.
    /// `kind` is one of the constants below; `number` is the (first) block's, `count` how many in a row, `after_ns` when
    /// the last one before them came.
    DISORDER in "<vm>-disorder-<workload>" =
        &[("t_ns", "ns"), ("kind", "1"), ("number", "1"), ("count", "1"), ("after_ns", "ns")];
    /// `cpu-<host>`: the machine's CPU time since boot.
    CPU in "cpu-<host>" = &[("t_ns", "ns"), ("busy_ns", "ns"), ("idle_ns", "ns")];
    /// `clock-<host>`: how the host's clocks stood to the bench's, as known at the time: what was added to stamps that were
    /// mapped then, and by how much that may be wrong, either way. The monotonic clock stamps what the host's helper records,
    /// the real-time clock what its hypervisor tells. Of the bench's own machine the first is 0, give or take 0.
    CLOCK in "clock-<host>" = &[
        ("t_ns", "ns"),
        ("monotonic_offset_ns", "ns"),
        ("monotonic_error_ns", "ns"),
        ("realtime_offset_ns", "ns"),
        ("realtime_error_ns", "ns"),
    ];
}

/// Blocks had not come when a later one did.
pub const DISORDER_MISSING: i64 = 0;
/// One that had been missing came.
pub const DISORDER_LATE: i64 = 1;
/// One came again.
pub const DISORDER_REPEATED: i64 = 2;
/// One has a content nobody sent.
pub const DISORDER_CORRUPTED: i64 = 3;
