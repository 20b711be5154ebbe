//! A mover made of primitives at both ends.

use std::sync::Arc;
use std::time::Duration;

use dunlin_record::{HostId, HypervisorReport, MechanismSeen, StorageSettings, VmId};

use crate::{
    Act, CopyOrder, DiskCompared, DiskCopies, MirrorProgress, Mover, Presence, Primitives, Progress, Result,
    Side, Tuning, Vm,
};

/// A migration between two ends that are ready for it: the source knows how, the destination listens.
pub struct Stepwise {
    source: Arc<dyn Primitives>,
    destination: Arc<dyn Primitives>,
    /// Where the destination listens, as the source must be told.
    address: String,
    disks: Option<Mirrors>,
}

/// The copies of the disks of a stepwise migration.
struct Mirrors {
    source: Arc<dyn Primitives>,
    destination: Arc<dyn Primitives>,
    order: CopyOrder,
}

impl Stepwise {
    /// A migration to a destination that listens at an address, and of disks as is said if they move too.
    #[must_use]
    pub fn new(
        source: Arc<dyn Primitives>,
        destination: Arc<dyn Primitives>,
        address: String,
        disks: Option<CopyOrder>,
    ) -> Self {
        let disks = disks.map(|order| Mirrors {
            source: Arc::clone(&source),
            destination: Arc::clone(&destination),
            order,
        });
        Self { source, destination, address, disks }
    }

    fn end(&self, side: Side) -> &Arc<dyn Primitives> {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }
}

impl Mover for Stepwise {
    fn is_managed(&self) -> bool {
        false
    }

    fn vm(&self) -> &VmId {
        self.source.id()
    }

    fn host(&self, side: Side) -> &HostId {
        self.end(side).host()
    }

    fn handle(&self, side: Side) -> Option<&dyn Vm> {
        let vm: &dyn Vm = &**self.end(side);
        Some(vm)
    }

    fn begin(&mut self) -> Result<()> {
        self.source.start(&self.address)
    }

    fn act(&mut self, act: Act) -> Result<()> {
        match act {
            Act::HoldSource => self.source.stop_for_move(),
            Act::StopSource => self.source.stop(),
            Act::SwitchToPostCopy => self.source.switch_to_post_copy(),
            Act::ContinueSwitchOver => self.source.continue_switchover(),
            Act::SetDowntimeLimit { limit } => self.source.tune(Tuning::DowntimeLimit(limit)),
            Act::SetBandwidth { bytes_s } => self.source.tune(Tuning::Bandwidth(bytes_s)),
            Act::Cancel => self.source.cancel(),
            Act::BreakConnections => self.source.break_connections(),
            Act::HoldDestination => self.destination.hold_incoming(),
            Act::Resume(side) => self.end(side).resume(),
            Act::EndSource { limit } => self.source.end(limit),
            Act::EndDestination { limit } => self.destination.end(limit),
        }
    }

    fn progress(&mut self) -> Result<Progress> {
        self.source.progress()
    }

    fn check(&mut self) -> Result<()> {
        for end in [&self.source, &self.destination] {
            end.check_guest()?;
            end.check_alive()?;
        }
        Ok(())
    }

    fn ask(&mut self, side: Side) -> Presence {
        Presence::of(&**self.end(side))
    }

    fn report(&mut self) -> Result<HypervisorReport> {
        self.source.report()
    }

    fn mechanisms(&mut self) -> Result<Vec<MechanismSeen>> {
        self.source.mechanisms()
    }

    fn disks(&mut self) -> Option<&mut dyn DiskCopies> {
        let disks: &mut dyn DiskCopies = self.disks.as_mut()?;
        Some(disks)
    }
}

impl DiskCopies for Mirrors {
    fn address(&self) -> &str {
        &self.order.address
    }

    fn how(&self) -> &StorageSettings {
        &self.order.how
    }

    fn start(&mut self) -> Result<()> {
        self.source.start_mirrors(&self.order)
    }

    fn progress(&mut self) -> Result<MirrorProgress> {
        self.source.mirrors()
    }

    fn keep_in_step(&mut self) -> Result<bool> {
        self.source.mirror_in_step()
    }

    fn finish(&mut self) -> Result<()> {
        self.source.finish_mirrors()
    }

    fn compare(&mut self) -> Result<Option<Vec<DiskCompared>>> {
        self.source.compare_mirrored()
    }

    fn hand_over(&mut self) -> Result<()> {
        self.source.release_mirrors()?;
        self.destination.withdraw_disks()
    }

    fn change_over(&mut self) -> Result<()> {
        self.source.change_to_mirrors()
    }

    fn changed(&mut self) -> Result<Vec<String>> {
        self.source.changed_to_mirrors()
    }

    fn let_go(&mut self) -> Result<()> {
        self.source.release_originals()
    }

    fn abandon(&mut self, limit: Duration) -> Result<()> {
        self.source.abandon_mirrors(limit)
    }
}
