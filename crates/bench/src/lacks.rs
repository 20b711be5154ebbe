//! What is said of the VMs of a run before its first trial: what their outcomes will lack, and where they are reached.

use crate::Result;
use crate::existing::Observable;
use crate::plan::Plan;
use crate::world::World;

/// What will be absent from the outcomes for want of something, said before anything starts.
pub(crate) fn lacks(plans: &[Option<Plan>], world: &World) -> Result<Vec<String>> {
    let mut lacks = Vec::new();
    if world.helpers()?.iter().any(Option::is_none) {
        lacks
            .push("not on both hosts can a helper run: wire bytes, CPU time and who answered will be absent");
    }
    let found = found(plans);
    let made = plans.iter().flatten().any(|plan| plan.existing.is_empty());
    if (made && world.hosts()?.iter().any(|host| host.taps().is_none())) || found.iter().any(|vm| !vm.has_tap)
    {
        lacks.push("no taps: who answered a probe will be absent");
    }
    let no_guest = |plan: &Plan| plan.existing.is_empty() && plan.image.is_none();
    if plans.iter().flatten().any(no_guest) || found.iter().any(|vm| !vm.has_agent) {
        lacks.push("no agent in the VM: its memory, CPU time and workload will be absent");
    }
    if (made && world.testbed()?.vm_address(0).is_none())
        || found.iter().any(|vm| vm.address.is_none() && !vm.paused)
    {
        lacks.push("the VM's address is not known: no probe's outage will be measured");
    }
    Ok(lacks.into_iter().map(str::to_owned).collect())
}

/// The VMs that were found, each once.
fn found(plans: &[Option<Plan>]) -> Vec<&Observable> {
    let mut all: Vec<&Observable> = Vec::new();
    for vm in plans.iter().flatten().flat_map(|plan| &plan.observable) {
        if !all.contains(&vm) {
            all.push(vm);
        }
    }
    all
}

/// Where VMs that were found are reached, and who says so.
pub(crate) fn addresses(plans: &[Option<Plan>]) -> Vec<String> {
    let said = |vm: &&Observable| match (&vm.address, vm.paused) {
        (_, true) => format!("{} is paused, and is moved as it is: nothing probes it", vm.name),
        (Some((address, told_by)), false) => {
            format!("{} is reached at {address} (told by {told_by})", vm.name)
        }
        (None, false) => {
            format!("{} is reached at no address that is known; name one by --vm-address", vm.name)
        }
    };
    found(plans).iter().map(said).collect()
}
