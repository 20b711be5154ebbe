//! Disks that move before their VM's memory, in two steps: `virsh blockcopy` copies them to disks that both hosts see, and the VM
//! goes on with these where it is.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::{Mechanism, MechanismSeen, StorageSettings};
use dunlin_testbed::DiskPlace;

use super::copy_state::{Counted, Standing, Told, standing};
use super::guest_xml;
use super::job::{Job, lock};
use super::virsh::{ACT_LIMIT, ASK_LIMIT};
use super::vm::Handle;
use crate::{DiskCopies, HypervisorError, MirrorProgress, MirrorStage, Result, VmDisk};

/// How often libvirt is asked how far they are; that they are even, or have ended, its events tell at once.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often it is seen whether a copy that is abandoned has ended.
const END_STEP: Duration = Duration::from_millis(50);
/// For how long the words for a copy that has failed may be on their way: they come by another event.
const WORDS_LIMIT: Duration = Duration::from_millis(500);
/// What a copy has under way at once: QEMU's own 16 MiB have to be through whenever the VM is stopped.
const AT_ONCE_BYTES: u64 = 4 << 20;
const MIB: f64 = 1_048_576.0;

/// The copies of a VM's disks.
pub(super) struct Copies {
    source: Handle,
    how: StorageSettings,
    address: String,
    copies: Vec<DiskCopy>,
    /// What is heard of them.
    job: Arc<Mutex<Job>>,
    look_due: Deadline,
}

/// The copy of a disk.
struct DiskCopy {
    /// What the disk is called in the VM, as in `vda`.
    target: String,
    /// Where it goes.
    disk: VmDisk,
    /// How that is described to libvirt, and the source's file in which it is, once it is.
    xml: String,
    file: PathBuf,
    counted: Option<Counted>,
    stage: MirrorStage,
}

impl Copies {
    /// Copies of a VM's disks to others, each to the one that the guest knows by the same name. Nothing begins.
    pub(super) fn prepare(
        source: &Handle,
        how: &StorageSettings,
        (from, to): (&[VmDisk], &[VmDisk]),
        job: &Arc<Mutex<Job>>,
    ) -> Result<Self> {
        let copy = |(target, disk): (String, &VmDisk)| {
            let other = to.iter().find(|other| other.serial == disk.serial);
            let other =
                other.ok_or_else(|| failed(source, &disk.serial, "the destination has no such disk"))?;
            let xml = guest_xml::copy_target(other).ok_or_else(|| unreachable_place(other))?;
            Ok(DiskCopy {
                xml,
                file: source.virsh.host.scratch().join(format!("{}-{target}.xml", source.uuid)),
                target,
                disk: other.clone(),
                counted: None,
                stage: MirrorStage::Copying,
            })
        };
        let copies = guest_xml::targets(from).map(copy).collect::<Result<Vec<_>>>()?;
        let address = copies.iter().map(|copy| shown(&copy.disk.place)).collect::<Vec<_>>().join(", ");
        Ok(Self {
            source: Arc::clone(source),
            how: how.clone(),
            address,
            copies,
            job: Arc::clone(job),
            look_due: Deadline::after(Duration::ZERO),
        })
    }

    /// What was seen of their rate, where one was asked for.
    pub(super) fn rate_seen(&self) -> Option<MechanismSeen> {
        let rate_mib_s = self.how.rate_mib_s?;
        let speeds = || self.copies.iter().map(|copy| copy.counted.map(|counted| counted.speed));
        let used = speeds().collect::<Option<Vec<_>>>().map(|all| all.iter().all(|speed| *speed > 0));
        let told =
            speeds().map(|speed| speed.map_or_else(|| "not told".to_owned(), |speed| speed.to_string()));
        let told = told.collect::<Vec<_>>().join(" + ");
        let evidence = format!("bandwidth: {told} bytes/s of {rate_mib_s} MiB/s");
        Some(MechanismSeen { mechanism: Mechanism::DisksRate, used, evidence })
    }

    /// Begins to copy a disk to an image that is there already, and has its size.
    fn start_one(&self, copy: &DiskCopy, share: f64) -> Result<()> {
        let virsh = &self.source.virsh;
        virsh.host.write_private(&copy.file, copy.xml.as_bytes())?;
        let (file, at_once) = (copy.file.display().to_string(), AT_ONCE_BYTES.to_string());
        let mut words = vec!["blockcopy", &self.source.uuid, &copy.target, "--xml", &file];
        words.extend(["--reuse-external", "--transient-job", "--buf-size", &at_once]);
        let speed = self.how.rate_mib_s.map(|rate_mib_s| rate_bytes(rate_mib_s * share).to_string());
        if let Some(speed) = &speed {
            words.extend(["--bandwidth", speed, "--bytes"]);
        }
        virsh.say(&words, ACT_LIMIT).map(drop)
    }

