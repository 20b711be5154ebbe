//! Both hosts' images compared while the VM stands still: where they differ it stays where it is.

use std::time::Duration;

use dunlin_hypervisor::{DiskCompared, Side};
use dunlin_policy::Stage;
use dunlin_record::EventKind;

use super::HAND_OVER_EVERY;
use crate::run::{GaveUp, Run};

impl Run<'_, '_> {
    /// Compares them, once all copies have ended.
    pub(super) fn compare_disks(&mut self) -> Result<(), GaveUp> {
        // Nothing has to be copied meanwhile: that no bytes move is no stall.
        self.watch.enter(Stage::SwitchOver, self.world.now_ns());
        let compared = loop {
            self.job.mover.check()?;
            self.go_on()?;
            if let Some(compared) = self.copies()?.compare()? {
                break compared;
            }
            self.follow(HAND_OVER_EVERY);
        };
        // A source whose migration fails runs the VM again, and what it writes differs.
        self.follow(Duration::ZERO);
        self.go_on()?;
        for DiskCompared { disk, compared_bytes, differs_at_bytes } in compared.clone() {
            self.tell(Side::Source, EventKind::StorageCompared { disk, compared_bytes, differs_at_bytes });
        }
        let differs = compared.iter().find_map(|one| Some((&one.disk, one.differs_at_bytes?)));
        differs.map_or(Ok(()), |(disk, at)| {
            Err(GaveUp::failed(format!("both hosts' images of {disk} differ, first at byte {at}")))
        })
    }
}
