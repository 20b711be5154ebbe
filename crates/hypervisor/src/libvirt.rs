//! libvirt, through `virsh` on each host: VMs that exist already, and our own guests, moved by libvirt's own jobs.
//!
//! The files: `virsh` runs it and understands what it refuses, `events` its long-lived readers, `stats` its counters,
//! `domain` a VM's XML as it is, `guest_xml` that of one of ours; `hypervisor`, `maker`, `vm` and `mover` are the
//! contracts; `command` says `virsh migrate`'s words, `copies` moves disks before their memory, of which
//! `copy_state` reads what libvirt tells; `limits` sets back what libvirt keeps, `obstacles` what speaks against it, `peer`
//! and `disks` of that what the other daemon and the disks do.

mod command;
mod copies;
mod copy_state;
mod disks;
mod domain;
mod events;
mod features;
mod guest_xml;
mod hypervisor;
mod job;
mod limits;
mod maker;
mod mover;
mod obstacles;
mod peer;
mod same;
mod settings;
mod shell;
mod stats;
mod storage;
mod virsh;
mod vm;

pub use hypervisor::Libvirt;
