//! What a case needs, found out before anything of it boots.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_guest::{Image, Kernel, READY_LINE, build_image, find_kernel, find_mkfs, kernel_args};
use dunlin_hypervisor::qemu::{QemuBinary, QemuFeatures, TrialBoot, detect_accelerator};
use dunlin_record::{Accelerator, Case};
use dunlin_testbed::Host;

use crate::world::World;
use crate::{BenchError, Result};

/// What the trials of a case run with.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) image: Image,
    pub(crate) accelerator: Accelerator,
    pub(crate) source: Side,
    pub(crate) destination: Side,
}

impl Plan {
    /// The same plan on the hosts of a lab that was made anew.
    pub(crate) fn on(&self, [source, destination]: [Arc<dyn Host>; 2]) -> Self {
        let mut plan = self.clone();
        plan.source.host = source;
        plan.destination.host = destination;
        plan
    }
}

/// A hypervisor on a host.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) binary: QemuBinary,
    pub(crate) features: QemuFeatures,
}

impl Side {
    /// What it is, as in `qemu 10.0.2`, with the packager's addition where there is one.
    pub(crate) fn hypervisor(&self) -> String {
        format!("qemu {} {}", self.features.version, self.features.package).trim_end().to_owned()
    }

    /// What runs vCPUs here, found out by booting a guest once, and how that is known.
    ///
    /// # Errors
    /// Where the guest cannot be started.
    pub(crate) fn detect_accelerator(
        &self,
        image: &Image,
        more_kernel_args: &str,
        cache: &Path,
    ) -> Result<(Accelerator, String)> {
        let args = kernel_args(None, more_kernel_args);
        let boot = TrialBoot {
            kernel: &image.kernel,
            initrd: &image.initramfs,
            kernel_args: &args,
            marker: READY_LINE,
        };
        let memo = cache.join("accelerator");
        Ok(detect_accelerator(&self.host, &self.binary, &self.features, boot, &memo)?)
    }
}

/// Makes plans, and asks each QEMU and each kernel only once.
#[derive(Default)]
pub(crate) struct Planner {
    features: HashMap<QemuBinary, QemuFeatures>,
    /// By kernel and modules folder.
    images: HashMap<(Option<PathBuf>, Option<PathBuf>), Image>,
}

impl Planner {
    /// The plan of a case on the lab that is up.
    ///
    /// # Errors
    /// Where the case asks for something that cannot be had.
    pub(crate) fn plan(&mut self, case: &Case, world: &World) -> Result<Plan> {
        world.check_switch(&case.switch)?;
        world.check_transport(case.transport.kind)?;
        let [source, destination] = world.hosts()?;
        let binary = QemuBinary { program: case.qemu.binary.clone(), firmware: case.qemu.firmware.clone() };
        let other = match &case.qemu.destination_binary {
            Some(program) => {
                QemuBinary { program: program.clone(), firmware: case.qemu.destination_firmware.clone() }
            }
            None => binary.clone(),
        };
        let source = self.side(source, binary)?;
        let destination = self.side(destination, other)?;
        for side in [&source, &destination] {
            side.features.check(&case.qemu, &case.strategy, &case.transport)?;
            if case.vm.moves_disks() {
                side.features.check_moving_disks(&case.qemu)?;
            }
        }
        if case.vm.disk.is_some() {
            find_mkfs()?;
        }
        let image = self.image(case, world.cache())?;
        let accelerator = match case.qemu.accelerator {
            Accelerator::Auto => source.detect_accelerator(&image, &case.vm.kernel_args, world.cache())?.0,
            asked => asked,
        };
        Ok(Plan { image, accelerator, source, destination })
    }

    fn side(&mut self, host: Arc<dyn Host>, binary: QemuBinary) -> Result<Side> {
        let features = match self.features.get(&binary) {
            Some(features) => features.clone(),
            None => QemuFeatures::ask(&host, &binary)?,
        };
        self.features.insert(binary.clone(), features.clone());
        Ok(Side { host, binary, features })
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
