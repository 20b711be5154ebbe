//! What a guest boots from: a kernel, an initramfs with the agent as its init, and the kernel's command line.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use dunlin_agent_proto::ADDRESS_ARGUMENT;

use crate::cache::Workshop;
use crate::cpio::Cpio;
use crate::kernel::Kernel;
use crate::{GuestError, Result, modules};

/// The agent: a static program for x86-64 Linux.
pub const AGENT: &[u8] = include_bytes!(env!("DUNLIN_AGENT"));

/// For a quick boot and a quiet guest: no waits for hardware and entropy a VM does not have, no self-tests, no
/// mitigations (they cost under emulation and guard nothing here), no IPv6 (it would talk by itself). A guest that
/// panics ends.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet oops=panic panic=-1 no_timer_check tsc=reliable random.trust_cpu=on \
     net.ifnames=0 ipv6.disable=1 mitigations=off nokaslr cryptomgr.notests";

/// Something a VM can boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initramfs's file.
    pub initramfs: PathBuf,
    /// The kernel's release, or what is known of it.
    pub release: String,
    /// BLAKE3 of both, in hexadecimal: another kernel or agent gives another.
    pub digest: String,
}

/// Builds the image of `kernel`, or finds it built, in `cache_dir`.
///
/// # Errors
/// Where the kernel's files cannot be read, lack a module, or the cache cannot be written.
pub fn build_image(kernel: &Kernel, cache_dir: &Path) -> Result<Image> {
    let initramfs = build_initramfs(kernel)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&fs::read(&kernel.image).map_err(GuestError::io("read", &kernel.image))?);
    hasher.update(&initramfs);
    let digest = hasher.finalize().to_hex().to_string();
    let images = cache_dir.join("images");
    let path = images.join(format!("{digest}.cpio"));
    if !path.exists() {
        let workshop = Workshop::open(&images)?;
        let half = workshop.path().join("initramfs");
        fs::write(&half, &initramfs).map_err(GuestError::io("write", &half))?;
        fs::rename(&half, &path).map_err(GuestError::io("create", &path))?;
    }
    Ok(Image { kernel: kernel.image.clone(), initramfs: path, release: kernel.release.clone(), digest })
}

/// The initramfs for `kernel`: the agent, and the modules it has to load. The same kernel and agent give the same bytes.
///
/// # Errors
/// Where the kernel's modules cannot be read or one is missing.
pub fn build_initramfs(kernel: &Kernel) -> Result<Vec<u8>> {
    let modules = kernel.modules.as_deref().map(modules::collect).transpose()?.unwrap_or_default();
    let mut cpio = Cpio::default();
    for directory in ["dev", "proc", "sys", "modules"] {
        cpio.directory(directory);
    }
    cpio.character_device("dev/console", 5, 1);
    cpio.program("init", AGENT);
    let mut order = String::new();
    for module in &modules {
        let file = format!("{}.ko", module.name);
        cpio.file(&format!("modules/{file}"), &module.content);
        order.push_str(&file);
        order.push('\n');
    }
    cpio.file("modules/order", order.as_bytes());
    Ok(cpio.finish())
}

/// The kernel's command line for a guest with this address and prefix (or none yet), and `more` words behind it.
#[must_use]
pub fn kernel_args(address: Option<(Ipv4Addr, u8)>, more: &str) -> String {
    let mut line = KERNEL_ARGUMENTS.to_owned();
    if let Some((address, prefix)) = address {
        line.push_str(&format!(" {ADDRESS_ARGUMENT}={address}/{prefix}"));
    }
    if !more.trim().is_empty() {
        line.push(' ');
        line.push_str(more.trim());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carried_agent_asks_for_no_dynamic_loader() {
        // ELF: the program headers begin where byte 32 says, are 56 bytes long, and as many as byte 56 says.
        const INTERPRETER: u32 = 3;
        assert!(AGENT.starts_with(b"\x7fELF"));
        let start = u64::from_le_bytes(AGENT[32..40].try_into().unwrap()) as usize;
        let count = usize::from(u16::from_le_bytes(AGENT[56..58].try_into().unwrap()));
        let headers = AGENT[start..].chunks_exact(56).take(count);
        let kinds: Vec<u32> =
            headers.map(|header| u32::from_le_bytes(header[..4].try_into().unwrap())).collect();
        assert!(kinds.len() > 2 && !kinds.contains(&INTERPRETER), "{kinds:?}");
    }

    #[test]
    fn an_image_of_a_kernel_without_modules_is_the_agent_alone_and_built_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("vmlinuz");
        fs::write(&file, "a kernel").unwrap();
        let kernel = Kernel::own(file.clone(), None);
        let image = build_image(&kernel, dir.path()).unwrap();
        let written = fs::read(&image.initramfs).unwrap();
        assert!(written.len() > AGENT.len());
        assert_eq!(build_image(&kernel, dir.path()).unwrap(), image);
        fs::write(&file, "another kernel").unwrap();
        assert_ne!(build_image(&kernel, dir.path()).unwrap().digest, image.digest);
        let left: Vec<_> = fs::read_dir(dir.path().join("images")).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn the_command_line_carries_address_and_more() {
        let line = kernel_args(Some((Ipv4Addr::new(10, 77, 0, 10), 24)), " debug ");
        assert!(line.ends_with(" dunlin.address=10.77.0.10/24 debug"), "{line}");
        assert!(!kernel_args(None, "").contains("dunlin."));
        assert!(!line.contains("  "), "{line}");
    }
}
