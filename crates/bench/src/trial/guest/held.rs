//! What memory and disk a guest holds, as told from inside, by its host and by its product.

use dunlin_hypervisor::{Side, ToldHeld, Vm};
use dunlin_record::{Case, DiskHeld, EventKind, Journal, MemoryHeld, Moment, Workload, in_one_line};

use super::{ANSWER_LIMIT, Guest};
use crate::Result;
use crate::trial::event;
use crate::trial::storage::Storage;

impl Guest {
    /// Records what memory and disk the guest holds, as seen from inside and from its host.
    pub(crate) fn tell_held(
        &self,
        at: &dyn Vm,
        moment: Moment,
        case: &Case,
        journal: &mut Journal,
    ) -> Result<()> {
        let dirtied = case.workload.as_ref().and_then(Workload::dirtied_mib).map(mib);
        let told = self.told_held(at, journal)?;
        let mut held = MemoryHeld {
            configured_bytes: self
                .made
                .as_ref()
                .map_or(told.configured_bytes, |made| Some(mib(made.spec.memory_mib))),
            used_bytes: told.used_bytes,
            allocated_bytes: at.allocated_bytes(),
            // Without a workload nothing is rewritten on purpose; what the guest's system dirties is not known.
            dirtied_bytes: dirtied,
            ..MemoryHeld::default()
        };
        let storage = self.made.as_ref().map(|made| &made.storage);
        if let Some(agent) = &self.agent {
            let inside = agent.memory(ANSWER_LIMIT)?;
            let bytes = |value: u64| i64::try_from(value).ok();
            let swapped = inside.swap_total_bytes.saturating_sub(inside.swap_free_bytes);
            held.used_bytes = bytes(inside.total_bytes.saturating_sub(inside.free_bytes));
            held.requested_bytes = bytes(inside.committed_bytes);
            held.swapped_bytes = storage.is_some_and(Storage::has_swap).then(|| bytes(swapped)).flatten();
        }
        let mut tell = |kind| journal.keep(&event(Some(at.host()), Some(&self.id), kind));
        if held != MemoryHeld::default() {
            tell(EventKind::MemoryHeld { moment, held })?;
        }
        if let (Some(storage), Some(agent)) = (storage.filter(|storage| storage.has_disk()), &self.agent) {
            let used_bytes = agent.disk(ANSWER_LIMIT)?.used_bytes;
            let side = if at.host() == self.source.host() { Side::Source } else { Side::Destination };
            if let Some(held) = storage.disk_held(side, used_bytes) {
                tell(EventKind::DiskHeld { moment, held })?;
            }
        } else if let Some(used_bytes) = told.disk_used_bytes {
            let held = DiskHeld { used_bytes: Some(used_bytes), ..DiskHeld::default() };
            tell(EventKind::DiskHeld { moment, held })?;
        }
        Ok(())
    }

    /// What the product says that a VM holds which we did not make.
    fn told_held(&self, at: &dyn Vm, journal: &mut Journal) -> Result<ToldHeld> {
        if self.made.is_some() {
            return Ok(ToldHeld::default());
        }
        at.held().or_else(|error| {
            let text = format!("what it holds is not known: {}", in_one_line(&error));
            journal.keep(&event(Some(at.host()), Some(&self.id), EventKind::Warning { text }))?;
            Ok(ToldHeld::default())
        })
    }
}

fn mib(mib: u32) -> i64 {
    i64::from(mib) << 20
}