    /// Takes note of what libvirt's events said.
    fn hear(&mut self) -> Result<()> {
        for index in 0..self.copies.len() {
            let copy = &self.copies[index];
            let told = lock(&self.job).copies.of(&copy.target).cloned();
            let stage = match told {
                None => continue,
                Some(Told::Ready) => copy.stage.max(MirrorStage::Even),
                Some(Told::Completed) => MirrorStage::Ended,
                Some(Told::Broken(word)) => return Err(self.broken(copy, &word)),
            };
            if stage != copy.stage {
                // What was copied is counted as long as there is a job.
                self.look_due = Deadline::after(Duration::ZERO);
            }
            self.copies[index].stage = stage;
        }
        Ok(())
    }

    /// Asks libvirt how far they are. Where it does not answer they are as far as they were.
    fn look(&mut self) -> Result<()> {
        let mut doubts = false;
        for copy in self.copies.iter_mut().filter(|copy| copy.stage < MirrorStage::Ended) {
            let words = ["blockjob", &self.source.uuid, &copy.target, "--raw", "--bytes"];
            let Some(said) = answered(self.source.virsh.say(&words, ASK_LIMIT))? else { return Ok(()) };
            let counted = Counted::read(&said);
            // Its event may have been lost, with the daemon or our connection to it.
            doubts |= counted.is_none_or(|counted| counted.is_all() && copy.stage == MirrorStage::Copying);
            copy.counted = counted.or(copy.counted);
        }
        if !doubts {
            return Ok(());
        }
        let Some(xml) = answered(self.xml())? else { return Ok(()) };
        for index in 0..self.copies.len() {
            let copy = &self.copies[index];
            let stage = match standing(&xml, &copy.target, &copy.disk.place) {
                Some(Standing::Copied { is_even }) if is_even => copy.stage.max(MirrorStage::Even),
                Some(Standing::Copied { .. }) => copy.stage,
                Some(Standing::There) => MirrorStage::Ended,
                Some(Standing::Elsewhere) | None => return Err(self.broken(copy, "its job is gone")),
            };
            self.copies[index].stage = stage;
        }
        Ok(())
    }

    fn xml(&self) -> Result<String> {
        self.source.virsh.say(&["dumpxml", &self.source.uuid], ASK_LIMIT)
    }

    /// What became of a copy that ended, in the words of whoever knows most.
    fn broken(&self, copy: &DiskCopy, otherwise: &str) -> HypervisorError {
        let until = Deadline::after(WORDS_LIMIT);
        loop {
            let words = lock(&self.job).copies.why(&copy.target).map(str::to_owned);
            match words {
                Some(words) => return self.failed(copy, &words),
                None if until.passed() => return self.failed(copy, otherwise),
                None => std::thread::sleep(until.step(Duration::from_millis(10))),
            }
        }
    }

    fn failed(&self, copy: &DiskCopy, why: &str) -> HypervisorError {
        failed(&self.source, &copy.disk.serial, why)
    }

    /// Those that the VM has by now where they were to go.
    fn there(&self) -> Result<Vec<&DiskCopy>> {
        let xml = self.xml()?;
        let is_there =
            |copy: &&DiskCopy| standing(&xml, &copy.target, &copy.disk.place) == Some(Standing::There);
        Ok(self.copies.iter().filter(is_there).collect())
    }

    /// Whether libvirt has a job for the copy of a disk; it has none for a VM that is gone.
    fn has_job(&self, copy: &DiskCopy) -> Result<bool> {
        let words = ["blockjob", &self.source.uuid, &copy.target, "--raw"];
        match self.source.virsh.say(&words, ASK_LIMIT) {
            Err(error) if error.is_refusal() => Ok(false),
            said => Ok(!said?.trim().is_empty()),
        }
    }
}

impl DiskCopies for Copies {
    fn address(&self) -> &str {
        &self.address
    }

    fn how(&self) -> &StorageSettings {
        &self.how
    }

