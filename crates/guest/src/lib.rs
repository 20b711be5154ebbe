//! The guest: its kernel, the image it boots from, and the client of the agent inside it.

mod cache;
mod client;
mod command;
mod cpio;
mod disk;
mod error;
mod image;
mod kernel;
mod modules;
mod qemu_img;
mod stream;
mod translate;
mod work;

pub use cache::{Cached, cache_contents, default_cache_dir, prune_cache};
pub use client::AgentClient;
pub use disk::{disk_room_mib, find_mkfs, format_disk, format_filled_disk, format_swap};
pub use dunlin_agent_proto::{
    AgentKind, Ask, DISK_SERIAL, GuestClocks, GuestCpu, GuestDisk, GuestMemory, LinkError, Neighbour,
    Network, PORT_NAME, READY_LINE, Ready, Reply, SWAP_SERIAL, UDP_ECHO_PORT,
};
pub use error::{GuestError, Result};
pub use image::{AGENT, Image, build_image, build_initramfs, kernel_args};
pub use kernel::{Kernel, fetch_kernel, find_kernel};
pub use qemu_img::{ImageInfo, convert_image, find_qemu_img, image_info, make_qcow2};
pub use stream::Stream;
