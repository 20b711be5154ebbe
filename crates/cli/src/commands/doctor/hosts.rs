//! What the hosts of an inventory have and lack for a run.

use std::ffi::OsString;
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dunlin_bench::{Existing, examine_host};
use dunlin_guest::{default_cache_dir, find_kernel};
use dunlin_hypervisor::Registry;
use dunlin_record::in_one_line;
use dunlin_testbed::{
    Host, Inventory, InventoryHost, Network, SshHost, SshTestbed, Testbed, TestbedError, measure_goodput,
    reach_all,
};

use super::vms::{self, VmOrder};
use super::{Finding, State, bench_failure, product};
use crate::commands::hosts;
use crate::failure::Result;
use crate::terminal;

/// How long a short program on a host may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to see what the migration network carries.
const GOODPUT_LIMIT: Duration = Duration::from_secs(20);
/// Headers of IPv4 and ICMP, which a ping's payload does not count.
const PING_HEADERS: u32 = 28;

/// Looks at every host, then at what is between the two that VMs move between.
pub(super) fn look(path: &Path, existing: Vec<Existing>, scenario: Option<&Path>) -> Result<Vec<Finding>> {
    let inventory = hosts::load(path, &Registry::builtin())?;
    let order = VmOrder::of(&inventory, existing, scenario)?;
    terminal::say("connecting to the hosts");
    let all: Vec<&InventoryHost> = inventory.hosts.iter().collect();
    let reached = reach_all(&inventory, &all, hosts::program());
    let mut findings = vec![kernel()];
    let mut ends = Vec::new();
    let route = inventory.route().map(|(source, destination)| [&source.name, &destination.name]);
    for (said, reached) in all.into_iter().zip(reached) {
        let name = said.name.as_str();
        match reached {
            Err(error) => findings.push(unreachable(name, &error)),
            Ok(host) => {
                let host = Arc::new(host);
                findings.extend(of_host(said, &host)?);
                if route.is_some_and(|ends| ends.contains(&host.id())) {
                    ends.push(host);
                }
            }
        }
    }
    findings.extend(between(&inventory, ends, &order)?);
    Ok(findings)
}

/// What guests boot from lies here, and is brought to the hosts.
fn kernel() -> Finding {
    let found = default_cache_dir().and_then(|cache| find_kernel(&cache));
    let state = match found {
        Ok(Some(kernel)) => State::There(kernel.release),
        Ok(None) => State::Lacking { because: "none was fetched".into(), mend: "dunlin guest fetch".into() },
        Err(error) => State::Lacking { because: in_one_line(&error), mend: "dunlin guest fetch".into() },
    };
    Finding::new("guest kernel", "booting guests", true, state)
}

fn unreachable(name: &str, error: &TestbedError) -> Finding {
    let (because, mend) = match error {
        TestbedError::Ssh { doing, why, mend, .. } => (format!("cannot {doing}: {why}"), mend.clone()),
        other => (in_one_line(other), "does `ssh` to it work by hand?".into()),
    };
    Finding::new(&format!("{name}: ssh"), "anything on this host", true, State::Lacking { because, mend })
}

/// What one host has.
fn of_host(said: &InventoryHost, host: &Arc<SshHost>) -> Result<Vec<Finding>> {
    let name = said.name.as_str();
    let named = |what: &str| format!("{name}: {what}");
    let mut findings = vec![Finding::new(
        &named("ssh"),
        "anything on this host",
        true,
        State::There(format!("reached as {}; our helper runs there", said.ssh)),
    )];
    let rights = if host.is_root() {
        State::There("root".into())
    } else {
        State::Lacking {
            because: "our helper does not run as root".into(),
            mend: "sudo = true in the inventory, with sudo that asks for no password; or ssh as root".into(),
        }
    };
    findings.push(Finding::new(&named("rights"), "taps, captures, QEMU's KVM", true, rights));
    let bridge = match &said.bridge {
        None => State::Lacking {
            because: "the inventory names none".into(),
            mend: "bridge = \"…\": the host's bridge on the service network".into(),
        },
        Some(bridge) if is_there(host, &format!("/sys/class/net/{bridge}/bridge")) => {
            State::There(bridge.clone())
        }
        Some(bridge) => State::Lacking {
            because: format!("{bridge} is no bridge there"),
            mend: "name a bridge of the service network that is there (ip -br link show type bridge), or make one".into(),
        },
    };
    findings.push(Finding::new(&named("bridge"), "the network of VMs", true, bridge));
    findings.push(Finding::new(&named("clock"), "what rests on two clocks", true, clock(&**host)));
    let host: Arc<dyn Host> = Arc::<SshHost>::clone(host);
    for found in examine_host(&host, said.driver.as_deref()).map_err(|error| bench_failure(&error))? {
        findings.extend(
            product(&found).into_iter().map(|finding| Finding { name: named(&finding.name), ..finding }),
        );
    }
    Ok(findings)
}

fn is_there(host: &SshHost, folder: &str) -> bool {
    let args: [OsString; 2] = ["-d".into(), folder.into()];
    host.run(Path::new("test"), &args, LIMIT).is_ok_and(|output| output.success)
}

/// How its real-time clock stands to ours; every figure is put on ours.
fn clock(host: &dyn Host) -> State {
    let now_ns = dunlin_clock::epoch_ns();
    let (here, there) = (dunlin_clock::HostClock::own().realtime(now_ns), host.clock().realtime(now_ns));
    match here.zip(there) {
        Some((here, there)) => {
            let ahead_s = (here.t_ns - there.t_ns) as f64 / 1e9;
            let error_ms = (here.error_ns + there.error_ns) as f64 / 1e6;
            let ahead =
                if ahead_s.abs() < 0.0005 { "as".to_owned() } else { format!("{ahead_s:+.3} s from") };
            State::There(format!("{ahead} the bench's, known to {error_ms:.2} ms"))
        }
        None => State::Untried { because: "it was not compared".into() },
    }
}