    fn start(&mut self) -> Result<()> {
        let share = 1.0 / self.copies.len().max(1) as f64;
        self.copies.iter().try_for_each(|copy| self.start_one(copy, share))
    }

    fn progress(&mut self) -> Result<MirrorProgress> {
        self.hear()?;
        if self.look_due.passed() {
            self.look()?;
            self.look_due = Deadline::after(LOOK_EVERY);
        }
        let stage = self.copies.iter().map(|copy| copy.stage).min().unwrap_or(MirrorStage::Ended);
        // What one of them does not tell, nobody can tell of all.
        let sum =
            |of: fn(Counted) -> i64| self.copies.iter().map(|copy| copy.counted.map(of)).sum::<Option<i64>>();
        Ok(MirrorProgress {
            stage,
            copied_bytes: sum(|counted| counted.copied_bytes),
            total_bytes: sum(|counted| counted.total_bytes),
        })
    }

    /// libvirt takes that only when a copy begins.
    fn keep_in_step(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn finish(&mut self) -> Result<()> {
        Err(only_in_two_steps())
    }

    fn hand_over(&mut self) -> Result<()> {
        Err(only_in_two_steps())
    }

    fn change_over(&mut self) -> Result<()> {
        let pivot = |copy: &DiskCopy| {
            let words = ["blockjob", &self.source.uuid, &copy.target, "--abort", "--pivot", "--async"];
            self.source.virsh.say(&words, ACT_LIMIT).map(drop)
        };
        self.copies.iter().try_for_each(pivot)
    }

    fn changed(&mut self) -> Result<Vec<String>> {
        Ok(self.there()?.into_iter().map(|copy| copy.disk.serial.clone()).collect())
    }

    /// libvirt lets go of them by itself.
    fn let_go(&mut self) -> Result<()> {
        let there: Vec<&str> = self.there()?.into_iter().map(|copy| copy.target.as_str()).collect();
        match self.copies.iter().find(|copy| !there.contains(&copy.target.as_str())) {
            Some(copy) => Err(self.failed(copy, "the VM has not changed for the new one")),
            None => Ok(()),
        }
    }

    fn abandon(&mut self, limit: Duration) -> Result<()> {
        let deadline = Deadline::after(limit);
        for copy in &self.copies {
            let words = ["blockjob", &self.source.uuid, &copy.target, "--abort", "--async"];
            match self.source.virsh.say(&words, ACT_LIMIT) {
                // One that has ended by then, or never began, is refused.
                Err(error) if error.is_refusal() => {}
                // It does not answer at all: whoever waits has a VM to care for.
                done => drop(done?),
            }
        }
        for copy in &self.copies {
            while self.has_job(copy)? {
                if deadline.passed() {
                    return Err(HypervisorError::Timeout {
                        host: self.source.virsh.host.id().clone(),
                        waiting_for: format!("the copy of {} to end", copy.disk.serial),
                        after_s: limit.as_secs_f64(),
                    });
                }
                std::thread::sleep(deadline.step(END_STEP));
            }
        }
        Ok(())
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        for copy in &self.copies {
            let _ = self.source.virsh.host.remove(&copy.file);
        }
    }
}

/// What was said, if anything was: no answer is none.
fn answered<T>(said: Result<T>) -> Result<Option<T>> {
    match said {
        Err(error) if !error.is_refusal() => Ok(None),
        said => said.map(Some),
    }
}

/// What people call a place.
fn shown(place: &DiskPlace) -> String {
    match place {
        DiskPlace::Nbd { server, export } => format!("nbd://{server}/{export}"),
        other => format!("{other:?}"),
    }
}

fn unreachable_place(disk: &VmDisk) -> HypervisorError {
    HypervisorError::Unsupported {
        what: format!("copying {} to {}", disk.serial, shown(&disk.place)),
        because: "both hosts must reach it, by NBD".into(),
    }
}

/// A rate that is one: 0 would be none.
fn rate_bytes(rate_mib_s: f64) -> u64 {
    (rate_mib_s * MIB).round().max(1.0) as u64
}

fn failed(source: &Handle, disk: &str, why: &str) -> HypervisorError {
    HypervisorError::Mirror {
        vm: source.id.clone(),
        host: source.virsh.host.id().clone(),
        disk: disk.to_owned(),
        why: why.to_owned(),
    }
}

fn only_in_two_steps() -> HypervisorError {
    HypervisorError::Unsupported {
        what: "handing over disks that are kept even".into(),
        because: "libvirt sees to these by itself".into(),
    }
}
