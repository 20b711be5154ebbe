//! What the hypervisors on this machine can do, found out by running them.

use std::sync::Arc;

use dunlin_guest::{build_image, default_cache_dir, find_kernel, kernel_args};
use dunlin_hypervisor::{Driver, HypervisorError, Obstacle, OpenOrder, Registry, Side};
use dunlin_record::{Case, DriverSettings, HypervisorIdentity, Links};
use dunlin_testbed::{Host, Inside, Testbed};

use crate::existing::FoundVm;
use crate::plan::trial_boot;
use crate::world::{Ground, World};
use crate::{BenchError, Existing, Result, Scenario};

/// What the hypervisors on this machine can do.
#[derive(Debug)]
pub struct Examination {
    /// Each driver's product, or why it is not there.
    pub products: Vec<Product>,
    /// The release of the guest kernel in the cache; absent if none was fetched.
    pub guest_kernel: Option<String>,
}

/// A driver's product on this machine.
#[derive(Debug)]
pub struct Product {
    /// The driver's name.
    pub driver: &'static str,
    /// What it said of itself, or why it is not there.
    pub found: Result<Found, HypervisorError>,
    /// What brings it here, for people.
    pub install_hint: &'static str,
    /// Whether it was asked for, or is the usual one: another one can be done without.
    pub is_wanted: bool,
}

/// What a product said of itself.
#[derive(Debug)]
pub struct Found {
    /// What it is; its accelerator is that with which a guest was tried.
    pub identity: HypervisorIdentity,
    /// What else it says, by name.
    pub facts: Vec<(&'static str, String)>,
    /// How its accelerator is known; absent where no guest could be tried.
    pub accelerator_because: Option<String>,
}

/// Asks each hypervisor, and boots a guest to see what runs it.
///
/// # Errors
/// Where no lab can be made.
pub fn examine(inside: Inside) -> Result<Examination> {
    let cache = default_cache_dir()?;
    let mut world = World::new(Ground::Lab(inside), cache.clone());
    world.bring_up_plain(&Links::default())?;
    let [host, _] = world.hosts()?;
    let kernel = find_kernel(&cache)?;
    let image = kernel.as_ref().map(|kernel| build_image(kernel, &cache)).transpose()?;
    let args = kernel_args(None, "");
    let mut products = Vec::new();
    for driver in Registry::builtin().all().filter(|driver| driver.fits_labs()) {
        let case = plain_case(driver.name())?;
        let order = OpenOrder { host: &host, case: &case, side: Side::Source, cache: &cache };
        let found = driver.open(&order).and_then(|product| {
            let tried = match (product.maker(), &image) {
                (Some(maker), Some(image)) => Some(maker.try_out(&trial_boot(image, &args), &cache)?),
                _ => None,
            };
            let (identity, facts) = (product.identity(), product.facts());
            Ok(Found { identity, facts, accelerator_because: tried })
        });
        products.push(Product {
            driver: driver.name(),
            found,
            install_hint: driver.install_hint(),
            is_wanted: true,
        });
    }
    Ok(Examination { products, guest_kernel: kernel.map(|kernel| kernel.release) })
}

/// Asks the hypervisors on a host what they are: those of one driver, or of all. Nothing boots.
///
/// # Errors
/// Where there is no such driver, or no place for what is kept.
pub fn examine_host(host: &Arc<dyn Host>, driver: Option<&str>) -> Result<Vec<Product>> {
    let cache = default_cache_dir()?;
    let registry = Registry::builtin();
    let usual = registry.all().next().map(Driver::name);
    let wanted = |name| driver.is_some() || usual == Some(name);
    let drivers = registry.all().filter(|known| driver.is_none_or(|asked| asked == known.name()));
    drivers
        .map(|driver| {
            let case = plain_case(driver.name())?;
            let order = OpenOrder { host, case: &case, side: Side::Source, cache: &cache };
            let found = driver.open(&order).map(|product| Found {
                identity: product.identity(),
                facts: product.facts(),
                accelerator_because: None,
            });
            let name = driver.name();
            let is_wanted = wanted(name);
            Ok(Product { driver: name, found, install_hint: driver.install_hint(), is_wanted })
        })
        .collect()
}

/// A VM that exists, as it would be moved.
#[derive(Debug)]
pub struct ExaminedVm {
    /// Its name.
    pub name: String,
    /// Where it is reached and who says so, if that is known, or why it cannot be moved at all.
    pub found: Result<String>,
    /// What speaks against moving it; each once.
    pub obstacles: Vec<Obstacle>,
}

/// Looks at VMs that exist on a testbed, as cases would move them. Nothing is changed of them.
///
/// # Errors
/// Where the testbed has fewer than two hosts, or there is no place for what is kept.
pub fn examine_vms(
    testbed: &dyn Testbed,
    registry: &Registry,
    cases: &[Case],
    existing: &[Existing],
) -> Result<Vec<ExaminedVm>> {
    let cache = default_cache_dir()?;
    let ends = crate::world::ends(testbed)?;
    let examine = |vm: &Existing| {
        let mut obstacles: Vec<Obstacle> = Vec::new();
        let mut look = |case: &Case| {
            let driver = registry.of(&case.hypervisor)?;
            let open = |host, side| driver.open(&OpenOrder { host, case, side, cache: &cache });
            let (source, destination) = (open(&ends[0], Side::Source)?, open(&ends[1], Side::Destination)?);
            source.check(case)?;
            destination.check(case)?;
            let (events, _) = std::sync::mpsc::channel();
            let found = FoundVm::look_for([&*source, &*destination], vm, testbed, events)?;
            for obstacle in source.obstacles(&vm.name, &*destination, case)? {
                if !obstacles.contains(&obstacle) {
                    obstacles.push(obstacle);
                }
            }
            Ok(found.in_words())
        };
        // A case that cannot be had here is left out, as in a run; where there is no other, that is what is told.
        let (mut found, mut lacking) = (None, None);
        for case in cases {
            match look(case) {
                Err(error) if BenchError::is_unsupported(&error) => drop(lacking.get_or_insert(error)),
                looked => {
                    found = Some(looked);
                    if found.as_ref().is_some_and(Result::is_err) {
                        break;
                    }
                }
            }
        }
        let found = found.unwrap_or_else(|| Err(lacking.unwrap_or(BenchError::Cancelled)));
        ExaminedVm { name: vm.name.clone(), found, obstacles }
    };
    Ok(existing.iter().map(examine).collect())
}

/// A case with nothing but defaults, for a driver.
///
/// # Errors
/// Where the defaults cannot be read.
pub fn plain_case(driver: &str) -> Result<Case> {
    let plain = "name = \"plain\"\n[[case]]\nname = \"plain\"\n";
    let case = Scenario::parse(plain, "plain")?.cases.into_iter().next().ok_or(BenchError::Cancelled)?;
    Ok(Case { hypervisor: DriverSettings::of(driver), ..case })
}
