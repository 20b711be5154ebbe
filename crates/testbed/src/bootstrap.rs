//! The lab's own world: the program runs again as the first process of fresh namespaces, and all of it ends with it.
//!
//! The process that was started (the outer one) makes mount, pid and network namespaces (and a user namespace where it
//! is not root), runs its own program again with the same arguments inside them, passes signals on and waits. The
//! kernel ties the two together: the inner one is killed when the outer one dies, and everything else in the pid
//! namespace is killed with the inner one, its first process. Mounts, network namespaces and files lie in namespaces
//! and file systems that end with the last process in them. So nothing has to be cleaned up, whoever is killed.

mod supervise;

use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::unistd::getpid;

use crate::namespace::{NAMES, Namespace};
use crate::netlink::Netlink;
use crate::{Result, TestbedError};

/// The environment variable by which the program knows that it runs inside.
const MARK: &str = "DUNLIN_INSIDE_LAB";
/// What comes before the lab's name in the inner process's name (its argument 0), by which it is found.
pub(crate) const PROCESS_PREFIX: &str = "dunlin-lab:";
/// The bench's name among the lab's namespaces.
const BENCH: &str = "bench";
/// Where the hosts have their scratch folders.
pub(crate) const SCRATCH: &str = "/run/dunlin";

/// Proof that this process runs inside a world of its own, in which labs can be made.
#[derive(Debug)]
pub struct Inside {
    name: String,
    bench: Namespace,
}

impl Inside {
    /// The name given to this world.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.bench
    }
}

/// Goes on in a world of its own, under a name by which it can be found.
///
/// The program starts again from its beginning inside; only there does this function return. Outside it waits for the
/// end of the inner process and exits with its code (128 + the signal if one ended it). `SIGINT`, `SIGTERM`, `SIGHUP`
/// and `SIGQUIT` are passed on; if the inner process has not ended `end_limit` later, it is killed. Signals that a
/// terminal sends reach both processes and are not passed on. The inner process must have its own handlers: as the
/// first process of its namespace it does not feel the default ones.
///
/// Must be called before any thread exists.
///
/// # Errors
/// Where the name is empty or holds a NUL, threads exist, or the system does not permit the namespaces.
pub fn enter(name: &str, end_limit: Duration) -> Result<Inside> {
    // A marked process that is not the first one was started by a marked one, as a helper is.
    if std::env::var_os(MARK).is_some() && getpid().as_raw() == 1 {
        return settle(name);
    }
    let code = supervise::run_inside(name, end_limit)?;
    std::process::exit(code)
}

/// Makes the fresh namespaces a world: nothing in it reaches out, and it has its own `/proc` and `/run`.
fn settle(name: &str) -> Result<Inside> {
    let root_is_private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, root_is_private, None::<&str>).map_err(|errno| match errno {
        // What a chroot sees as its root is a folder, not a mount.
        Errno::EINVAL => TestbedError::NotPermitted {
            what: "keeping the lab's mounts to itself where / is no mount point, as in a chroot".into(),
            mend: "make the folder a mount point (mount --bind DIR DIR) before entering it".into(),
        },
        errno => TestbedError::errno("keep the lab's mounts to itself")(errno),
    })?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("proc"), "/proc", Some("proc"), plain | MsFlags::MS_NOEXEC, None::<&str>)
        .map_err(TestbedError::errno("mount the lab's /proc"))?;
    mount(Some("dunlin"), "/run", Some("tmpfs"), plain, Some("mode=0755"))
        .map_err(TestbedError::errno("mount the lab's /run"))?;
    for folder in [NAMES, SCRATCH] {
        fs::create_dir(folder).map_err(TestbedError::io(format!("create {folder}")))?;
    }
    let bench = Namespace::name_current(BENCH)?;
    Netlink::open_here(BENCH)?.set_up("lo")?;
    Ok(Inside { name: name.to_owned(), bench })
}
