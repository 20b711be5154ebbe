//! Brings up a lab of two nodes behind ssh and runs a command beside them: `dunlin-ssh-nodes [--libvirt] [--offset S]
//! COMMAND…`. The command finds the inventory's path in `DUNLIN_HOSTS`, and the nodes' names in ssh's configuration in
//! `DUNLIN_SSH_CONFIG`. With `--libvirt` each node has a libvirtd, and the folder that the nodes share is in `DUNLIN_SHARED`.
//! For tests, and for whoever wants to try docs/hosts.md without hosts.

use std::error::Error;
use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Duration;

use dunlin_record::{Link, Links};
use dunlin_ssh_nodes::{Client, LibvirtNodes, SshNodes};
use dunlin_testbed::{HostKind, Lab, LabSpec, NODE_ROLE, enter, serve_helper, serve_node};

/// How long the command may take to end once it was told to.
const END_LIMIT: Duration = Duration::from_secs(30);
/// The rate of the migration network, as in a lab of a scenario that says nothing of links.
const RATE_MBIT: f64 = 1000.0;

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|arg| arg.to_str()) {
        Some("helper") => return ExitCode::from(u8::try_from(serve_helper()).unwrap_or(1)),
        Some(NODE_ROLE) => return ExitCode::from(u8::try_from(serve_node()).unwrap_or(1)),
        _ => {}
    }
    let mut options = Options::default();
    loop {
        match args.first().and_then(|arg| arg.to_str()) {
            Some("--libvirt") => {
                options.libvirt = true;
                args.remove(0);
            }
            Some("--offset") if args.len() > 1 => {
                options.offset_s = args[1].to_string_lossy().parse().unwrap_or(0);
                args.drain(..2);
            }
            _ => break,
        }
    }
    match run(&args, &options) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// What the nodes are to be.
#[derive(Default)]
struct Options {
    /// By how much the second one's monotonic clock is off.
    offset_s: i64,
    /// Whether each has a libvirtd.
    libvirt: bool,
}

fn run(command: &[OsString], options: &Options) -> Result<u8, Box<dyn Error>> {
    let [program, args @ ..] = command else {
        return Err("usage: dunlin-ssh-nodes [--libvirt] [--offset SECONDS] COMMAND...".into());
    };
    let inside = enter("ssh-nodes", END_LIMIT)?;
    let lack = if options.libvirt { LibvirtNodes::lack() } else { SshNodes::lack() };
    if let Some(lack) = lack {
        return Err(lack.into());
    }
    let migration = Link { rate_mbit: Some(RATE_MBIT), ..Link::default() };
    let links = Links { migration, ..Links::default() };
    let spec =
        LabSpec { kind: HostKind::Node, clock_offsets_s: vec![0, options.offset_s], ..LabSpec::new(links) };
    let lab = Lab::up(&inside, &spec)?;
    let nodes = SshNodes::up(&lab)?;
    let hosts = nodes.folder().join("hosts.toml");
    std::fs::write(&hosts, nodes.inventory(Client::Right))?;
    // Until the command has ended.
    let libvirt = options.libvirt.then(|| LibvirtNodes::up(&nodes)).transpose()?;
    let mut command = Command::new(program);
    command.args(args).env("DUNLIN_HOSTS", &hosts).env("DUNLIN_SSH_CONFIG", nodes.config(Client::Right));
    if let Some(libvirt) = &libvirt {
        command.env("DUNLIN_SHARED", libvirt.shared());
    }
    let status = command.status()?;
    Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}
