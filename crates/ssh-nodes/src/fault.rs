//! Faults of a node, made from the lab: none of it goes through ssh.

use std::path::Path;
use std::process::Command;

use dunlin_testbed::Network;

use crate::{Result, SshNodes, run};

impl SshNodes {
    /// Cuts a node off from a network; connections stay as they are, and hear nothing.
    ///
    /// # Errors
    /// Where the node does not do it.
    pub fn cut(&self, name: &str, network: Network) -> Result<()> {
        self.set_link(name, network, "down")
    }

    /// Joins it to the network again.
    ///
    /// # Errors
    /// Where the node does not do it.
    pub fn join(&self, name: &str, network: Network) -> Result<()> {
        self.set_link(name, network, "up")
    }

    /// Ends a node's sshd, its sessions and all else that runs on the node, whoever started it. The kernel there closes
    /// their connections, as when a host is shut down.
    ///
    /// # Errors
    /// Where the node does not do it.
    pub fn end_all(&self, name: &str) -> Result<()> {
        let server = self.server(name)?;
        // All but the node's first process and the one that says it; again for those that came meanwhile.
        server.sh("for i in 1 2 3; do kill -9 -1 2>/dev/null; done; true")?;
        server.stop();
        Ok(())
    }

    /// Takes a node's power: it is off all networks, nothing runs on it any more, and what lay in its memory is lost:
    /// `/tmp`, `/dev/shm` and `/run` but for our own files and the homes.
    ///
    /// # Errors
    /// Where the node does not do it.
    pub fn power_off(&self, name: &str) -> Result<()> {
        for network in self.server(name)?.networks() {
            self.cut(name, network)?;
        }
        self.end_all(name)?;
        // The kernel, which lives on, would still tell the other ends that their connections are closed. One that cannot be
        // told so goes on trying.
        let _ = self.server(name)?.sh("ss --kill --tcp state all");
        // What is mounted there by a fault stays.
        let lost = "find /tmp /dev/shm -xdev -mindepth 1 -delete 2>/dev/null; \
             find /run -xdev -mindepth 1 -maxdepth 1 ! -name dunlin ! -name home -exec rm -rf {} + 2>/dev/null; true";
        self.server(name)?.sh(lost)?;
        Ok(())
    }

    /// Gives it back, and waits until its sshd answers. Its boot id is another then.
    ///
    /// # Errors
    /// Where the node or its sshd does not come up.
    pub fn power_on(&self, name: &str) -> Result<()> {
        for network in self.server(name)?.networks() {
            self.join(name, network)?;
        }
        self.server(name)?.boot()?;
        self.start(name)
    }

    /// Puts a full disk in a folder of a node's. The folder is made where there is none.
    ///
    /// # Errors
    /// Where the node does not do it.
    pub fn fill(&self, name: &str, folder: &Path) -> Result<()> {
        self.mount(name, folder, "size=64k,mode=1777")?;
        // It ends with an error, as it is meant to.
        let fill = "dd if=/dev/zero of=\"$PWD/fill\" bs=4k 2>/dev/null; test -s fill";
        self.server(name)?.sh(&format!("cd {} && {{ {fill}; }}", quoted(folder)))?;
        Ok(())
    }

    /// Puts a disk in a folder of a node's from which no program can be started.
    ///
    /// # Errors
    /// Where the node does not do it.
    pub fn forbid_programs(&self, name: &str, folder: &Path) -> Result<()> {
        self.mount(name, folder, "noexec,mode=1777")
    }

    /// Takes away what was put in a folder last.
    ///
    /// # Errors
    /// Where there is nothing, or somebody uses it.
    pub fn unmount(&self, name: &str, folder: &Path) -> Result<()> {
        self.server(name)?.sh(&format!("umount {}", quoted(folder)))?;
        Ok(())
    }

    fn mount(&self, name: &str, folder: &Path, options: &str) -> Result<()> {
        let folder = quoted(folder);
        let script = format!("mkdir -p {folder} && mount -t tmpfs -o {options} dunlin-fault {folder}");
        self.server(name)?.sh(&script)?;
        Ok(())
    }

    /// At the switch's end, as when a cable is pulled: whose own device is set down forgets routes and neighbours.
    fn set_link(&self, name: &str, network: Network, state: &str) -> Result<()> {
        let port = self.server(name)?.port(network);
        run(Command::new("ip").args(["-n", "switch", "link", "set", port, state]))?;
        Ok(())
    }
}

/// A path as a word of a shell's.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
