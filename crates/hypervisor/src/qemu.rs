//! The QEMU driver: own QMP client, launch, primitives, templates.

mod accelerator;
mod checkpoints;
mod events;
mod features;
mod launch;
mod mirror;
mod progress;
mod qmp;
mod template;
mod transport;
mod vm;
mod words;

pub use accelerator::{TrialBoot, detect_accelerator};
pub use checkpoints::parse_checkpoints;
pub use features::QemuFeatures;
pub use launch::{QemuBinary, QemuDisk, QemuVmSpec, Start};
pub use qmp::{EventHandler, Qmp, QmpError, QmpEvent, Transcript};
pub use template::{TemplateKey, restore_template, save_template};
pub use vm::{Birth, QemuVm};
