//! The drivers a guest needs that its kernel has as modules: found, unpacked, in the order to load them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;

use crate::{GuestError, Result};

/// What no guest does without.
const NEEDED: [&str; 3] = ["virtio_pci", "virtio_console", "virtio_net"];
/// What is taken along if the kernel has it.
const WELCOME: [&str; 2] = ["virtio_blk", "ext4"];

/// A module, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its name, as in `virtio_net`.
    pub(crate) name: String,
    /// The object file, not compressed.
    pub(crate) content: Vec<u8>,
}

/// Collects the modules a guest needs from `dir` (`lib/modules/VERSION`), each after those it depends on.
///
/// What a module depends on is read from the module itself: `modules.dep` is made by the package's installation, and the
/// package is only unpacked here.
pub(crate) fn collect(dir: &Path) -> Result<Vec<Module>> {
    let mut collection =
        Collection { dir, files: find_modules(dir)?, builtin: read_builtin(dir)?, chosen: Vec::new() };
    for name in NEEDED {
        collection.add(name)?;
    }
    for name in WELCOME {
        if collection.files.contains_key(name) {
            collection.add(name)?;
        }
    }
    Ok(collection.chosen)
}

struct Collection<'a> {
    dir: &'a Path,
    files: BTreeMap<String, PathBuf>,
    builtin: Vec<String>,
    chosen: Vec<Module>,
}

impl Collection<'_> {
    fn add(&mut self, name: &str) -> Result<()> {
        if self.builtin.iter().any(|builtin| builtin == name)
            || self.chosen.iter().any(|module| module.name == name)
        {
            return Ok(());
        }
        // Taken out, so that modules in a circle end in an error.
        let Some(path) = self.files.remove(name) else {
            return Err(GuestError::NoModule { module: name.into(), modules: self.dir.to_owned() });
        };
        let content = unpack(&path)?;
        for dependency in dependencies(&content) {
            self.add(&dependency)?;
        }
        self.chosen.push(Module { name: name.into(), content });
        Ok(())
    }
}

/// Every module file below `dir`, by the module's name.
fn find_modules(dir: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.join("kernel")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(GuestError::io("read the folder", &folder))? {
            let entry = entry.map_err(GuestError::io("read the folder", &folder))?;
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(name) = module_name(&path) {
                files.insert(name, path);
            }
        }
    }
    Ok(files)
}

/// The names of the modules that are part of the kernel.
fn read_builtin(dir: &Path) -> Result<Vec<String>> {
    let path = dir.join("modules.builtin");
    let text = fs::read_to_string(&path).map_err(GuestError::io("read", &path))?;
    Ok(text.lines().filter_map(|line| module_name(Path::new(line))).collect())
}

/// The name of the module in a file; `None` if it is no module. Files have `-` where names have `_`.
fn module_name(path: &Path) -> Option<String> {
    let (stem, rest) = path.file_name()?.to_str()?.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst").then(|| stem.replace('-', "_"))
}

fn unpack(path: &Path) -> Result<Vec<u8>> {
    let packed = fs::read(path).map_err(GuestError::io("read", path))?;
    let mut content = Vec::new();
    let outcome = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => XzReader::new(Cursor::new(packed), true).read_to_end(&mut content).map(drop),
        Some("zst") => zstd::stream::copy_decode(Cursor::new(packed), &mut content),
        _ => {
            content = packed;
            Ok(())
        }
    };
    outcome.map_err(GuestError::io("unpack", path))?;
    Ok(content)
}

/// The modules named in a module's own `.modinfo`, which is a list of `key=value` ended by zeros.
fn dependencies(content: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"depends=";
    let values = content.split(|&byte| byte == 0).filter_map(|entry| entry.strip_prefix(KEY));
    let names = values.filter_map(|value| std::str::from_utf8(value).ok()).flat_map(|value| value.split(','));
    names.filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of modules: (file, what it depends on).
    fn folder(modules: &[(&str, &str)], builtin: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (file, depends) in modules {
            let path = dir.path().join("kernel").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let content = format!("\x7fELF\0name=x\0depends={depends}\0vermagic=1\0");
            let packed = if file.ends_with("zst") {
                zstd::encode_all(content.as_bytes(), 1).unwrap()
            } else {
                content.into_bytes()
            };
            fs::write(path, packed).unwrap();
        }
        fs::write(dir.path().join("modules.builtin"), builtin).unwrap();
        dir
    }

    #[test]
    fn modules_come_after_what_they_depend_on_and_once() {
        let dir = folder(
            &[
                ("drivers/net/virtio_net.ko.zst", "net-failover,failover"),
                ("drivers/net/net_failover.ko", "failover"),
                ("net/core/failover.ko", ""),
                ("drivers/char/virtio_console.ko", ""),
                ("drivers/other.ko", ""),
            ],
            "kernel/drivers/virtio/virtio_pci.ko\n",
        );
        let names: Vec<String> = collect(dir.path()).unwrap().into_iter().map(|module| module.name).collect();
        assert_eq!(names, ["virtio_console", "failover", "net_failover", "virtio_net"]);
    }

    #[test]
    fn a_needed_module_that_is_nowhere_is_named() {
        let dir =
            folder(&[("virtio_console.ko", ""), ("virtio_net.ko", "failover")], "kernel/virtio_pci.ko\n");
        let said = collect(dir.path()).unwrap_err().to_string();
        assert!(said.contains("module failover"), "{said}");
    }

    #[test]
    fn a_circle_ends_in_an_error() {
        let dir = folder(&[("virtio_pci.ko", "a"), ("a.ko", "virtio_pci")], "");
        assert!(matches!(collect(dir.path()), Err(GuestError::NoModule { .. })));
    }
}
