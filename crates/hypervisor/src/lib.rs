//! The contracts of drivers, and one folder a driver, each with its own protocol client.
//!
//! A driver says what it can do and how a VM gets from one host to another; the sequences that make a strategy of that live
//! in `migrate`. No two drivers know each other. `docs/drivers.md` is their authors' guide.

mod accelerator;
mod certificates;
mod error;
mod hypervisor;
mod last_words;
pub mod libvirt;
mod mover;
mod primitives;
pub mod qemu;
mod registry;
mod settings;
mod stepwise;
mod vm;

pub use error::{HypervisorError, ImageRefused, Result};
pub use hypervisor::{
    BackingImage, Hypervisor, Journey, Maker, MoveOrder, Obstacle, TrialBoot, VmDisk, VmOrder, VmSpec,
};
pub use mover::{Act, DiskCompared, DiskCopies, MirrorProgress, MirrorStage, Mover, Progress, Side};
pub use primitives::{CopyOrder, Primitives, Tuning};
pub use registry::{
    CopyFacts, Driver, OpenOrder, Registry, SettingKey, SettingKind, ThrottleFacts, WrongSetting,
};
pub use stepwise::Stepwise;
pub use vm::{Condition, KnownAddress, Presence, RunState, ToldHeld, Vm};
