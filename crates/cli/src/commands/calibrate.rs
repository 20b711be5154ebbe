//! `dunlin calibrate`: being written.

use crate::failure::{Exit, Failure, Result};

/// Certify the probes: measure outages of known length.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> Result {
    Err(Failure::says(Exit::Failed, "not here yet"))
}
