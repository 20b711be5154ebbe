//! What was asked: one cell of a scenario's matrix, fully resolved.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DriverSettings, ImageFormat, Probes, StorageSettings, Switch, Transfer, Transport, Workload};

/// One cell of a scenario's matrix, every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Case {
    /// The case's name in the scenario.
    pub name: String,
    /// The dials that a list in the scenario multiplied, by name, with the value this cell has.
    #[serde(default)]
    pub dials: BTreeMap<String, serde_json::Value>,
    /// The virtual machine.
    pub vm: VmSettings,
    /// Who runs and moves it: a driver, by its name, with its settings for both sides.
    #[serde(flatten)]
    pub hypervisor: DriverSettings,
    /// When pre-copy ends by itself, as far as the driver knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<PreCopyLimits>,
    /// The testbed's networks.
    pub link: Links,
    /// Where the VM's disks lie, and how those that move are copied.
    #[serde(default, skip_serializing_if = "StorageSettings::is_default")]
    pub storage: StorageSettings,
    /// The switch of the migration network.
    #[serde(default)]
    pub switch: Switch,
    /// The outside observers.
    pub probes: Probes,
    /// What the guest does during the migration; nothing if empty.
    pub workload: Option<Workload>,
    /// How the VM is moved.
    pub strategy: Strategy,
    /// What of the networks' packets is kept.
    #[serde(default, skip_serializing_if = "Captures::is_none")]
    pub capture: Captures,
    /// How the migration's bytes travel.
    #[serde(default)]
    pub transport: Transport,
    /// How often and how long.
    pub trials: Trials,
}

impl Case {
    /// The case's name followed by its dials' values, as in `dirty 16`: unique within a scenario.
    #[must_use]
    pub fn title(&self) -> String {
        title(&self.name, &self.dials)
    }
}

/// A name followed by its dials' values.
pub(crate) fn title(name: &str, dials: &BTreeMap<String, serde_json::Value>) -> String {
    let mut title = name.to_owned();
    for value in dials.values() {
        title.push(' ');
        match value {
            serde_json::Value::String(text) => title.push_str(text),
            other => title.push_str(&other.to_string()),
        }
    }
    title
}

/// The virtual machine to be moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VmSettings {
    /// Configured memory in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// How many such VMs are moved, one after the other.
    pub count: u32,
    /// Machine type, by the hypervisor's own name.
    pub machine: String,
    /// CPU model, by the hypervisor's own name; its own default if absent.
    pub cpu: Option<String>,
    /// A kernel image other than the fetched one.
    pub kernel: Option<PathBuf>,
    /// The modules folder (`lib/modules/VERSION`) that goes with `kernel`.
    pub modules: Option<PathBuf>,
    /// More words for the kernel's command line.
    pub kernel_args: String,
    /// Boot each time instead of restoring a template.
    pub fresh: bool,
    /// Whether its owner has paused it before the move: then it arrives paused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// A disk with a file system, new for each trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// A disk that is the guest's swap, in MiB, new for each trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_mib: Option<u32>,
    /// Whether both hosts see the same disks. If not, each has its own, and the VM's disks move with it.
    pub shared_storage: bool,
}

impl VmSettings {
    /// Whether the VM has disks that must be copied to the other host.
    #[must_use]
    pub fn moves_disks(&self) -> bool {
        !self.shared_storage && (self.disk.is_some() || self.swap_mib.is_some())
    }
}

/// A disk of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// Its virtual size in MiB.
    pub size_mib: u32,
    /// How its image is laid out.
    #[serde(skip_serializing_if = "ImageFormat::is_raw")]
    pub format: ImageFormat,
    /// How much of its file system a file fills from the begin, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_mib: Option<u32>,
    /// What share of that file compresses away.
    #[serde(skip_serializing_if = "is_zero")]
    pub compressibility_percent: u32,
    /// A raw or qcow2 image whose content the disk begins with, instead of a file system of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<PathBuf>,
    /// Whether what it begins with lies in a backing image, which both hosts have, and the VM's own image lies over it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub backing: bool,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl Default for VmSettings {
    fn default() -> Self {
        Self {
            memory_mib: 512,
            vcpus: 1,
            count: 1,
            machine: String::new(),
            cpu: None,
            kernel: None,
            modules: None,
            kernel_args: String::new(),
            fresh: false,
            paused: false,
            disk: None,
            swap_mib: None,
            shared_storage: true,
        }
    }
}

/// When pre-copy ends by itself: what is left to send fits into the downtime limit at the rate of the migration.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PreCopyLimits {
    /// The downtime limit; absent where the driver does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downtime_ms: Option<f64>,
    /// A cap on the migration's rate besides the link's; absent = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_bytes_s: Option<f64>,
}

/// The testbed's networks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Links {
    /// Where migrations travel.
    pub migration: Link,
    /// Where the VM is reached.
    pub service: Link,
    /// Where hosts reach the server of shared storage, where there is one.
    #[serde(skip_serializing_if = "Link::is_default")]
    pub storage: Link,
}

/// One network's links between each host and the switch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// Rate in Mbit/s, each way; not limited if absent.
    pub rate_mbit: Option<f64>,
    /// Added delay of each link, one way, in milliseconds.
    pub delay_ms: f64,
}

