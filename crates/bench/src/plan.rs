//! What a case needs, found out before anything of it boots.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_guest::{
    Image, Kernel, READY_LINE, build_image, find_kernel, find_mkfs, find_qemu_img, kernel_args,
};
use dunlin_hypervisor::{Driver, Hypervisor, HypervisorError, OpenOrder, Registry, Side, TrialBoot};
use dunlin_record::{Case, ExistingVm, ImageFormat};
use dunlin_testbed::{Host, TestbedError};

use crate::existing::{FoundVm, Observable, check_room};
use crate::trial::fitting_image;
use crate::world::World;
use crate::{BenchError, Result, VmObstacle};

/// What the trials of a case run with.
#[derive(Clone)]
pub(crate) struct Plan {
    /// What its guests boot; absent where the VMs exist already.
    pub(crate) image: Option<Image>,
    pub(crate) source: Arc<dyn Hypervisor>,
    pub(crate) destination: Arc<dyn Hypervisor>,
    /// The VMs that exist already; empty where they are to be made.
    pub(crate) existing: Vec<ExistingVm>,
    /// What can be observed of each of them.
    pub(crate) observable: Vec<Observable>,
}

/// Makes plans, and builds each guest's image only once.
pub(crate) struct Planner<'a> {
    registry: &'a Registry,
    existing: &'a [ExistingVm],
    /// What speaks against moving VMs that exist, of all cases planned so far; each once.
    obstacles: Vec<VmObstacle>,
    /// By kernel and modules folder.
    images: HashMap<(Option<PathBuf>, Option<PathBuf>), Image>,
}

impl<'a> Planner<'a> {
    /// A planner for VMs that are to be made, or, where some are named, for those.
    pub(crate) fn new(registry: &'a Registry, existing: &'a [ExistingVm]) -> Self {
        Self { registry, existing, obstacles: Vec::new(), images: HashMap::new() }
    }

    /// What speaks against moving VMs that exist, of all cases planned so far.
    pub(crate) fn take_obstacles(&mut self) -> Vec<VmObstacle> {
        std::mem::take(&mut self.obstacles)
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
            world.check_storage(case)?;
        } else if case.strategy.standstill().is_some() {
            return Err(TestbedError::Unsupported {
                what: format!("the strategy {}", case.strategy.name()),
                because: "it is only there for guests that dunlin makes, not for VMs that exist".into(),
            }
            .into());
        }
        let [source, destination] = self.open(case, world)?;
        for side in [&source, &destination] {
            side.check(case)?;
        }
        if let Some(disk) = &case.vm.disk {
            match &disk.image {
                None => drop(find_mkfs()?),
                Some(image) => drop(fitting_image(image, disk.size_mib, world.cache())?),
            }
            if disk.format == ImageFormat::Qcow2 {
                find_qemu_img()?;
            }
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
        let observable = self.look_at_existing(case, &*source, &*destination, world)?;
        Ok(Plan { image, source, destination, existing: self.existing.to_vec(), observable })
    }

    /// Finds the VMs that exist, and takes note of what speaks against moving them. Nothing is changed of them.
    fn look_at_existing(
        &mut self,
        case: &Case,
        source: &dyn Hypervisor,
        destination: &dyn Hypervisor,
        world: &World,
    ) -> Result<Vec<Observable>> {
        let mut all = Vec::new();
        for asked in self.existing {
            let (events, _) = std::sync::mpsc::channel();
            let found = FoundVm::look_for([source, destination], asked, world.testbed()?, events)?;
            let observable = found.observable(&asked.name);
            if case.workload.is_some() && !observable.has_agent {
                let because =
                    if observable.paused { "it is paused" } else { "no agent of ours can be reached in it" };
                return Err(TestbedError::Unsupported {
                    what: format!("a workload in {}", asked.name),
                    because: because.into(),
                }
                .into());
            }
            check_room(case, &asked.name, found.vm.held().ok().and_then(|held| held.configured_bytes))?;
            for obstacle in source.obstacles(&asked.name, destination, case)? {
                let obstacle = VmObstacle { vm: asked.name.clone(), obstacle };
                if !self.obstacles.contains(&obstacle) {
                    self.obstacles.push(obstacle);
                }
            }
            all.push(observable);
        }
        Ok(all)
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
        world.check_driver(driver)?;
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
    driver.open(&OpenOrder { host, case, side, cache }).map_err(|error| match error {
        source @ (HypervisorError::Monitor { .. } | HypervisorError::Timeout { .. }) => {
            BenchError::NoAnswer {
                product: driver.name(),
                host: host.id().to_string(),
                source: Box::new(source),
            }
        }
        other => other.into(),
    })
}

/// What boots to see whether it does.
pub(crate) fn trial_boot<'a>(image: &'a Image, kernel_args: &'a str) -> TrialBoot<'a> {
    TrialBoot { kernel: &image.kernel, initrd: &image.initramfs, kernel_args, marker: READY_LINE }
}
