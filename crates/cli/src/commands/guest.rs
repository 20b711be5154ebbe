//! `dunlin guest fetch`: the kernel that guests boot.

use dunlin_guest::{build_image, default_cache_dir, fetch_kernel};

use super::guest_failure;
use crate::failure::Result;
use crate::terminal;

/// Fetch what guests boot from.
#[derive(Clone, Copy, clap::Subcommand)]
pub(crate) enum Action {
    /// Fetch the distribution's kernel for VMs into the cache (nothing is installed), and build the guest's image
    Fetch,
}

pub(crate) fn run(action: Action) -> Result {
    let Action::Fetch = action;
    let fetched = || {
        let cache = default_cache_dir()?;
        let kernel = fetch_kernel(&cache)?;
        let image = build_image(&kernel, &cache)?;
        Ok((kernel, image))
    };
    let (kernel, image) = fetched().map_err(|error| guest_failure(&error))?;
    terminal::print(&format!(
        "guest kernel {} in {}\nguest image in {}\n",
        kernel.release,
        kernel.image.display(),
        image.initramfs.display()
    ))
}
