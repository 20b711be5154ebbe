//! Outside observers of a VM's service: ICMP and UDP echo requests at a fixed rate, with the kernel's own stamps, and HTTP
//! requests at a fixed rate, each on a connection of its own; TCP request/response and TCP streams, which never rest.
//!
//! A probe sends, receives and stamps; it knows no VM and computes no statistics. [`start`], [`start_http`] or [`start_tcp`]
//! runs one in the network namespace of the caller and hands rows of the record's shapes to a sink until it is stopped.

mod clock_watch;
mod echo;
mod error;
mod http;
mod identity;
mod ledger;
mod load;
mod payload;
mod receiver;
mod running;
mod sender;
mod socket;
mod spec;
mod sys;
mod tcp;

pub use echo::serve_echo;
pub use error::{ProbeError, Result};
pub use http::{HTTP_INTERVAL_RANGE_NS, RunningHttpProbe, start_http};
pub use identity::{Identity, RequestFrame};
pub use ledger::Ledger;
pub use load::{LoadSummary, RunningLoad, start_load};
pub use payload::{PAYLOAD_BYTES, Payload};
pub use receiver::{ProbeRows, Sink};
pub use running::{ProbeSummary, RunningProbe, start};
pub use spec::{DEFAULT_UDP_PORT, INTERVAL_RANGE_NS, PAYLOAD_RANGE_BYTES, ProbeKind, ProbeSpec};
pub use tcp::{RunningTcpProbe, TcpProbeSummary, TcpSink, start_tcp};
