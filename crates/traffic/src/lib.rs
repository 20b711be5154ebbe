//! Both ends of the conversations that a guest holds: they run in the guest, on the bench and on hosts alike, and know
//! no VM.

mod numbered;
mod sequence;

pub use numbered::{NUMBERED_MIN_BYTES, number_of, write_numbered};
pub use sequence::{Place, Sequence};
