//! Capture and counters: passive records of what an interface of the current network namespace carried. Knows no VM.
//!
//! Each record runs on a thread of its own, which stays in the network namespace of the thread that started it, and
//! hands batches of rows to a sink, or writes frames to a file, until it is stopped.

mod bpf;
mod capture;
mod counters;
mod cpu;
mod error;
mod frame;
mod packet_socket;
mod passages;
mod pcapng;
mod probe_socket;
mod recording;
mod snmp;
mod task;

pub use capture::{
    CAPTURE_SNAP_BYTES, Capture, CaptureMark, CaptureSpec, CaptureSummary, Filter, FilterError, annotate,
    capture,
};
pub use counters::{InterfaceCounters, count_interface, read_interface};
pub use cpu::{count_cpu, count_process_cpu};
pub use error::{Result, WireError};
pub use frame::{PROBE_MAGIC, ProbeFrame, UDP_PROBE_PORT, parse_probe_frame};
pub use passages::watch_passages;
pub use recording::{Recording, RowSink, Summary};
pub use snmp::{Secret, SnmpAccess, SnmpAgent, SnmpAuthentication, count_switch_port, set_snmp_integer};
pub use task::Task;
