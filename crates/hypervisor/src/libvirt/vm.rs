//! A VM of libvirt's on a host: found there, or made by us.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::{HostId, HypervisorIdentity, VmId};
use dunlin_testbed::{LastWill, MacAddress};

use super::domain::Domain;
use super::stats::counter;
use super::virsh::{ACT_LIMIT, ASK_LIMIT, Virsh};
use crate::last_words::{CONSOLE_BYTES, last_of};
use crate::{Condition, HypervisorError, KnownAddress, Result, RunState, ToldHeld, Vm};

/// The name of the virtio channel that the guest's agent looks for.
pub(super) const AGENT_PORT: &str = "dunlin.agent";
/// How long the agent's socket may take to be there.
const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// A guest's own agent may be asked for this long (`qemu-guest-agent` answers by itself or not at all).
const GUEST_AGENT_LIMIT: Duration = Duration::from_secs(4);
/// How often libvirt is asked whether a guest has shut itself down.
const SHUT_DOWN_STEP: Duration = Duration::from_millis(100);
const KIB: i64 = 1024;

/// A VM (or its place) on a host.
pub(super) struct LibvirtVm {
    pub(super) virsh: Virsh,
    pub(super) id: VmId,
    pub(super) uuid: String,
    /// What libvirt calls it.
    pub(super) name: String,
    host: HostId,
    identity: HypervisorIdentity,
    /// Absent in VMs that were found.
    pub(super) made: Option<Made>,
    state: OnceLock<Option<ProcessIds>>,
}

/// What belongs to a VM that we made.
pub(super) struct Made {
    pub(super) tap: Option<String>,
    /// Its console's file on the host.
    pub(super) console: Option<PathBuf>,
    /// What it was made of, to make its place at the destination.
    pub(super) guest: super::guest_xml::Guest,
    /// Ends it where we cannot; revoked once it is known to be gone.
    pub(super) will: LastWill,
}

/// The VM's process and its vCPUs' threads, on its host.
struct ProcessIds {
    pid: u32,
    vcpus: Vec<u32>,
}

/// What a daemon says of a VM.
pub(super) struct Asked {
    /// Absent where there is no such VM.
    pub(super) condition: Option<Condition>,
    pub(super) word: String,
}

impl LibvirtVm {
    pub(super) fn new(
        virsh: &Virsh,
        id: VmId,
        domain: &Domain,
        identity: HypervisorIdentity,
        made: Option<Made>,
    ) -> Self {
        Self {
            virsh: virsh.clone(),
            id,
            uuid: domain.uuid.clone(),
            name: domain.name.clone(),
            host: virsh.host.id().clone(),
            identity,
            made,
            state: OnceLock::new(),
        }
    }

    /// The same VM at another host.
    pub(super) fn at(&self, virsh: &Virsh, made: Option<Made>) -> Self {
        Self {
            virsh: virsh.clone(),
            id: self.id.clone(),
            uuid: self.uuid.clone(),
            name: self.name.clone(),
            host: virsh.host.id().clone(),
            identity: self.identity.clone(),
            made,
            state: OnceLock::new(),
        }
    }

    /// Its XML as it runs.
    fn domain(&self) -> Result<Domain> {
        Domain::ask(&self.virsh, &self.uuid)
    }

    fn act(&self, args: &[&str]) -> Result<()> {
        self.virsh.say(args, ACT_LIMIT).map(drop)
    }

    /// libvirt's own state of it, which tells process and threads (`domstatus`, kept by the system's daemon for its restart).
    fn process(&self) -> Option<&ProcessIds> {
        self.state.get_or_init(|| self.read_process()).as_ref()
    }

    fn read_process(&self) -> Option<ProcessIds> {
        if !self.virsh.uri.ends_with(":///system") {
            return None;
        }
        let path = Path::new("/run/libvirt/qemu").join(format!("{}.xml", self.name));
        let text = String::from_utf8(self.virsh.host.read(&path).ok()?).ok()?;
        let document = roxmltree::Document::parse(&text).ok()?;
        let status = document.root_element();
        let pid = |node: roxmltree::Node<'_, '_>| node.attribute("pid")?.parse().ok();
        let is_this =
            status.descendants().any(|node| node.has_tag_name("uuid") && node.text() == Some(&self.uuid));
        let vcpus = status.descendants().filter(|node| {
            node.has_tag_name("vcpu") && node.parent().is_some_and(|parent| parent.has_tag_name("vcpus"))
        });
        let vcpus = vcpus.map(pid).collect::<Option<Vec<u32>>>()?;
        is_this.then_some(ProcessIds { pid: pid(status)?, vcpus })
    }

    /// Ends it; well where it is gone already.
    fn destroy(&self, limit: Duration) -> Result<()> {
        match self.virsh.say(&["destroy", &self.uuid], limit) {
            Err(_) if ask(&self.virsh, &self.uuid).is_ok_and(|asked| asked.condition.is_none()) => Ok(()),
            done => done.map(drop),
        }
    }

