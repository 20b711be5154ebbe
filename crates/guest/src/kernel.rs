//! The guest's kernel: a distribution's, fetched by the package manager and only unpacked, or one's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::Workshop;
use crate::command::run;
use crate::{GuestError, Result};

/// Debian's package that depends on the newest kernel for VMs (small: no drivers for real hardware).
const META_PACKAGE: &str = "linux-image-cloud-amd64";
const QUICK: Duration = Duration::from_secs(60);
/// 34 MB have to come through the network.
const DOWNLOAD: Duration = Duration::from_secs(600);
const OWN_KERNEL: &str = "give your own kernel and modules folder instead";
const NO_PACKAGE: &str =
    "run `apt-get update` on a Debian system (12 or later), or give your own kernel and modules folder";
const NO_NETWORK: &str =
    "check the network and run `apt-get update`, or give your own kernel and modules folder";

/// A kernel a guest can boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The bootable file (`vmlinuz`).
    pub image: PathBuf,
    /// The folder of its modules (`lib/modules/VERSION`); absent if all that is needed is built in.
    pub modules: Option<PathBuf>,
    /// Its release, as in `6.12.95+deb12-cloud-amd64`, or what is known of it.
    pub release: String,
}

impl Kernel {
    /// One's own kernel. Its release is the name of the modules' folder, or of the file.
    #[must_use]
    pub fn own(image: PathBuf, modules: Option<PathBuf>) -> Self {
        let named = modules.as_deref().unwrap_or(&image).file_name();
        let release = named.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { image, modules, release }
    }
}

/// The newest kernel fetched into the cache before; `None` if there is none.
///
/// # Errors
/// Where the cache cannot be read.
pub fn find_kernel(cache_dir: &Path) -> Result<Option<Kernel>> {
    let kernels = kernels_dir(cache_dir);
    if !kernels.exists() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&kernels).map_err(GuestError::io("read the folder", &kernels))? {
        let entry = entry.map_err(GuestError::io("read the folder", &kernels))?;
        found.extend(unpacked_kernel(&entry.path()));
    }
    found.sort_by_key(|kernel| version_numbers(&kernel.release));
    Ok(found.pop())
}

/// The kernel in the cache, or else Debian's newest, fetched into the cache. Installs nothing.
///
/// # Errors
/// Where there is no apt, no such package, or no network; the message says what to do.
pub fn fetch_kernel(cache_dir: &Path) -> Result<Kernel> {
    if let Some(kernel) = find_kernel(cache_dir)? {
        return Ok(kernel);
    }
    let kernels = kernels_dir(cache_dir);
    let workshop = Workshop::open(&kernels)?;
    let package = newest_package(workshop.path())?;
    // As root, apt would try in vain to write as its own user into a folder that is ours.
    let downloaded = run(
        "apt-get",
        &["-o", "APT::Sandbox::User=root", "download", &package],
        workshop.path(),
        DOWNLOAD,
        OWN_KERNEL,
    );
    downloaded.map_err(|error| GuestError::NoKernel { why: error.to_string(), advice: NO_NETWORK })?;
    let archive = find_archive(workshop.path())?;
    run("dpkg-deb", &["--extract", &archive, "unpacked"], workshop.path(), QUICK, OWN_KERNEL)?;
    let unpacked = workshop.path().join("unpacked");
    let Some(kernel) = unpacked_kernel(&unpacked) else {
        let why = format!("the package {package} holds no kernel with modules");
        return Err(GuestError::NoKernel { why, advice: OWN_KERNEL });
    };
    let home = kernels.join(&kernel.release);
    // Another process may have been quicker; what is there is whole, and as good.
    if let Err(error) = fs::rename(&unpacked, &home)
        && !home.exists()
    {
        return Err(GuestError::io("create", home)(error));
    }
    unpacked_kernel(&home).ok_or_else(|| GuestError::NoKernel {
        why: format!("{} is not what was unpacked there", home.display()),
        advice: "remove it and try again",
    })
}

fn kernels_dir(cache_dir: &Path) -> PathBuf {
    cache_dir.join("kernels")
}

