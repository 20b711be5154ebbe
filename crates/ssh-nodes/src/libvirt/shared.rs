//! A folder that all nodes and the bench see under the same name. Nodes keep their mounts to themselves, so that it is handed
//! from one mount namespace to the other.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use tempfile::TempDir;

use crate::{Result, SshNodes, SshNodesError};

/// Makes it in the lab's own `/run`, and shows it to the nodes.
pub(super) fn make(nodes: &SshNodes) -> Result<TempDir> {
    // Beside the client's folder: what lies there survives the power cut of a node.
    let place = nodes.folder().parent().unwrap_or(Path::new("/run"));
    let folder = tempfile::Builder::new()
        .prefix("shared-")
        .tempdir_in(place)
        .map_err(SshNodesError::io("make the folder that nodes share"))?;
    for server in &nodes.servers {
        let name = server.name();
        server.sh(&format!("mkdir -p {}", folder.path().display()))?;
        let Some(pid) = server.host.first_process() else { continue };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, folder.path(), flags)
            .map_err(|error| SshNodesError::io("take the folder that nodes share")(error.into()))?;
        show(pid, &tree, folder.path())
            .map_err(SshNodesError::io(format!("show {name} the folder that nodes share")))?;
    }
    Ok(folder)
}

/// On a thread of its own, which ends in the node.
fn show(first_process: u32, tree: &OwnedFd, at: &Path) -> std::io::Result<()> {
    let mounts = File::open(format!("/proc/{first_process}/ns/mnt"))?;
    let work = || {
        // Threads share where they stand in the tree of files; whoever does may not go elsewhere.
        unshare(CloneFlags::CLONE_FS)?;
        setns(&mounts, CloneFlags::CLONE_NEWNS)?;
        move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        Ok(())
    };
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(std::io::Error::other("the thread that should has panicked")))
}
