//! A VM's whole state in a file of its host: saved there, and loaded from there.
//!
//! A `mapped-ram` file where QEMU has it (>= 9.0), a stream through `exec:` before.

use std::path::Path;
use std::time::Duration;

use dunlin_clock::Deadline;
use serde_json::json;

use super::features::QemuFeatures;
use super::transport::MigrationSettings;
use super::vm::{ACT_LIMIT, QemuVm, UNLIMITED_BANDWIDTH};
use crate::{HypervisorError, Result, Vm};

/// Limit of saving or loading a state, for a VM of any size …
const LIMIT: Duration = Duration::from_secs(120);
/// … and so much more for each so many MiB of its memory.
const MIB_S: u32 = 50;
/// How long a migration that was cancelled may take to end.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);

/// Saves a VM's state to a file of its host. It is stopped afterwards, and has let go of its images; where this fails, it has
/// not, and can be resumed. No half file remains.
///
/// # Errors
/// Where QEMU or the file refuses, or it takes too long.
pub(super) fn store(vm: &QemuVm, features: &QemuFeatures, file: &Path) -> Result<()> {
    let stored = save_to(vm, features, file);
    if stored.is_err() {
        let _ = vm.host.remove(file);
    }
    stored
}

/// The same, but for what remains of a file that could not be written.
pub(super) fn save_to(vm: &QemuVm, features: &QemuFeatures, file: &Path) -> Result<()> {
    let address = address(features, file, Direction::Save)?;
    vm.stop()?;
    let before = all_capabilities(vm)?;
    let saved = vm.configure(&settings(features, &before)).and_then(|()| {
        let saved = vm.save(&address, limit_of(vm));
        if matches!(saved, Err(HypervisorError::Timeout { .. })) {
            cancel(vm)?;
        }
        saved?;
        await_closed(vm)
    });
    let as_before = vm.configure(&before);
    saved.and(as_before)
}

/// Loads a state into a VM that was launched to wait for one, and lets it run.
///
/// # Errors
/// Where QEMU refuses it, or it takes too long.
pub(super) fn load_from(vm: &QemuVm, features: &QemuFeatures, file: &Path) -> Result<()> {
    let address = address(features, file, Direction::Restore)?;
    let before = all_capabilities(vm)?;
    vm.configure(&settings(features, &before))?;
    vm.load(&address, limit_of(vm))?;
    // It was saved stopped, and runs only when nothing of it can be refused any more.
    vm.configure(&before)?;
    vm.resume()
}

#[derive(Clone, Copy)]
enum Direction {
    Save,
    Restore,
}

fn limit_of(vm: &QemuVm) -> Duration {
    LIMIT + Duration::from_secs(u64::from(vm.machine().spec.memory_mib / MIB_S))
}

/// Waits until a saved state is all in its file. That it has been sent is told first; the file, or the pipe to what writes it,
/// is closed by the main loop after it says that the VM has left.
fn await_closed(vm: &QemuVm) -> Result<()> {
    let deadline = Deadline::after(CANCEL_LIMIT);
    while vm.run_state()?.word != "postmigrate" {
        if deadline.passed() {
            return Err(vm.timeout("its state's file to be closed", CANCEL_LIMIT));
        }
        std::thread::sleep(deadline.step(Duration::from_millis(5)));
    }
    // Each answer takes a round of the main loop at least.
    (0..2).try_for_each(|_| vm.run_state().map(drop))
}

/// Ends the saving of a state, which leaves the VM its images.
fn cancel(vm: &QemuVm) -> Result<()> {
    vm.execute_within(ACT_LIMIT, "migrate_cancel", json!({}))?;
    let deadline = Deadline::after(CANCEL_LIMIT);
    loop {
        let answer = vm.execute_within(ACT_LIMIT, "query-migrate", json!({}))?;
        match answer["status"].as_str() {
            Some("cancelled" | "failed" | "completed") => return Ok(()),
            _ if deadline.passed() => return Err(vm.timeout("the saving of its state to end", CANCEL_LIMIT)),
            _ => std::thread::sleep(deadline.step(Duration::from_millis(10))),
        }
    }
}

/// All that a migration of it can be told to do, as it is told now.
fn all_capabilities(vm: &QemuVm) -> Result<MigrationSettings> {
    let answer = vm.execute("query-migrate-capabilities", json!({}))?;
    let named = answer
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| Some((one["capability"].as_str()?.to_owned(), one["state"].as_bool()?)));
    Ok(MigrationSettings { capabilities: named.collect(), ..MigrationSettings::default() })
}

/// For a file, whatever was asked for of migrations before.
fn settings(features: &QemuFeatures, before: &MigrationSettings) -> MigrationSettings {
    let mut settings = before.clone();
    settings.capabilities.values_mut().for_each(|state| *state = false);
    if features.has("mapped-ram") {
        settings.capabilities.insert("mapped-ram".into(), true);
    }
    // The disk's speed, not the default 128 MiB/s.
    settings.parameters.insert("max-bandwidth".into(), UNLIMITED_BANDWIDTH.into());
    settings
}

fn address(features: &QemuFeatures, file: &Path, direction: Direction) -> Result<String> {
    let text = file.to_str().filter(|text| !text.contains(['\'', ','])).ok_or_else(|| {
        HypervisorError::Unsupported {
            what: format!("a VM's state in {}", file.display()),
            because: "QEMU's address syntax cannot carry this path: choose one without commas and quotes \
                      (of templates by DUNLIN_CACHE)"
                .into(),
        }
    })?;
    Ok(match (features.has("mapped-ram"), direction) {
        (true, _) => format!("file:{text}"),
        (false, Direction::Save) => format!("exec:cat > '{text}'"),
        // A pipe out of which nothing comes at all is waited for without end (7.2); what follows a state is not read.
        (false, Direction::Restore) => format!("exec:cat '{text}'; echo"),
    })
}
