//! The VM's two disks in a scripted world: which it has, how their copies stand, and what must never be done to them.

use dunlin_hypervisor::Side;
use dunlin_record::Writes;

use super::{Copies, Happening, MS, Model};

/// By which the guest knows them.
pub(in crate::fake) const NAMES: [&str; 2] = ["data", "swap"];

/// How long disks take to be copied, and the last of them once they are even.
const COPY_NS: i64 = 15 * MS;
const LAST_COPY_NS: i64 = 2 * MS;
/// How long one disk takes longer than the other to be changed for.
const APART_NS: i64 = MS;
/// How long both hosts' images take to be compared.
const COMPARE_NS: i64 = 5 * MS;

/// The truth about the disks.
#[derive(Debug)]
pub(in crate::fake) struct Disks {
    pub(in crate::fake) copies: Copies,
    /// Which of them the VM at the source has changed for the new ones.
    pub(in crate::fake) on_new: [bool; 2],
    /// Whether everything was copied once.
    pub(in crate::fake) once_over: bool,
    in_step: bool,
    compared_from_ns: Option<i64>,
    compared: bool,
}

impl Disks {
    pub(super) fn new() -> Self {
        Self {
            copies: Copies::None,
            on_new: [false; 2],
            once_over: false,
            in_step: false,
            compared_from_ns: None,
            compared: false,
        }
    }
}

impl Model {
    pub(super) fn begin_copies(&mut self) {
        self.disks.copies = Copies::Copying;
        self.disks.in_step = self.setting.how.writes == Writes::InStep;
        self.after(COPY_NS, Happening::Copied(Copies::Even));
    }

    pub(super) fn keep_in_step(&mut self) {
        self.disks.in_step = true;
    }

    pub(super) fn finish_copies(&mut self) -> Result<(), &'static str> {
        if self.disks.copies != Copies::Even || self.setting.how.two_steps {
            return Err("they are not even");
        }
        self.disks.copies = Copies::Finishing;
        self.after(LAST_COPY_NS, Happening::Copied(Copies::Ended));
        Ok(())
    }

    pub(super) fn change_disks(&mut self) -> Result<(), &'static str> {
        if self.disks.copies != Copies::Even || !self.setting.how.two_steps {
            return Err("they are not even");
        }
        self.disks.copies = Copies::Changing;
        self.after(LAST_COPY_NS, Happening::Changed(0));
        self.after(LAST_COPY_NS + APART_NS, Happening::Changed(1));
        Ok(())
    }

    pub(super) fn let_go(&mut self) -> Result<(), &'static str> {
        if self.disks.copies != Copies::Ended || self.disks.on_new != [true; 2] {
            return Err("the VM has them");
        }
        self.disks.copies = Copies::LetGo;
        Ok(())
    }

    /// Compares them; whether that has ended.
    pub(in crate::fake) fn compare(&mut self) -> Result<bool, &'static str> {
        if self.disks.copies != Copies::Ended || self.setting.how.two_steps {
            return Err("their copies have not ended");
        }
        if self.ends[0].running {
            return Err("the VM writes them");
        }
        let from_ns = *self.disks.compared_from_ns.get_or_insert(self.now_ns);
        self.disks.compared |= self.now_ns >= from_ns + COMPARE_NS;
        Ok(self.disks.compared)
    }

    pub(super) fn abandon_copies(&mut self) {
        self.disks.copies = Copies::None;
    }

    /// The copies are as far as that, unless what it takes is not there or the guest has written meanwhile.
    pub(super) fn copied(&mut self, stage: Copies) {
        let is_cut = !self.setting.how.two_steps && (!self.link_up || !self.ends[1].alive);
        match (self.disks.copies, stage) {
            _ if is_cut => {}
            (Copies::Copying, Copies::Even) => {
                self.disks.once_over = true;
                let outruns = self.setting.outruns && self.ends[0].running && !self.disks.in_step;
                if outruns {
                    return self.after(COPY_NS / 3, Happening::Copied(stage));
                }
                self.disks.copies = stage;
            }
            (Copies::Finishing, Copies::Ended) => self.disks.copies = stage,
            _ => {}
        }
    }

    /// The VM has one of its new disks.
    pub(super) fn changed(&mut self, which: usize) {
        if self.disks.copies != Copies::Changing {
            return;
        }
        self.disks.on_new[which] = true;
        if self.disks.on_new == [true; 2] {
            self.disks.copies = Copies::Ended;
        }
    }

    pub(super) fn break_copies(&mut self) {
        if matches!(self.disks.copies, Copies::Copying | Copies::Even | Copies::Finishing | Copies::Changing)
        {
            self.disks.copies = Copies::Failed;
        }
    }

    /// What breaks off with the way between the hosts: disks that both see are reached by another.
    pub(super) fn break_copies_between_hosts(&mut self) {
        if !self.setting.how.two_steps {
            self.break_copies();
        }
    }

    /// What is wrong with its disks for a VM that begins to run on a side.
    pub(super) fn wrong_with_disks(&self, side: Side) -> Option<String> {
        if side == Side::Source || !self.setting.disks {
            return None;
        }
        let how = &self.setting.how;
        let are_there = if how.two_steps {
            self.disks.copies == Copies::LetGo && self.disks.on_new == [true; 2]
        } else {
            self.disks.copies == Copies::HandedOver
        };
        let are_equal = !how.compare || (self.disks.compared && !self.setting.differs);
        (!are_there || !are_equal)
            .then(|| format!("it runs at the destination, its disks are {:?}", self.disks))
    }
}
