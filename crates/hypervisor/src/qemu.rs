//! The QEMU driver: own QMP client, launch, primitives, templates.

mod accelerator;
mod blockdev;
mod checkpoints;
mod compare;
mod disk_features;
mod events;
mod export;
mod features;
mod history;
mod hypervisor;
mod images;
mod launch;
mod mechanisms;
mod mirror;
mod primitives;
mod progress;
mod qmp;
mod rehearsal;
mod sent;
mod settings;
mod shut_down;
mod state_file;
mod template;
mod transport;
mod tuning;
mod two_steps;
mod vm;
mod words;

pub use features::QemuFeatures;
pub use hypervisor::Qemu;
pub use launch::QemuBinary;
pub use qmp::{EventHandler, Qmp, QmpError, QmpEvent, Transcript};
