//! A lab whose nodes have libvirt, for the length of a scene.

use std::time::Duration;

use dunlin_record::Links;
use dunlin_testbed::{HostKind, Lab, LabSpec, TestbedError, enter};

use crate::{LibvirtNodes, Result, SshNodes};

/// How long what was started in the lab may take to end.
const END_LIMIT: Duration = Duration::from_secs(20);

/// Enters a lab of two nodes with these links, each with sshd and libvirtd, and plays a scene there. All of it has ended when
/// this returns, but for the lab's own process. Gives why this machine does not permit that, or lacks what it takes, if so.
///
/// Must be called before the process has threads.
///
/// # Errors
/// Where anything else does not come up.
pub fn on_libvirt_nodes(
    links: Links,
    scene: impl FnOnce(&SshNodes, &LibvirtNodes),
) -> Result<Option<String>> {
    if let Some(lack) = LibvirtNodes::lack() {
        return Ok(Some(lack));
    }
    let inside = match enter(&format!("test-{}", std::process::id()), END_LIMIT) {
        Ok(inside) => inside,
        Err(error @ TestbedError::NotPermitted { .. }) => return Ok(Some(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let spec = LabSpec { kind: HostKind::Node, ..LabSpec::new(links) };
    let lab = match Lab::up(&inside, &spec) {
        Ok(lab) => lab,
        Err(error @ (TestbedError::NotPermitted { .. } | TestbedError::Unsupported { .. })) => {
            return Ok(Some(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    let nodes = SshNodes::up(&lab)?;
    let libvirt = LibvirtNodes::up(&nodes)?;
    scene(&nodes, &libvirt);
    Ok(None)
}
