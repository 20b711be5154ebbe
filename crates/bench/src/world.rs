//! What the trials of a run share: the lab, its helpers, and what its migration network carries.

use std::ffi::OsString;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_record::{HostFingerprint, HostId, Links};
use dunlin_testbed::{
    Goodput, Helper, Host, Inside, Lab, LabHost, LabSpec, Network, TestbedError, measure_goodput,
};

use crate::Result;

/// Limit of trying what a network carries.
const GOODPUT_LIMIT: Duration = Duration::from_secs(20);

/// The testbed of a run.
pub(crate) struct World {
    inside: Inside,
    cache: PathBuf,
    up: Option<Up>,
}

/// A lab that is up, with a helper on each host.
struct Up {
    // Before the lab, so that helpers end in peace.
    helpers: [Helper; 2],
    lab: Lab,
    links: Links,
    goodput: Goodput,
}

impl World {
    /// A world without a lab yet; fetched and built things are kept in `cache`.
    #[must_use]
    pub(crate) fn new(inside: Inside, cache: PathBuf) -> Self {
        Self { inside, cache, up: None }
    }

    /// Makes the lab with these links, unless it is there already.
    ///
    /// # Errors
    /// Where a link cannot be had, or the system refuses anything.
    pub(crate) fn bring_up(&mut self, links: &Links) -> Result<()> {
        if self.up.as_ref().is_some_and(|up| up.links == *links) {
            return Ok(());
        }
        self.up = None;
        let lab = Lab::up(&self.inside, &LabSpec::new(links.clone()))?;
        let helpers = [start_helper(&lab.hosts()[0])?, start_helper(&lab.hosts()[1])?];
        let sink = SocketAddrV4::new(lab.hosts()[1].address(Network::Migration), 0);
        let goodput = measure_goodput(&helpers[0], &helpers[1], sink, GOODPUT_LIMIT)?;
        self.up = Some(Up { helpers, lab, links: links.clone(), goodput });
        Ok(())
    }

    /// The folder of fetched and built things.
    #[must_use]
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// What machines the lab is.
    ///
    /// # Errors
    /// Where there is no lab.
    pub(crate) fn fingerprint(&self) -> Result<HostFingerprint> {
        Ok(self.up()?.lab.fingerprint())
    }

    /// Source and destination.
    pub(crate) fn hosts(&self) -> Result<[Arc<dyn Host>; 2]> {
        let [a, b] = self.up()?.lab.hosts();
        Ok([Arc::<LabHost>::clone(a) as Arc<dyn Host>, Arc::<LabHost>::clone(b) as Arc<dyn Host>])
    }

    /// Source's and destination's names.
    pub(crate) fn host_ids(&self) -> Result<[HostId; 2]> {
        Ok(self.hosts()?.map(|host| host.id().clone()))
    }

    /// The helpers on source and destination.
    pub(crate) fn helpers(&self) -> Result<&[Helper; 2]> {
        Ok(&self.up()?.helpers)
    }

    pub(crate) fn lab(&self) -> Result<&Lab> {
        Ok(&self.up()?.lab)
    }

    /// What the migration network carried when tried.
    pub(crate) fn goodput(&self) -> Result<Goodput> {
        Ok(self.up()?.goodput)
    }

    fn up(&self) -> Result<&Up, TestbedError> {
        self.up.as_ref().ok_or_else(|| TestbedError::Unsupported {
            what: "work in a lab".into(),
            because: "it was not brought up".into(),
        })
    }
}

/// Runs our own binary on a host as its helper.
pub(crate) fn start_helper(host: &LabHost) -> Result<Helper> {
    let program = Path::new("/proc/self/exe");
    let child = host.spawn_piped(program, &[OsString::from("helper")])?;
    Ok(Helper::start(host.id().clone(), child)?)
}
