//! Both ends of the conversations that a guest holds: they run in the guest, on the bench and on hosts alike, and know
//! no VM.

mod http;
mod keepalive;
mod numbered;
mod pace;
mod sequence;
mod stream;
mod tcp_test;

pub use http::{
    Failure, HTTP_PORT, HttpServer, INCREASE_BYTES, Load, LoadEnd, LoadEvent, LoadSpec, MATRIX_ORDER_MAX,
    Served, ServerSettings,
};
pub use numbered::{NUMBERED_MIN_BYTES, number_of, write_numbered};
pub use pace::Pace;
pub use sequence::{Place, Sequence};
pub use stream::{Account, Disorder, Role, StreamEnd, StreamEvent, StreamSpec, Transport};
pub use tcp_test::{
    BufferSizes, MESSAGE_BYTES_MAX, ResponderEnd, StreamSample, TCP_TEST_PORT, TcpResponder, TcpTest,
    TcpTestEvent, TcpWork, TransactionEnd,
};
