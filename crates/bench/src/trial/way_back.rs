//! After a trial: VMs of the user's go back to where they came from, and are looked at there.
//!
//! "The migrated VM is migrated back" (Hu et al., table 1, line 3). Nothing of it is measured; what happened is in a folder
//! of its own among the trial's logs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_hypervisor::{Journey, MoveOrder};
use dunlin_migrate::{Job, Live, migrate};
use dunlin_record::{EventKind, EventWriter, Journal, Place, VmId, file_name, in_one_line};

use super::migration::limits;
use super::{Guest, Run, event};
use crate::existing::said_of;
use crate::{BenchError, Result};

/// The folder of the way back among a trial's logs.
const FOLDER: &str = "way-back";
/// How often it is seen whether the user wants to end it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A VM of the user's whose migration was begun.
pub(super) struct Moved {
    name: String,
    id: VmId,
    /// Where it was in the end.
    place: Place,
}

impl Moved {
    /// What is to be done about a guest once its migration has ended; nothing where it is ours.
    pub(super) fn of(guest: &Guest, place: Place) -> Option<Self> {
        Some(Self { name: guest.found.as_ref()?.name.clone(), id: guest.id.clone(), place })
    }
}

impl Run<'_> {
    /// Sees to it that the user's VMs are where they were before the trial, and as they were. Says how many of them are
    /// defined otherwise.
    ///
    /// # Errors
    /// Where one is not back, or it is not known where it is: then nothing more may be done to it.
    pub(super) fn go_home(&mut self, journal: &mut Journal) -> Result<usize> {
        let moved = std::mem::take(&mut self.moved);
        // Of several, each is cared for, whatever became of the others.
        let mut first_error = None;
        let mut changed = 0;
        let away = moved.iter().filter(|vm| vm.place == Place::Destination && !self.trial.stay);
        if let Err(error) = self.bring_all_back(away.collect()) {
            first_error = Some(error);
        }
        for vm in &moved {
            match vm.place {
                Place::Nowhere | Place::Unknown => {
                    let said = self.said_of(&vm.name);
                    let error = BenchError::WhereUnknown { vm: vm.name.clone(), said };
                    first_error.get_or_insert(error);
                }
                Place::Destination if self.trial.stay => {}
                Place::Source | Place::Destination => match self.compare_definition(vm, journal) {
                    Ok(is_other) => changed += usize::from(is_other),
                    Err(error) => drop(first_error.get_or_insert(error)),
                },
            }
        }
        first_error.map_or(Ok(changed), Err)
    }

    /// Brings back all that are at the destination. The first wish of the user to end the run is seen to afterwards; the
    /// second leaves them where they are.
    fn bring_all_back(&mut self, away: Vec<&Moved>) -> Result<()> {
        if away.is_empty() {
            return Ok(());
        }
        let folder = self.logs.join(FOLDER);
        let mut journal = open_journal(&folder).unwrap_or_else(|error| {
            // What cannot be kept keeps no VM from its way home.
            let (doing, why) = (folder.display(), in_one_line(&error));
            self.observer
                .note(&format!("warning: what happens on the way back is not kept in {doing}: {why}"));
            Journal::discarding()
        });
        let cancel = self.trial.cancel;
        let wishes = Wishes::default();
        wishes.look(cancel);
        let ended = AtomicBool::new(false);
        let result = thread::scope(|scope| {
            let _ends = SetWhenDropped(&ended);
            scope.spawn(|| wishes.watch(cancel, &ended));
            let mut first_error = None;
            for vm in away {
                if let Err(error) = self.bring_back(vm, &folder, &wishes, &mut journal) {
                    first_error.get_or_insert(error);
                }
            }
            first_error.map_or(Ok(()), Err)
        });
        if wishes.count() > 0 {
            cancel.cancel();
        }
        let kept = journal.finish();
        result?;
        Ok(kept?)
    }

    fn bring_back(
        &mut self,
        vm: &Moved,
        folder: &Path,
        wishes: &Wishes,
        journal: &mut Journal,
    ) -> Result<()> {
        let plan = self.trial.plan;
        let [home, there] = [&plan.source, &plan.destination].map(|end| end.host().id().to_string());
        let bringing = format!("bringing {} back to {home}", vm.name);
        self.observer.stage(&bringing);
        let told = wishes.count();
        if told == 1 {
            self.observer.note(&format!("{bringing}; Ctrl-C once more leaves it on {there}"));
        }
        let moved = self.move_back(vm, folder, (&bringing, &there), told, wishes, journal);
        match moved {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(self.not_home(vm, why, wishes)),
            Err(error) => Err(self.not_home(vm, in_one_line(&error), wishes)),
        }
    }

    /// Moves a VM back as it came; says why it is not back, where it is not.
    fn move_back(
        &mut self,
        vm: &Moved,
        folder: &Path,
        (bringing, there): (&str, &str),
        mut told: u32,
        wishes: &Wishes,
        journal: &mut Journal,
    ) -> Result<Option<String>> {
        if wishes.leave.is_cancelled() {
            return Ok(Some("ended by the user".into()));
        }
        let (plan, case) = (self.trial.plan, self.trial.case);
        let at = plan.destination.find(&vm.name, journal.sender())?;
        let order = MoveOrder {
            strategy: &case.strategy,
            transport: &case.transport,
            disks: &[],
            copies: case.vm.moves_disks().then_some(&case.storage),
            journey: Journey::Home,
            logs: folder,
            events: journal.sender(),
        };
        let mut mover = plan.destination.mover(&at, &*plan.source, &order)?;
        let observer = &mut *self.observer;
        let mut on_progress = |_, _: &_| {
            let wished = wishes.count();
            if wished > told && wished == 1 {
                observer.note(&format!("{bringing}; Ctrl-C once more leaves it on {there}"));
            }
            told = wished;
            Ok(())
        };
        let mut live = Live::new(journal);
        let job = Job {
            mover: &mut *mover,
            strategy: &case.strategy,
            limits: limits(case),
            cancel: &wishes.leave,
            on_progress: &mut on_progress,
            on_mirrors: &mut |_, _| Ok(()),
        };
        let ended = migrate(job, &mut live);
        // By its events alone no VM is judged: where it is was asked.
        if let Some(error) = live.into_failure() {
            let why = in_one_line(&error);
            self.observer.note(&format!("warning: not all that happened on the way back is kept: {why}"));
        }
        // Its destination is our source.
        match ended.place {
            Place::Destination => {
                if let Some(error) = ended.error {
                    self.observer.note(&format!("warning: {} is back, but not well: {error}", vm.name));
                }
                Ok(None)
            }
            _ => Ok(Some(ended.error.unwrap_or_else(|| "its way back was not completed".into()))),
        }
    }

    fn not_home(&self, vm: &Moved, why: String, wishes: &Wishes) -> BenchError {
        let home = self.trial.plan.source.host().id().to_string();
        let by_user = wishes.leave.is_cancelled();
        BenchError::NotHome { vm: vm.name.clone(), home, why, said: self.said_of(&vm.name), by_user }
    }

    fn said_of(&self, name: &str) -> String {
        let plan = self.trial.plan;
        said_of(name, [&*plan.source, &*plan.destination])
    }
}

