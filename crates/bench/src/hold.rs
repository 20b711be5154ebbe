//! A long-lived lab: made from a scenario's first case, its VMs running, until it is ended.

use std::fs;
use std::path::Path;
use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_guest::default_cache_dir;
use dunlin_hypervisor::Registry;
use dunlin_record::Journal;
use dunlin_testbed::Inside;

use crate::plan::Planner;
use crate::trial::{Guest, TrialContext};
use crate::world::{Ground, World};
use crate::{BenchError, Observer, Result, Scenario};

/// A lab's VM, for whoever joins the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldVm {
    /// Its name.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// Its address on the service network; absent where it has none.
    pub address: Option<String>,
}

/// Makes the lab of a scenario's first case, starts its VMs and keeps both until `cancel`. Says what is there once it
/// is.
///
/// # Errors
/// Where the lab cannot be made, a VM does not come up, or one ends before it should.
pub fn hold(
    scenario: &Scenario,
    inside: Inside,
    cancel: &Cancel,
    observer: &mut dyn Observer,
    tell: &mut dyn FnMut(&[HeldVm]),
) -> Result<()> {
    let mut world = World::new(Ground::Lab(inside), default_cache_dir()?);
    let case = scenario.cases.first().ok_or(BenchError::Cancelled)?;
    observer.stage("making the lab");
    world.bring_up(case)?;
    observer.stage("asking the hypervisor what it can do");
    let registry = Registry::builtin();
    let plan = Planner::new(&registry, &[]).plan(case, &world)?;
    // In the lab's own /run, so that they go with it.
    let logs = Path::new("/run/dunlin/logs");
    fs::create_dir_all(logs)
        .map_err(|source| BenchError::Io { doing: format!("create {}", logs.display()), source })?;
    let context = TrialContext { case, plan: &plan, world: &world, logs, cancel };
    let mut journal = Journal::discarding();
    observer.stage("starting the VMs");
    let mut guests = Vec::new();
    for number in 0..case.vm.count {
        guests.push(Guest::start(context, number, &mut journal)?);
    }
    let held: Vec<HeldVm> = guests
        .iter()
        .map(|guest| HeldVm {
            name: guest.id.to_string(),
            host: guest.source.host().to_string(),
            address: guest.address.map(|address| address.to_string()),
        })
        .collect();
    tell(&held);
    while !cancel.is_cancelled() {
        journal.next(Duration::from_millis(200))?;
        for guest in &guests {
            guest.source.check_guest()?;
            guest.source.check_alive()?;
        }
    }
    Ok(())
}