/// The package of the newest kernel that apt knows, as `name=version`.
fn newest_package(dir: &Path) -> Result<String> {
    let missing = |why: String| GuestError::NoKernel { why, advice: NO_PACKAGE };
    // The candidate is not always the newest: backports are offered but not preferred.
    let versions = run("apt-cache", &["madison", META_PACKAGE], dir, QUICK, OWN_KERNEL)?;
    let version = newest_version(&versions).ok_or_else(|| missing(format!("apt knows no {META_PACKAGE}")))?;
    let meta = format!("{META_PACKAGE}={version}");
    let description = run("apt-cache", &["show", &meta], dir, QUICK, OWN_KERNEL)?;
    real_package(&description).ok_or_else(|| missing(format!("{meta} depends on no kernel")))
}

/// The first version in the output of `apt-cache madison`, which has the newest first.
fn newest_version(madison: &str) -> Option<&str> {
    madison.lines().next()?.split('|').nth(1).map(str::trim)
}

/// The kernel package in a meta package's description, as `name=version`.
fn real_package(description: &str) -> Option<String> {
    let depends = description.lines().find_map(|line| line.strip_prefix("Depends:"))?;
    let kernel = depends.split(',').map(str::trim).find(|name| name.starts_with("linux-image-"))?;
    let (name, version) = kernel.split_once(" (= ").map_or((kernel, None), |(name, rest)| (name, Some(rest)));
    Some(match version {
        Some(version) => format!("{name}={}", version.trim_end_matches(')')),
        None => name.into(),
    })
}

/// The name of the package's file in the folder it was downloaded to.
fn find_archive(dir: &Path) -> Result<String> {
    let names = fs::read_dir(dir).map_err(GuestError::io("read the folder", dir))?.flatten();
    let mut archives =
        names.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.ends_with(".deb"));
    archives.next().ok_or_else(|| GuestError::NoKernel {
        why: format!("apt-get left no package in {}", dir.display()),
        advice: NO_NETWORK,
    })
}

/// The kernel in an unpacked package.
fn unpacked_kernel(root: &Path) -> Option<Kernel> {
    // From Debian 13 on the folder lies below usr.
    let modules_dirs = [root.join("lib/modules"), root.join("usr/lib/modules")];
    let modules =
        modules_dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten().next()?.path();
    let release = modules.file_name()?.to_str()?.to_owned();
    let image = root.join("boot").join(format!("vmlinuz-{release}"));
    image.is_file().then_some(Kernel { image, modules: Some(modules), release })
}

/// The numbers in a release, for ordering: 6.12 comes after 6.1.
fn version_numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_behind_the_newest_version_is_found() {
        let madison = " linux-image-cloud-amd64 | 6.12.95-1~bpo12+1 | http://deb.debian.org/debian x Packages\n\
                        linux-image-cloud-amd64 |  6.1.192-2 | http://deb.debian.org/debian x Packages\n";
        assert_eq!(newest_version(madison), Some("6.12.95-1~bpo12+1"));
        assert_eq!(newest_version(""), None);
        let shown = "Package: linux-image-cloud-amd64\nDepends: linux-base, linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n";
        assert_eq!(real_package(shown).as_deref(), Some("linux-image-6.1.0-56-cloud-amd64=6.1.192-2"));
        assert_eq!(
            real_package("Depends: linux-image-6.1.0-56-cloud-amd64\n").as_deref(),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(real_package("Depends: linux-base\n"), None);
    }

    #[test]
    fn the_newest_whole_kernel_in_the_cache_is_taken() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(find_kernel(cache.path()).unwrap(), None);
        for (release, with_image) in
            [("6.1.0-56-cloud", true), ("6.12.95-cloud", true), ("6.13.1-cloud", false)]
        {
            let root = cache.path().join("kernels").join(release);
            fs::create_dir_all(root.join("lib/modules").join(release)).unwrap();
            fs::create_dir_all(root.join("boot")).unwrap();
            if with_image {
                fs::write(root.join(format!("boot/vmlinuz-{release}")), "x").unwrap();
            }
        }
        let kernel = find_kernel(cache.path()).unwrap().unwrap();
        assert_eq!(kernel.release, "6.12.95-cloud");
        assert_eq!(fetch_kernel(cache.path()).unwrap(), kernel, "nothing is fetched when there is one");
    }
}
