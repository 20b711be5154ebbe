//! `dunlin guest fetch|agent`: the kernel that guests boot, and the agent for VMs that are there already.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dunlin_guest::{AGENT, PORT_NAME, build_image, default_cache_dir, fetch_kernel};

use super::guest_failure;
use crate::failure::{Exit, Failure, Result};
use crate::terminal;

/// The unit by which systemd runs the agent.
const UNIT: &str = include_str!("../../../../contrib/dunlin-agent.service");

/// What guests boot from, and the agent for VMs of your own.
#[derive(Clone, clap::Subcommand)]
pub(crate) enum Action {
    /// Fetch the distribution's kernel for VMs into the cache (nothing is installed), and build the guest's image
    Fetch,
    /// Write the agent and its systemd unit, for a VM that is there already, and say what its host must give the VM
    ///
    /// The agent is a static program for any Linux on x86-64. It answers over a virtio-serial channel, runs workloads
    /// there, and changes nothing of the VM's system.
    Agent {
        /// The folder for dunlin-agent and dunlin-agent.service, made if need be; existing files are not touched
        dir: PathBuf,
    },
}

pub(crate) fn run(action: Action) -> Result {
    match action {
        Action::Fetch => fetch(),
        Action::Agent { dir } => write_agent(&dir),
    }
}

fn fetch() -> Result {
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

fn write_agent(dir: &Path) -> Result {
    let failed = |path: &Path, error: &io::Error| {
        Failure::says(Exit::BadInput, format!("cannot create {}: {error}", path.display()))
    };
    fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    for (name, mode, content) in
        [("dunlin-agent", 0o755, AGENT), ("dunlin-agent.service", 0o644, UNIT.as_bytes())]
    {
        let path = dir.join(name);
        let file = File::options().write(true).create_new(true).mode(mode).open(&path);
        file.and_then(|mut file| file.write_all(content)).map_err(|error| failed(&path, &error))?;
    }
    terminal::say(&format!("wrote dunlin-agent and dunlin-agent.service into {}", dir.display()));
    terminal::print(&channel())
}

/// What a VM's host must give it.
fn channel() -> String {
    format!(
        "The VM needs a channel of this name. In the domain's XML of libvirt, among its devices:\n\n\
         <channel type='unix'><target type='virtio' name='{PORT_NAME}'/></channel>\n\n\
         or by options of QEMU, with a socket of your choice:\n\n\
         -device virtio-serial-pci\n\
         -chardev socket,id=dunlin-agent,path=/run/VM-agent.sock,server=on,wait=off\n\
         -device virtserialport,chardev=dunlin-agent,name={PORT_NAME}\n\n\
         In the VM, as root:\n\n\
         install -m 755 dunlin-agent /usr/local/sbin/\n\
         install -m 644 dunlin-agent.service /etc/systemd/system/\n\
         systemctl enable --now dunlin-agent\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_starts_the_program_from_where_it_is_said_to_go() {
        assert!(UNIT.contains("\nExecStart=/usr/local/sbin/dunlin-agent run\n"));
        assert!(channel().contains("install -m 755 dunlin-agent /usr/local/sbin/\n"));
    }
}
