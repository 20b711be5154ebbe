//! Capture and counters: passive records of what an interface of the current network namespace carried. Knows no VM.
//!
//! Each record runs on a thread of its own, which stays in the network namespace of the thread that started it, and
//! hands batches of rows to a sink, or writes frames to a file, until it is stopped.
//!
//! Reading captures back is pure: bytes in, [`account`] out.

mod account;
mod bpf;
mod capture;
mod counters;
mod cpu;
mod decode;
mod duplicates;
mod error;
mod filter;
mod frame;
mod input;
mod link_type;
mod migrations;
mod packet_socket;
mod packets;
mod passages;
mod pcap;
mod pcapng;
mod probe_socket;
mod recording;
mod selection;
mod services;
mod snmp;
mod stream_head;
mod task;
mod tcp;
mod ticks;

pub use account::{AccountOptions, account, account_of};
pub use capture::{
    CAPTURE_SNAP_BYTES, Capture, CaptureMark, CaptureSpec, CaptureSummary, Filter, FilterError, annotate,
    capture, count_flow,
};
pub use counters::{InterfaceCounters, count_interface, read_interface};
pub use cpu::{count_cpu, count_process_cpu};
pub use error::{ReadError, ReadResult, Result, WireError};
pub use filter::{PacketFilter, PacketFilterError};
pub use frame::{PROBE_MAGIC, ProbeFrame, UDP_PROBE_PORT, parse_probe_frame};
pub use migrations::find_migrations;
pub use packets::{Packet, PacketReader};
pub use passages::watch_passages;
pub use pcapng::Comments;
pub use recording::{Recording, RowSink, Summary};
pub use selection::{Selection, TimePoint};
pub use services::MOST_SERVICES_TOLD;
pub use snmp::{Secret, SnmpAccess, SnmpAgent, SnmpAuthentication, count_switch_port, set_snmp_integer};
pub use task::Task;