/// What is between source and destination.
fn between(inventory: &Inventory, ends: Vec<Arc<SshHost>>, vms: &VmOrder) -> Result<Vec<Finding>> {
    let untried = |name: &str, purpose: &str, required: bool, because: &str| {
        Finding::new(name, purpose, required, State::Untried { because: because.into() })
    };
    let purpose = "migrations between the hosts";
    let hosts: Result<[SshHost; 2], _> = ends
        .into_iter()
        .map(|end| Arc::try_unwrap(end).map_err(drop))
        .collect::<Result<Vec<_>, _>>()
        .and_then(|ends| ends.try_into().map_err(drop));
    let Ok(hosts) = hosts else {
        let because = "not tried: both hosts are needed";
        let mut findings = vec![untried("networks", purpose, true, because)];
        findings.extend(vms.existing.iter().map(|vm| vms::untried(&vm.name, because)));
        return Ok(findings);
    };
    let testbed = match SshTestbed::of(inventory, hosts) {
        Ok(testbed) => testbed,
        Err(error) => {
            let mend = "correct the inventory: docs/inventory.md".into();
            let state = State::Lacking { because: in_one_line(&error), mend };
            return Ok(vec![Finding::new("networks", purpose, true, state)]);
        }
    };
    let mut findings = vec![bench(&testbed)];
    for network in Network::USUAL {
        let at = |host: &Arc<dyn Host>| {
            let address = host.address(network).map(|address| address.to_string());
            let on = host.interface(network).unwrap_or("?");
            format!("{} at {} on {on}", host.id(), address.unwrap_or_default())
        };
        let places: Vec<String> = testbed.hosts().iter().map(at).collect();
        let purpose = if network == Network::Service { "reaching VMs" } else { purpose };
        findings.push(Finding::new(
            &format!("{network} network"),
            purpose,
            true,
            State::There(places.join(", ")),
        ));
    }
    findings.push(frames(&testbed));
    findings.push(goodput(&testbed));
    if inventory
        .route()
        .is_some_and(|(source, destination)| source.shared.is_some() && destination.shared.is_some())
    {
        let shared = State::There("each host reads what the other writes".into());
        findings.push(Finding::new("shared storage", "disks that both hosts see", true, shared));
    }
    findings.extend(vms.look(&testbed)?);
    Ok(findings)
}

/// Whether the bench can observe VMs.
fn bench(testbed: &SshTestbed) -> Finding {
    let state = match (testbed.vm_address(0), testbed.bench_interface(Network::Service)) {
        (None, _) => State::Lacking {
            because: "VMs are given no addresses".into(),
            mend: "[vms] addresses and prefix: free ones on the service network".into(),
        },
        (Some((address, _)), None) => State::Lacking {
            because: format!("this machine has no device in the network of {address}"),
            mend: "run dunlin on a machine of the service network".into(),
        },
        (Some((address, prefix)), Some(device)) => {
            State::There(format!("on {device}; the first VM gets {address}/{prefix}"))
        }
    };
    Finding::new("bench", "the probes of VMs", true, state)
}

/// Whether frames as large as the devices' are carried.
fn frames(testbed: &SshTestbed) -> Finding {
    let finding = |state| Finding::new("frames", "migrations that do not stall", true, state);
    let [source, destination] = testbed.ends();
    let (Some(mtu), Some(address)) = (testbed.migration_mtu(), destination.address(Network::Migration))
    else {
        return finding(State::Untried { because: "the devices' MTU is not known".into() });
    };
    let size = mtu.saturating_sub(PING_HEADERS).to_string();
    let args: Vec<OsString> =
        ["-c", "2", "-i", "0.2", "-W", "2", "-M", "do", "-s", &size, &address.to_string()]
            .into_iter()
            .map(OsString::from)
            .collect();
    finding(match source.run(Path::new("ping"), &args, LIMIT) {
        Ok(output) if output.success => State::There(format!("of {mtu} bytes pass (MTU)")),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            let why =
                said.lines().find(|line| line.contains("rror") || line.contains("loss")).unwrap_or_default();
            State::Lacking {
                because: format!(
                    "of {mtu} bytes do not pass from {} to {}: {why}",
                    source.id(),
                    destination.id()
                ),
                mend: "the same MTU on all devices and switches on the way (ip link set dev … mtu …)".into(),
            }
        }
        Err(error) => {
            State::Untried { because: format!("ping cannot be run there: {}", in_one_line(&error)) }
        }
    })
}

/// What the migration network carries, which shows that it does.
fn goodput(testbed: &SshTestbed) -> Finding {
    let [source, destination] = testbed.ends();
    let measured = source.helper().and_then(|from| {
        let to = destination.helper()?;
        let address = destination.address(Network::Migration).unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
        measure_goodput(&from, &to, SocketAddrV4::new(address, 0), GOODPUT_LIMIT)
    });
    let state = match measured {
        Ok(measured) => {
            State::There(format!("{:.0} Mbit/s, round trip {:.2} ms", measured.goodput_mbit, measured.rtt_ms))
        }
        Err(error) => State::Lacking {
            because: in_one_line(&error),
            mend: "let TCP pass between the hosts' migration addresses, any port (firewall)".into(),
        },
    };
    Finding::new("goodput", "migrations between the hosts", true, state)
}
