//! The drivers there are, and what a scenario may say to each.

use std::path::Path;
use std::sync::Arc;

use dunlin_record::{Case, DriverSettings, PreCopyLimits};
use dunlin_testbed::Host;
use serde_json::{Map, Value};

use crate::{Hypervisor, Result, Side, libvirt, qemu};

/// A driver: what it takes from a scenario, and how it opens its product on a host.
pub trait Driver: Send + Sync {
    /// Its name, which is that of its table in a scenario.
    fn name(&self) -> &'static str;

    /// The keys of that table.
    fn keys(&self) -> &'static [SettingKey];

    /// A scenario's settings with every default filled in.
    ///
    /// # Errors
    /// Where one cannot be meant.
    fn resolve(&self, settings: &Map<String, Value>) -> Result<Map<String, Value>, WrongSetting>;

    /// The machine type that a VM gets where the scenario names none; empty where the product has no such thing.
    fn default_machine(&self) -> &'static str {
        ""
    }

    /// Whether the hosts of a lab can have the product: they share this machine's programs, and have none of its daemons.
    fn fits_labs(&self) -> bool {
        true
    }

    /// What brings the product to a machine, for people.
    fn install_hint(&self) -> &'static str;

    /// When pre-copy ends by itself under these settings, as far as that is known.
    fn limits(&self, settings: &Map<String, Value>) -> PreCopyLimits;

    /// What of these settings decides how long memory is copied, for estimates.
    fn copy_facts(&self, settings: &Map<String, Value>) -> CopyFacts;

    /// Opens the product on a host, as a case wants it on this side of its migration.
    ///
    /// # Errors
    /// Where it is not there or does not answer.
    fn open(&self, order: &OpenOrder<'_>) -> Result<Arc<dyn Hypervisor>>;
}

/// What to open.
pub struct OpenOrder<'a> {
    /// On which host.
    pub host: &'a Arc<dyn Host>,
    /// For which case.
    pub case: &'a Case,
    /// As which side of its migration.
    pub side: Side,
    /// A local folder in which answers are kept that are long in coming.
    pub cache: &'a Path,
}

/// A key of a driver's table in a scenario.
#[derive(Debug, Clone, Copy)]
pub struct SettingKey {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub takes: SettingKind,
}

/// What a key of a driver takes.
#[derive(Debug, Clone, Copy)]
pub enum SettingKind {
    /// Text that is not empty.
    Text,
    /// One of some words.
    Word(&'static [&'static str]),
    /// Yes or no.
    Flag,
    /// A number from 0 on.
    Number,
    /// A list of texts.
    Texts,
    /// A table with any keys, each yes or no.
    Flags,
    /// A table with any keys, each with anything that has no parts.
    Scalars,
}

/// A setting that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSetting {
    /// Its path below the driver's table, as in `parameters.speed`; empty for the table itself.
    pub path: String,
    /// What was expected, or why it is not taken.
    pub message: String,
}

/// What of a driver's settings decides how long memory is copied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CopyFacts {
    /// A cap on pre-copy; infinite = none.
    pub bandwidth_mib_s: f64,
    /// A cap on post-copy; infinite = none.
    pub post_copy_bandwidth_mib_s: f64,
    /// What is left must fit into this.
    pub downtime_limit_s: f64,
    /// A vCPU may dirty no more.
    pub dirty_limit_mib_s: Option<f64>,
    /// How the vCPUs are slowed where it does not converge.
    pub throttle: Option<ThrottleFacts>,
    /// What is compressed in a second, in MiB of what goes in, if it is.
    pub compressed_mib_s: Option<f64>,
}

/// How vCPUs are slowed step by step, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThrottleFacts {
    /// At first.
    pub initial: f64,
    /// More at each step.
    pub increment: f64,
    /// At most.
    pub max: f64,
}

/// The drivers that a program knows.
#[derive(Clone, Default)]
pub struct Registry {
    drivers: Vec<Arc<dyn Driver>>,
}

impl Registry {
    /// Those that Dunlin brings, the usual one first.
    #[must_use]
    pub fn builtin() -> Self {
        Self::default().with(qemu::Qemu::default()).with(libvirt::Libvirt::default())
    }

    /// These and one more.
    #[must_use]
    pub fn with(mut self, driver: impl Driver + 'static) -> Self {
        self.drivers.push(Arc::new(driver));
        self
    }

    /// The same with another usual one: what names no driver is for that. As it is where there is none of this name.
    #[must_use]
    pub fn preferring(mut self, name: &str) -> Self {
        self.drivers.sort_by_key(|driver| driver.name() != name);
        self
    }

    /// The driver of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&dyn Driver> {
        self.all().find(|driver| driver.name() == name)
    }

    /// All of them, the usual one first.
    pub fn all(&self) -> impl Iterator<Item = &dyn Driver> {
        self.drivers.iter().map(|driver| &**driver)
    }

    /// The driver of a case.
    ///
    /// # Errors
    /// Where this program does not know it.
    pub fn of(&self, settings: &DriverSettings) -> Result<&dyn Driver> {
        self.get(&settings.driver).ok_or_else(|| crate::HypervisorError::Unsupported {
            what: format!("the driver {}", settings.driver),
            because: format!("there are only: {}", self.names().join(", ")),
        })
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.all().map(Driver::name).collect()
    }
}
