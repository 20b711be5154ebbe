//! Each mechanism.
use super::ground::Ground;
pub(crate) fn play(_: &Ground<'_>) {}
