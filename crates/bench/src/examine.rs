//! What the hypervisor on this machine can do, found out by running it.

use dunlin_guest::{build_image, default_cache_dir, find_kernel};
use dunlin_hypervisor::HypervisorError;
use dunlin_hypervisor::qemu::{QemuBinary, QemuFeatures};
use dunlin_record::{Accelerator, HypervisorSettings, Links, TransportKind};
use dunlin_testbed::Inside;

use crate::Result;
use crate::plan::Side;
use crate::world::World;

/// What the hypervisor on this machine can do.
#[derive(Debug)]
pub struct Examination {
    /// QEMU's own answers, or why there are none.
    pub qemu: Result<QemuFeatures, HypervisorError>,
    /// The release of the guest kernel in the cache; absent if none was fetched.
    pub guest_kernel: Option<String>,
    /// What runs vCPUs here, and how that is known; absent without QEMU or kernel.
    pub accelerator: Option<(Accelerator, String)>,
}

/// Asks QEMU, and boots a guest to see what runs it.
///
/// # Errors
/// Where no lab can be made.
pub fn examine(inside: Inside) -> Result<Examination> {
    let cache = default_cache_dir()?;
    let mut world = World::new(inside, cache.clone());
    world.bring_up(&Links::default(), TransportKind::default())?;
    let [host, _] = world.hosts()?;
    let binary = QemuBinary { program: HypervisorSettings::default().binary, firmware: None };
    let qemu = QemuFeatures::ask(&host, &binary);
    let kernel = find_kernel(&cache)?;
    let mut accelerator = None;
    if let (Ok(features), Some(kernel)) = (&qemu, &kernel) {
        let image = build_image(kernel, &cache)?;
        let side = Side { host, binary, features: features.clone() };
        accelerator = Some(side.detect_accelerator(&image, "", &cache)?);
    }
    Ok(Examination { qemu, guest_kernel: kernel.map(|kernel| kernel.release), accelerator })
}