    fn addresses_by(&self, source: &str) -> Result<Vec<(MacAddress, Ipv4Addr)>> {
        let said = self.virsh.say(&["domifaddr", &self.uuid, "--source", source], GUEST_AGENT_LIMIT)?;
        Ok(addresses(&said))
    }
}

/// Asks a daemon about a VM. That there is none is believed only if the daemon lists those that it has.
pub(super) fn ask(virsh: &Virsh, uuid: &str) -> Result<Asked> {
    let error = match virsh.say(&["domstate", uuid, "--reason"], ASK_LIMIT) {
        Ok(said) => {
            let word = said.trim().to_owned();
            return Ok(Asked { condition: Some(condition(&word)), word });
        }
        Err(error) if error.is_refusal() => error,
        Err(error) => return Err(error),
    };
    let all = virsh.say(&["list", "--all", "--uuid"], ASK_LIMIT)?;
    if all.lines().any(|line| line.trim() == uuid) {
        return Err(error);
    }
    Ok(Asked { condition: None, word: "there is no such VM".into() })
}

/// What libvirt's word for a VM's state means (`virDomainState`, as virsh writes it).
pub(super) fn condition(word: &str) -> Condition {
    let (state, reason) = word.split_once(" (").unwrap_or((word, ""));
    match (state, reason.trim_end_matches(')')) {
        ("running" | "idle" | "no state" | "in shutdown", _) => Condition::Running,
        // The place that is prepared for it, or its source in the switch-over: which of both the mover knows.
        ("paused", "migrating" | "starting up") => Condition::Incoming,
        ("shut off" | "crashed", _) => Condition::Ended,
        _ => Condition::Stopped,
    }
}

