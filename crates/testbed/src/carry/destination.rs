//! The file that a carried one becomes: made, or taken if it holds nothing; and again as it was where it does not come.

use std::time::Duration;

use super::{Carry, Work};
use crate::helper::protocol::FileLook;
use crate::{Result, TestbedError};

/// How long a look at a file may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// What was at the destination.
pub(super) struct Destination {
    /// The length of what was there; absent where nothing was.
    was_bytes: Option<u64>,
}

impl Destination {
    pub(super) fn prepare(work: &Work<'_>) -> Result<Self> {
        let Carry { to, destination, .. } = work.order;
        let failed = |error: TestbedError| work.order.failed_on(to, &error);
        let refused =
            |why: &str| work.order.failed(format_args!("{}: {} {why}", to.id(), destination.display()));
        match work.to.look_at_file(destination, LOOK_LIMIT).map_err(failed)? {
            None => {
                // Behind ssh it is noted there, and goes with the testbed.
                to.write_private(destination, &[]).map_err(failed)?;
                Ok(Self { was_bytes: None })
            }
            Some(FileLook { is_file: false, .. }) => Err(refused("is there, and is no file")),
            Some(FileLook { allocated_bytes: 1.., .. }) => Err(refused("is there, and holds something")),
            Some(FileLook { bytes, .. }) => Ok(Self { was_bytes: Some(bytes) }),
        }
    }

    /// It came.
    pub(super) fn keep(self) {}

    /// It did not. Where its host is lost, what ends there takes it along.
    pub(super) fn undo(self, order: &Carry<'_>) {
        match self.was_bytes {
            None => drop(order.to.remove(order.destination)),
            Some(bytes) => {
                // Our helper there did so if it could; it may have been killed.
                let helper = order.to.helper();
                drop(helper.and_then(|helper| helper.empty_file(order.destination, bytes)));
            }
        }
    }
}
