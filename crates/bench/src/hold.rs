//! A long-lived lab: made from a scenario's first case, its VMs running, until it is ended.

use std::fs;
use std::path::Path;
use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_guest::default_cache_dir;
use dunlin_hypervisor::Vm;
use dunlin_record::Journal;
use dunlin_testbed::Inside;

use crate::plan::Planner;
use crate::trial::{Guest, Nest};
use crate::world::World;
use crate::{BenchError, Observer, Result, Scenario};

/// A lab's VM, for whoever joins the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldVm {
    /// Its name.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// Its address on the service network.
    pub address: String,
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
    let mut world = World::new(inside, default_cache_dir()?);
    let case = scenario.cases.first().ok_or(BenchError::Cancelled)?;
    observer.stage("making the lab");
    world.bring_up(&case.link, case.transport.kind)?;
    observer.stage("asking the hypervisor what it can do");
    let plan = Planner::default().plan(case, &world)?;
    // In the lab's own /run, so that they go with it.
    let logs = Path::new("/run/dunlin/logs");
    fs::create_dir_all(logs)
        .map_err(|source| BenchError::Io { doing: format!("create {}", logs.display()), source })?;
    let nest = Nest { case, plan: &plan, world: &world, logs, cancel };
    let mut journal = Journal::discarding();
    observer.stage("starting the VMs");
    let mut guests = Vec::new();
    for number in 0..case.vm.count {
        guests.push(Guest::start(nest, number, &mut journal)?);
    }
    let held: Vec<HeldVm> = guests
        .iter()
        .map(|guest| HeldVm {
            name: guest.id.to_string(),
            host: guest.source.host().to_string(),
            address: guest.address.to_string(),
        })
        .collect();
    tell(&held);
    while !cancel.is_cancelled() {
        journal.next(Duration::from_millis(200))?;
        for guest in &mut guests {
            guest.source.check_alive()?;
        }
    }
    Ok(())
}
