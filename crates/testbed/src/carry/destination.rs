//! The file that a carried one becomes: made, or taken if it holds nothing; and again as it was where it does not come.

use std::time::Duration;

use super::{Carry, Work};
use crate::helper::protocol::FileLook;
use crate::{Result, TestbedError};

/// How long a look at a file may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// The destination's file. Dropping it makes it as it was, unless the carried one came.
pub(super) struct Destination<'a> {
    order: &'a Carry<'a>,
    undo: Undo,
}

/// What makes it as it was.
enum Undo {
    Nothing,
    /// It was not there.
    Remove,
    /// It was but a hole, of so many bytes.
    Empty(u64),
}

impl<'a> Destination<'a> {
    pub(super) fn of(order: &'a Carry<'a>) -> Self {
        Self { order, undo: Undo::Nothing }
    }

    /// Makes it, or sees that it holds nothing.
    pub(super) fn prepare(&mut self, work: &Work<'_>) -> Result<()> {
        let Carry { to, destination, .. } = self.order;
        let failed = |error: TestbedError| self.order.failed_on(to.id(), &error);
        let refused =
            |why: &str| self.order.failed(format_args!("{}: {} {why}", to.id(), destination.display()));
        self.undo = match work.to.look_at_file(destination, LOOK_LIMIT).map_err(failed)? {
            None => {
                // Behind ssh it is noted there, and goes with the testbed.
                to.write_private(destination, &[]).map_err(failed)?;
                Undo::Remove
            }
            Some(FileLook { is_file: false, .. }) => return Err(refused("is there, and is no file")),
            Some(FileLook { allocated_bytes: 1.., .. }) => {
                return Err(refused("is there, and holds something"));
            }
            Some(FileLook { bytes, .. }) => Undo::Empty(bytes),
        };
        Ok(())
    }

    /// It came.
    pub(super) fn keep(&mut self) {
        self.undo = Undo::Nothing;
    }
}

impl Drop for Destination<'_> {
    fn drop(&mut self) {
        let Carry { to, destination, .. } = self.order;
        // Where its host is lost, what ends there takes it along.
        match self.undo {
            Undo::Nothing => {}
            Undo::Remove => drop(to.remove(destination)),
            // Our helper there did so if it could; it may have been killed.
            Undo::Empty(bytes) => drop(to.helper().and_then(|helper| helper.empty_file(destination, bytes))),
        }
    }
}
