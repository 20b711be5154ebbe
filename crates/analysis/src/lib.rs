//! From a trial's record to its outcome and its time line: pure, no VM, no socket, no clock.

mod timeline;

pub use timeline::{Answerer, Mark, ProbeTrack, Request, Span, Timeline, WireTick};