impl Link {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which packets are captured: `capture/<trial>/*.pcapng` in the run folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Captures {
    /// Those of both hosts' interfaces to the migration network.
    pub migration: bool,
    /// Those of the VM's taps on both hosts, and of the bench's interface to the service network.
    pub service: bool,
    /// How many bytes of each packet are kept at most.
    pub snap_bytes: u32,
}

impl Captures {
    /// Whether nothing is captured.
    #[must_use]
    pub fn is_none(&self) -> bool {
        !self.migration && !self.service
    }
}

impl Default for Captures {
    fn default() -> Self {
        Self { migration: false, service: false, snap_bytes: 128 }
    }
}

/// How often a case is run, and the times around the migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trials {
    /// Trials of each case; not used with `until`.
    pub count: u32,
    /// Run trials until the medians are known this well, in half the width of their confidence intervals.
    pub until: Option<Percent>,
    /// With `until`: the least trials of each case …
    pub min: u32,
    /// … and the most.
    pub max: u32,
    /// Whether the scenario asked for this case twice, with probes and without: its dial `probing` says which it is.
    pub paired: bool,
    /// Limit of one migration in seconds; past it the trial is `not-converged`.
    pub limit_s: f64,
    /// How long the VM is observed before the migration, in seconds: it shows what gaps are usual. Half a second of
    /// warming up comes before it and does not count.
    pub baseline_s: f64,
    /// How long it is observed after it, in seconds.
    pub settle_s: f64,
}

impl Trials {
    /// The least and the most trials of the case.
    #[must_use]
    pub fn range(&self) -> RangeInclusive<u32> {
        if self.until.is_some() { self.min..=self.max } else { self.count..=self.count }
    }

    /// Asks for just so many trials, however precise.
    pub fn fix(&mut self, count: u32) {
        self.count = count;
        self.until = None;
    }
}

impl Default for Trials {
    fn default() -> Self {
        Self {
            count: 3,
            until: None,
            min: 6,
            max: 30,
            paired: false,
            limit_s: 60.0,
            baseline_s: 1.0,
            settle_s: 1.0,
        }
    }
}

/// A share in percent, above 0 and up to 100; written as in `"5%"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub struct Percent(f64);

impl Percent {
    /// The share; `None` where it is not above 0 and up to 100.
    #[must_use]
    pub fn new(percent: f64) -> Option<Self> {
        (percent > 0.0 && percent <= 100.0).then_some(Self(percent))
    }

    /// The share in percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl From<Percent> for String {
    fn from(percent: Percent) -> Self {
        percent.to_string()
    }
}

impl TryFrom<String> for Percent {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
        number.and_then(Self::new).ok_or("expected a share above 0 % and up to 100 %, as in \"5%\"")
    }
}

/// How the VM is moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Strategy {
    /// Copy while it runs, until the rest fits into the downtime limit.
    PreCopy,
    /// Ask for the switch to post-copy at once.
    PostCopy {
        /// Send requested pages on a channel of their own where the hypervisor can.
        #[serde(default = "yes")]
        preempt: bool,
    },
    /// Pre-copy first, then post-copy.
    Hybrid {
        /// Switch when this many passes over the memory have ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_passes: Option<u32>,
        /// Switch after this time, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_s: Option<f64>,
        /// Send requested pages on a channel of their own where the hypervisor can.
        #[serde(default = "yes")]
        preempt: bool,
    },
    /// Stop the VM, move (the rest of) its memory, resume it there.
    Suspend {
        /// Stop it when this many passes over the memory have ended; before the first if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_passes: Option<u32>,
    },
    /// Save the VM's state to a file, bring that to the other host, and restore it there: the VM stands still all the time.
    Offline(Transfer),
    /// Shut the guest down, bring its images to the other host, and boot it there.
    Cold(Transfer),
}

fn yes() -> bool {
    true
}

impl Strategy {
    /// The strategy's standard name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PreCopy => "pre-copy",
            Self::PostCopy { .. } => "post-copy",
            Self::Hybrid { .. } => "hybrid",
            Self::Suspend { .. } => "suspend",
            Self::Offline(_) => "offline",
            Self::Cold(_) => "cold",
        }
    }

    /// How files are brought to the other host, where the VM stands still meanwhile; absent where its memory moves from
    /// hypervisor to hypervisor.
    #[must_use]
    pub fn standstill(&self) -> Option<&Transfer> {
        match self {
            Self::Offline(transfer) | Self::Cold(transfer) => Some(transfer),
            Self::PreCopy | Self::PostCopy { .. } | Self::Hybrid { .. } | Self::Suspend { .. } => None,
        }
    }

    /// Whether post-copy may begin, and whether with preemption.
    #[must_use]
    pub fn post_copy(&self) -> Option<bool> {
        match self {
            Self::PostCopy { preempt } | Self::Hybrid { preempt, .. } => Some(*preempt),
            Self::PreCopy | Self::Suspend { .. } | Self::Offline(_) | Self::Cold(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_a_number_with_its_sign() {
        let percent = |text: &str| Percent::try_from(text.to_owned()).map(Percent::percent);
        assert_eq!(percent("5%"), Ok(5.0));
        assert_eq!(percent("2.5 %"), Ok(2.5));
        assert_eq!(String::from(Percent(2.5)), "2.5%");
        for wrong in ["5", "0%", "-1%", "101%", "nan%", "%", ""] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn trials_are_a_count_or_a_range() {
        let mut trials = Trials { until: Percent::new(5.0), ..Trials::default() };
        assert_eq!(trials.range(), 6..=30);
        trials.fix(2);
        assert_eq!(trials.range(), 2..=2);
    }

    #[test]
    fn a_title_names_the_dials() {
        let mut case: Case = serde_json::from_value(serde_json::json!({
            "name": "dirty", "vm": {}, "toy": {}, "link": {}, "probes": {}, "workload": null,
            "strategy": { "kind": "pre-copy" }, "trials": {}
        }))
        .unwrap();
        assert_eq!(case.title(), "dirty");
        case.dials.insert("working_set_mib".into(), 16.into());
        case.dials.insert("rate_mib_s".into(), "full".into());
        assert_eq!(case.title(), "dirty full 16");
    }
}
