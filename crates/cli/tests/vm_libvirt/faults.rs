//! Faults.
use super::ground::Ground;
pub(crate) fn play(_: &Ground<'_>) {}
pub(crate) fn two_copies(_: &Ground<'_>) {}
