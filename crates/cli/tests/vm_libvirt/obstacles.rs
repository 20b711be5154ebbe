//! What speaks against moving a domain.
use super::ground::Ground;
pub(crate) fn play(_: &Ground<'_>) {}
