//! The agent as an ordinary program, in a guest that is not Dunlin's.

use std::fs;

use crate::arguments::Settings;
use crate::console::{Troubles, say};
use crate::ending::Ending;
use crate::folder::Folder;
use crate::port::Port;
use crate::role::Role;
use crate::service::Service;

/// Serves until a signal asks it to end. Nothing of it is left then.
pub(crate) fn run(settings: &Settings) -> Result<(), String> {
    let Settings { channel, parent } = settings;
    let ending = Ending::watch()?;
    let mut troubles = Troubles::default();
    troubles.note(offer_itself_first());
    let folder = Folder::make(parent)?;
    let Some(port) = Port::wait_as_program(channel, &ending)? else { return Ok(()) };
    let version = env!("CARGO_PKG_VERSION");
    say(&format!(
        "dunlin-agent {version}: answers on the channel {channel}; files go to {}",
        folder.path().display()
    ));
    Service::new(port, troubles, Role::Program(folder), Some(ending))?.serve()?;
    say("dunlin-agent: ended as asked");
    Ok(())
}

/// Where memory runs out, a workload's is to go, not that of the guest's own programs.
fn offer_itself_first() -> Result<(), String> {
    let path = "/proc/self/oom_score_adj";
    fs::write(path, "1000").map_err(|error| format!("set {path}: {error}"))
}
