//! Who may write an image, where the protocol by which it is opened has no locks: a file beside it on its own host, made by
//! whoever takes it, which none other can make again.
//!
//! A lease is its holder's (a VM), not a host's: a VM that moves has its image from both hosts. It goes with the testbed that
//! holds the storage, however that ends: in a lab with the folder of the images, on other hosts by the helper's last will. So a
//! lease that is there is a live one, but on a real host whose helper itself was killed: its file is then removed by hand.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Host, LastWill, Result, TestbedError};

/// What comes after an image's name in its lease's.
const ENDING: &str = ".lease";
/// How long a short program may take.
const RUN_LIMIT: Duration = Duration::from_secs(20);
/// The longest holder's name.
const HOLDER_BYTES: usize = 200;

/// The leases that are held of images on one host. Whoever speaks for several VMs there has one of these.
#[derive(Clone)]
pub struct Leases(Arc<Shared>);

struct Shared {
    host: Arc<dyn Host>,
    held: Mutex<HashMap<PathBuf, Held>>,
}

/// A lease as it is held, maybe several times.
struct Held {
    owner: String,
    times: u32,
    _will: LastWill,
}

/// The right to write an image. Dropping it gives it back.
pub struct Lease {
    shared: Arc<Shared>,
    image: PathBuf,
    owner: String,
}

impl Leases {
    /// Those of images on this host.
    #[must_use]
    pub fn on(host: &Arc<dyn Host>) -> Self {
        Self(Arc::new(Shared { host: Arc::clone(host), held: Mutex::default() }))
    }

    /// Takes an image's lease for an owner, who may take it again while it has it.
    ///
    /// # Errors
    /// [`TestbedError::ImageTaken`] where it is another's; where there is no such image, or its host does not answer.
    pub fn take(&self, image: &Path, owner: &str) -> Result<Lease> {
        check_owner(owner)?;
        let image = self.0.real(image)?;
        let mut held = self.0.held();
        if let Some(known) = held.get_mut(&image) {
            if known.owner != owner {
                return Err(taken(&image, &known.owner, owner));
            }
            known.times += 1;
        } else {
            let will = self.0.write(&image, owner)?;
            held.insert(image.clone(), Held { owner: owner.to_owned(), times: 1, _will: will });
        }
        drop(held);
        Ok(Lease { shared: Arc::clone(&self.0), image, owner: owner.to_owned() })
    }
}

impl Shared {
    /// An image by the one name that it has, whatever links lead to it.
    fn real(&self, image: &Path) -> Result<PathBuf> {
        let args = ["-z".into(), "-e".into(), "--".into(), OsString::from(image)];
        let output = self.host.run(Path::new("realpath"), &args, RUN_LIMIT)?;
        let said = String::from_utf8(output.stdout).unwrap_or_default();
        match said.strip_suffix('\0') {
            Some(path) if output.success => Ok(path.into()),
            _ => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                let doing = format!("find the image {} on {}", image.display(), self.host.id());
                Err(TestbedError::io(doing)(std::io::Error::other(said)))
            }
        }
    }

    /// Makes the file that says so.
    fn write(&self, image: &Path, owner: &str) -> Result<LastWill> {
        let lease = beside(image);
        if let Err(error) = self.host.write_private(&lease, format!("{owner}\n").as_bytes()) {
            return Err(match self.host.read(&lease) {
                // Whoever makes it writes its name a moment later.
                Ok(name) if name.is_empty() => taken(image, "another", owner),
                Ok(name) => taken(image, String::from_utf8_lossy(&name).trim(), owner),
                Err(_) => error,
            });
        }
        let args = ["-f".into(), "--".into(), OsString::from(&lease)];
        self.host.at_end(Path::new("rm"), &args).inspect_err(|_| {
            let _ = self.host.remove(&lease);
        })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<PathBuf, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// The image, by the one name that it has on its host.
    #[must_use]
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.shared.held();
        let Some(known) = held.get_mut(&self.image) else { return };
        known.times -= 1;
        if known.times == 0 {
            // First the file: while its last will stands, it goes in any case.
            let _ = self.shared.host.remove(&beside(&self.image));
            held.remove(&self.image);
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("image", &self.image)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Leases").field(&self.0.host.id()).finish()
    }
}

fn beside(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(ENDING);
    name.into()
}

fn check_owner(owner: &str) -> Result<()> {
    let is_name = !owner.trim().is_empty() && owner.len() <= HOLDER_BYTES;
    if is_name && owner.trim() == owner && !owner.contains(char::is_control) {
        return Ok(());
    }
    Err(TestbedError::Unsupported {
        what: format!("{owner:?} as the name of an image's holder"),
        because: format!("it is to be a line of 1 to {HOLDER_BYTES} bytes without blanks around it"),
    })
}

fn taken(image: &Path, holder: &str, wanted_by: &str) -> TestbedError {
    TestbedError::ImageTaken {
        image: image.display().to_string(),
        holder: holder.to_owned(),
        wanted_by: wanted_by.to_owned(),
        lease: beside(image).display().to_string(),
    }
}