/// What `domifaddr` says, as in ` vnet0      52:54:00:d0:00:00    ipv4         10.77.0.100/24`. A card's further addresses
/// have hyphens in place of its own.
fn addresses(said: &str) -> Vec<(MacAddress, Ipv4Addr)> {
    let mut mac = None;
    let read = |line: &str| {
        let [_, card, _, address, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        mac = if card == "-" { mac } else { card.parse::<MacAddress>().ok() };
        let address = address.split('/').next()?.parse::<Ipv4Addr>().ok()?;
        let is_of_use = !address.is_loopback() && !address.is_link_local() && !address.is_unspecified();
        Some((mac?, address)).filter(|_| is_of_use)
    };
    said.lines().filter_map(read).collect()
}

impl Vm for LibvirtVm {
    fn id(&self) -> &VmId {
        &self.id
    }

    fn host(&self) -> &HostId {
        &self.host
    }

    fn identity(&self) -> &HypervisorIdentity {
        &self.identity
    }

    fn run_state(&self) -> Result<RunState> {
        let Asked { condition, word } = ask(&self.virsh, &self.uuid)?;
        Ok(RunState { condition: condition.unwrap_or(Condition::Ended), word })
    }

    fn stop(&self) -> Result<()> {
        match self.act(&["suspend", &self.uuid]) {
            // What is done already is no mistake; what was not answered is not waited for twice.
            Err(error)
                if error.is_refusal()
                    && self.run_state().is_ok_and(|state| state.condition == Condition::Stopped) =>
            {
                Ok(())
            }
            done => done,
        }
    }

    fn resume(&self) -> Result<()> {
        match self.act(&["resume", &self.uuid]) {
            Err(error) if error.is_refusal() && self.run_state().is_ok_and(|state| state.running()) => Ok(()),
            done => done,
        }
    }

    fn check_alive(&self) -> Result<()> {
        // Nobody is asked: an end is told by libvirt's events, of which the mover takes note.
        Ok(())
    }

    fn pid(&self) -> Option<u32> {
        self.process().map(|process| process.pid)
    }

    fn vcpu_threads(&self) -> Result<Option<Vec<u32>>> {
        Ok(self.process().map(|process| process.vcpus.clone()))
    }

    fn tap(&self) -> Option<&str> {
        self.made.as_ref()?.tap.as_deref()
    }

    fn addresses(&self) -> Result<Vec<KnownAddress>> {
        let sources =
            [("lease", "a lease"), ("agent", "the guest's own agent"), ("arp", "the host's ARP table")];
        let mut known: Vec<KnownAddress> = Vec::new();
        for (source, told_by) in sources {
            // A guest without an agent, and a network without leases, are no errors.
            for (mac, address) in self.addresses_by(source).unwrap_or_default() {
                if known.iter().all(|one| one.address != address) {
                    known.push(KnownAddress { address, mac: Some(mac), told_by });
                }
            }
        }
        Ok(known)
    }

    fn held(&self) -> Result<ToldHeld> {
        let mut held = ToldHeld::default();
        if let Ok(said) = self.virsh.say(&["dommemstat", &self.uuid], ASK_LIMIT) {
            let of = |name: &str| {
                let mut lines = said.lines().filter_map(|line| line.split_once(' '));
                lines.find_map(|(key, value)| (key == name).then(|| value.trim().parse::<i64>().ok())?)
            };
            held.configured_bytes = of("actual").map(|kib| kib * KIB);
            held.used_bytes = of("available").zip(of("unused")).map(|(all, free)| (all - free) * KIB);
        }
        if held.configured_bytes.is_none() {
            held.configured_bytes = self.domain().ok().map(|domain| domain.memory_bytes);
        }
        if let Ok(said) = self.virsh.say(&["guestinfo", &self.uuid, "--filesystem"], GUEST_AGENT_LIMIT) {
            let used = said.lines().filter_map(counter);
            let used: Vec<i64> =
                used.filter(|(name, _)| name.ends_with(".used-bytes")).map(|(_, bytes)| bytes).collect();
            held.disk_used_bytes = (!used.is_empty()).then(|| used.iter().sum());
        }
        Ok(held)
    }

    fn console_tail(&self) -> Option<String> {
        let console = self.made.as_ref()?.console.as_ref()?;
        let said = self.virsh.host.read(console).ok()?;
        Some(last_of(&String::from_utf8_lossy(&said), CONSOLE_BYTES).to_owned())
    }

    fn agent_stream(&self) -> Result<Option<UnixStream>> {
        let Some(path) = self.domain()?.agent_socket else { return Ok(None) };
        Ok(Some(self.virsh.host.dial(&path, DIAL_LIMIT)?))
    }

    fn allocated_bytes(&self) -> Option<i64> {
        let pid = self.pid()?;
        let configured = u64::try_from(self.domain().ok()?.memory_bytes).ok()?;
        self.virsh.host.resident_bytes(pid, configured).ok().flatten()
    }

    /// libvirt takes one of ours away when its guest shuts itself down; one that is defined stays, shut off.
    fn await_shut_down(&self, limit: Duration) -> Result<()> {
        let deadline = Deadline::after(limit);
        loop {
            match self.run_state() {
                Ok(state) if state.condition == Condition::Ended => return Ok(()),
                Err(error) if deadline.passed() => return Err(error),
                Ok(_) if deadline.passed() => {
                    return Err(HypervisorError::Timeout {
                        host: self.host.clone(),
                        waiting_for: format!("{} to shut itself down", self.id),
                        after_s: limit.as_secs_f64(),
                    });
                }
                _ => std::thread::sleep(deadline.step(SHUT_DOWN_STEP)),
            }
        }
    }

    fn end(&self, limit: Duration) -> Result<()> {
        if self.made.is_none() {
            return Err(HypervisorError::Unsupported {
                what: format!("ending {}", self.id),
                because: "it was there before us".into(),
            });
        }
        self.destroy(limit.max(ACT_LIMIT))
    }
}

impl Drop for LibvirtVm {
    fn drop(&mut self) {
        // One that was found is left alone, whatever happened. Ours goes with its last handle.
        if let Some(Made { console, will, .. }) = self.made.take() {
            if self.destroy(ACT_LIMIT).is_err() {
                // Its host destroys it at the end.
                will.stands();
            }
            if let Some(console) = console {
                let _ = self.virsh.host.remove(&console);
            }
        }
    }
}

/// A VM that several hold.
pub(super) type Handle = Arc<LibvirtVm>;

#[cfg(test)]
mod tests {
    use super::*;

    /// `virsh domstate --reason` (tools/virsh-domain-monitor.c).
    #[test]
    fn states_are_understood_and_an_unknown_one_is_no_running_one() {
        for (word, expected) in [
            ("running (booted)", Condition::Running),
            ("running (post-copy)", Condition::Running),
            ("paused (user)", Condition::Stopped),
            ("paused (post-copy)", Condition::Stopped),
            ("paused (post-copy failed)", Condition::Stopped),
            ("paused (migrating)", Condition::Incoming),
            ("paused (starting up)", Condition::Incoming),
            ("shut off (migrated)", Condition::Ended),
            ("crashed (panicked)", Condition::Ended),
            ("pmsuspended (unknown)", Condition::Stopped),
            ("brand-new", Condition::Stopped),
        ] {
            assert_eq!(condition(word), expected, "{word}");
        }
    }

    #[test]
    fn addresses_are_those_that_others_can_reach() {
        let said = " lo         00:00:00:00:00:00    ipv4         127.0.0.1/8\n \
                    eth0       52:54:00:d0:00:00    ipv6         fe80::1/64\n \
                    -          -                    ipv4         10.77.0.100/24\n \
                    eth1       52:54:00:d0:00:01    ipv4         169.254.0.1/16\n\n";
        let known: Vec<String> =
            addresses(said).iter().map(|(mac, address)| format!("{mac} {address}")).collect();
        assert_eq!(known, ["52:54:00:d0:00:00 10.77.0.100"]);
        assert_eq!(
            addresses(" -          -                    ipv4         10.0.0.1/8"),
            [],
            "whose it is is not told"
        );
    }
}