impl Run<'_> {
    /// Takes note of how the user's VMs are defined, before the first of their trials. What does not tell is not compared.
    pub(super) fn learn_definitions(&self, guests: &[Guest], journal: &mut Journal) -> Result<()> {
        for (guest, found) in guests.iter().filter_map(|guest| Some((guest, guest.found.as_ref()?))) {
            if self.trial.definitions.knows(&found.name) {
                continue;
            }
            match self.trial.plan.source.definition(&guest.id) {
                Ok(Some(definition)) => drop(self.trial.definitions.note(&found.name, &definition)),
                Ok(None) => {}
                Err(error) => self.warn_of_definition(&guest.id, &error, journal)?,
            }
        }
        Ok(())
    }

    /// Holds a VM that is back against what it was before; says whether it is defined otherwise.
    fn compare_definition(&mut self, vm: &Moved, journal: &mut Journal) -> Result<bool> {
        if !self.trial.definitions.knows(&vm.name) {
            return Ok(false);
        }
        let source = &self.trial.plan.source;
        let now = match source.definition(&vm.id) {
            Ok(now) => now.unwrap_or_default(),
            Err(error) => {
                self.warn_of_definition(&vm.id, &error, journal)?;
                return Ok(false);
            }
        };
        let Some(lines) = self.trial.definitions.note(&vm.name, &now) else { return Ok(false) };
        let path = self.definition_path(&vm.name);
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        fs::write(&path, text)
            .map_err(|source| BenchError::Io { doing: format!("write {}", path.display()), source })?;
        let host = source.host().id();
        let text = format!("{} is not defined on {host} as it was before: {}", vm.name, path.display());
        self.observer.note(&format!("warning: {text}"));
        journal.keep(&event(Some(host), Some(&vm.id), EventKind::Warning { text }))?;
        Ok(true)
    }

    fn definition_path(&self, name: &str) -> PathBuf {
        self.logs.join(format!("definition-{}.diff", file_name(name)))
    }

    fn warn_of_definition(
        &self,
        vm: &VmId,
        error: &dunlin_hypervisor::HypervisorError,
        journal: &mut Journal,
    ) -> Result<()> {
        let text = format!("how it is defined is not known: {}", in_one_line(error));
        let host = self.trial.plan.source.host().id();
        Ok(journal.keep(&event(Some(host), Some(vm), EventKind::Warning { text }))?)
    }
}

fn open_journal(folder: &Path) -> Result<Journal> {
    fs::create_dir_all(folder)
        .map_err(|source| BenchError::Io { doing: format!("create {}", folder.display()), source })?;
    Ok(Journal::new(EventWriter::create(&folder.join("events.jsonl.zst"))?))
}

/// The user's wishes to end the run that came since its migration.
#[derive(Default)]
struct Wishes {
    count: AtomicU32,
    /// The second of them.
    leave: Cancel,
}

impl Wishes {
    fn count(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// Counts them until `ended`. Each is taken, so that the next one is seen.
    fn watch(&self, cancel: &Cancel, ended: &AtomicBool) {
        while !ended.load(Ordering::SeqCst) {
            thread::sleep(LOOK_EVERY);
            self.look(cancel);
        }
    }

    fn look(&self, cancel: &Cancel) {
        if cancel.take() && self.count.fetch_add(1, Ordering::SeqCst) > 0 {
            self.leave.cancel();
        }
    }
}

/// Says that work has ended, also by a panic.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
