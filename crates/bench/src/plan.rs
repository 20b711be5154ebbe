//! What a case needs, found out before anything of it boots.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_guest::{Image, Kernel, READY_LINE, build_image, find_kernel, find_mkfs, kernel_args};
use dunlin_hypervisor::{Driver, Hypervisor, OpenOrder, Registry, Side, TrialBoot};
use dunlin_record::Case;
use dunlin_testbed::Host;

use crate::world::World;
use crate::{BenchError, Result};

/// What the trials of a case run with.
#[derive(Clone)]
pub(crate) struct Plan {
    /// What its guests boot; absent where the VMs exist already.
    pub(crate) image: Option<Image>,
    pub(crate) source: Arc<dyn Hypervisor>,
    pub(crate) destination: Arc<dyn Hypervisor>,
    /// The VMs that exist already, by their names; empty where they are to be made.
    pub(crate) existing: Vec<String>,
}

/// Makes plans, and builds each guest's image only once.
pub(crate) struct Planner<'a> {
    registry: &'a Registry,
    existing: &'a [String],
    /// By kernel and modules folder.
    images: HashMap<(Option<PathBuf>, Option<PathBuf>), Image>,
}

impl<'a> Planner<'a> {
    /// A planner for VMs that are to be made, or, where some are named, for those.
    pub(crate) fn new(registry: &'a Registry, existing: &'a [String]) -> Self {
        Self { registry, existing, images: HashMap::new() }
    }

    /// The plan of a case on the testbed that is up.
    ///
    /// # Errors
    /// Where the case asks for something that cannot be had.
    pub(crate) fn plan(&mut self, case: &Case, world: &World) -> Result<Plan> {
        world.check_switch(&case.switch)?;
        world.check_transport(case.transport.kind)?;
        if self.existing.is_empty() {
            world.check_vms(&case.vm)?;
        }
        let [source, destination] = self.open(case, world)?;
        for side in [&source, &destination] {
            side.check(case)?;
        }
        if case.vm.disk.is_some() {
            find_mkfs()?;
        }
        let mut image = None;
        if self.existing.is_empty()
            && let Some(maker) = source.maker()
            && maker.boots_images()
        {
            let built = self.image(case, world.cache())?;
            maker.try_out(&trial_boot(&built, &kernel_args(None, &case.vm.kernel_args)), world.cache())?;
            image = Some(built);
            source.rehearse(case, &*destination)?;
        }
        Ok(Plan { image, source, destination, existing: self.existing.to_vec() })
    }

    /// The same plan on the hosts of a lab that was made anew.
    pub(crate) fn again(&self, plan: &Plan, case: &Case, world: &World) -> Result<Plan> {
        let [source, destination] = self.open(case, world)?;
        if let (Some(image), Some(maker)) = (&plan.image, source.maker()) {
            maker.try_out(&trial_boot(image, &kernel_args(None, &case.vm.kernel_args)), world.cache())?;
        }
        Ok(Plan { source, destination, ..plan.clone() })
    }

    /// The hypervisors of a case's two sides.
    pub(crate) fn open(&self, case: &Case, world: &World) -> Result<[Arc<dyn Hypervisor>; 2]> {
        let driver = self.registry.of(&case.hypervisor)?;
        let [source, destination] = world.hosts()?;
        let open = |host, side| open(driver, host, case, side, world.cache());
        Ok([open(&source, Side::Source)?, open(&destination, Side::Destination)?])
    }

    fn image(&mut self, case: &Case, cache: &Path) -> Result<Image> {
        let key = (case.vm.kernel.clone(), case.vm.modules.clone());
        if let Some(image) = self.images.get(&key) {
            return Ok(image.clone());
        }
        let kernel = match &case.vm.kernel {
            Some(image) => Kernel::own(image.clone(), case.vm.modules.clone()),
            None => find_kernel(cache)?.ok_or_else(|| BenchError::NoKernel { cache: cache.to_owned() })?,
        };
        let image = build_image(&kernel, cache)?;
        self.images.insert(key, image.clone());
        Ok(image)
    }
}

fn open(
    driver: &dyn Driver,
    host: &Arc<dyn Host>,
    case: &Case,
    side: Side,
    cache: &Path,
) -> Result<Arc<dyn Hypervisor>> {
    Ok(driver.open(&OpenOrder { host, case, side, cache })?)
}

/// What boots to see whether it does.
pub(crate) fn trial_boot<'a>(image: &'a Image, kernel_args: &'a str) -> TrialBoot<'a> {
    TrialBoot { kernel: &image.kernel, initrd: &image.initramfs, kernel_args, marker: READY_LINE }
}
