//! HTTP/1.1, as little of it as a benchmark needs: a server whose memory grows by call, and an open-loop load for it
//! (apache with `memory_balloon` and `httperf` in the Xen paper, section V). One connection a request, as `httperf` makes.

mod balloon;
mod load;
mod matrix;
mod message;
mod server;

pub use balloon::INCREASE_BYTES;
pub use load::{Failure, Load, LoadEnd, LoadEvent, LoadSpec};
pub use matrix::MATRIX_ORDER_MAX;
pub use server::{HttpServer, Served, ServerSettings};

/// The TCP port on which our servers answer, unless told otherwise.
pub const HTTP_PORT: u16 = 8080;
