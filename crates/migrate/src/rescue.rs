//! After a migration that did not complete: at most one copy runs, and one runs again.

use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns};
use dunlin_hypervisor::{RunState, Vm};
use dunlin_record::{Event, EventKind, Journal};

use crate::sequence::Place;
use crate::watch::Watch;
use crate::{MigrateError, Result};

/// How long a cancel may take before connections are broken by force.
const CANCEL_LIMIT: Duration = Duration::from_secs(4);
/// How long it may take after that.
const BREAK_LIMIT: Duration = Duration::from_secs(6);
/// How long a hypervisor may take to end, and the source to run again.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// Cancels a running migration and waits until the source says so, by force where it sticks.
///
/// Says whether the source has left the migration; it has not if it completed in the meantime.
pub(crate) fn cancel(source: &mut dyn Vm, watch: &mut Watch, journal: &mut Journal) -> Result<bool> {
    let _ = journal.drain();
    if watch.source_completed_ns.is_some() {
        return Ok(false);
    }
    // A source that refuses or does not answer is forced below.
    let refused = source.cancel().is_err();
    if !refused && wait_for_end(watch, journal, CANCEL_LIMIT)? {
        return Ok(watch.source_completed_ns.is_none());
    }
    note(journal, source, "break-connections", "the cancel did not take effect")?;
    source.break_connections()?;
    wait_for_end(watch, journal, BREAK_LIMIT)?;
    Ok(watch.source_completed_ns.is_none())
}

fn wait_for_end(watch: &mut Watch, journal: &mut Journal, limit: Duration) -> Result<bool> {
    let deadline = Deadline::after(limit);
    while !deadline.passed() {
        if watch.cancelled || watch.failure.is_some() || watch.source_completed_ns.is_some() {
            return Ok(true);
        }
        if let Some(event) = journal.next(deadline.step(Duration::from_millis(100)))? {
            watch.see(&event);
        }
    }
    Ok(false)
}

/// Makes sure that exactly one copy runs, the source's if post-copy had not begun, and says where.
pub(crate) fn secure(
    source: &mut dyn Vm,
    destination: &mut dyn Vm,
    post_copy_began: bool,
    journal: &mut Journal,
) -> Result<Place> {
    // A destination that does not answer counts as not running: it is ended below before the source may run.
    if destination.run_state().is_ok_and(|state| state.running) && !source_runs(source)? {
        return Ok(Place::Destination);
    }
    // Only when it is gone for sure may the source run again.
    destination.quit(SETTLE_LIMIT)?;
    let state = run_again(source, post_copy_began)?;
    let kind = EventKind::SourceChecked { running: state.running, state: state.word.clone() };
    keep(journal, source, kind)?;
    if state.running { Ok(Place::Source) } else { Err(MigrateError::Lost { state: state.word }) }
}

fn source_runs(source: &mut dyn Vm) -> Result<bool> {
    Ok(source.run_state()?.running)
}

/// The source's state once it runs, or after the limit.
fn run_again(source: &mut dyn Vm, post_copy_began: bool) -> Result<RunState> {
    let deadline = Deadline::after(SETTLE_LIMIT);
    loop {
        let state = source.run_state()?;
        if state.running || deadline.passed() || post_copy_began {
            return Ok(state);
        }
        // It refuses while the migration it had been told to end still is on its way out.
        let _ = source.resume();
        dunlin_clock::sleep_until(now_ns() + 50 * MILLISECOND_NS);
    }
}

/// Records what is done and why.
pub(crate) fn note(journal: &mut Journal, vm: &dyn Vm, action: &str, reason: &str) -> Result<()> {
    keep(journal, vm, EventKind::Decision { action: action.to_owned(), reason: reason.to_owned() })
}

/// Records what happened to a VM now.
pub(crate) fn keep(journal: &mut Journal, vm: &dyn Vm, kind: EventKind) -> Result<()> {
    let event = Event { t_ns: now_ns(), host: Some(vm.host().clone()), vm: Some(vm.id().clone()), kind };
    Ok(journal.keep(&event)?)
}
