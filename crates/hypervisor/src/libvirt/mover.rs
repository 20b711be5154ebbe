//! A migration by libvirt: begun by `virsh migrate` on the source, followed as libvirt's own job.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dunlin_clock::{Deadline, now_ns};
use dunlin_record::{
    Blocks, Event, EventKind, HostId, HypervisorReport, Mechanism, MechanismSeen, MigrationState, Seen,
    Strategy, VmId,
};
use dunlin_testbed::{Host, Launch};

use super::command::Migration;
use super::copies::Copies;
use super::disks;
use super::events::{Hearing, Readers};
use super::hypervisor::LibvirtHypervisor;
use super::job::{Followed, Follower, Job, Untold, lock};
use super::limits::Limits;
use super::settings::{CopyStorage, LibvirtSettings, Mode};
use super::stats::{self, Counters, JobInfo};
use super::virsh::{ACT_LIMIT, ASK_LIMIT, Virsh};
use super::vm::{Handle, LibvirtVm, Made};
use crate::{
    Act, Condition, DiskCopies, HypervisorError, MoveOrder, Mover, Presence, Progress, Result, Side, Vm,
};

/// How long libvirt's last word of a job that ended may take to come.
const REPORT_LIMIT: Duration = Duration::from_secs(2);

/// A migration by libvirt.
pub(super) struct LibvirtMover {
    // First: it ends before what it follows is let go.
    follower: Option<Follower>,
    _readers: [Readers; 2],
    source: Handle,
    /// The VM at its destination, once it is there.
    arrived: Option<LibvirtVm>,
    destination: Virsh,
    /// How the VM is handled there, where it is ours.
    made: Option<Made>,
    /// The copies of its disks, where these go before its memory.
    disks_first: Option<Copies>,
    settings: LibvirtSettings,
    /// The words after `virsh`.
    words: Vec<String>,
    /// Files on the source that go with this.
    _files: Files,
    events: std::sync::mpsc::Sender<Event>,
    job: Arc<Mutex<Job>>,
    /// Whether the VM arrives stopped, if it is stopped in the middle.
    arrives_stopped: bool,
    has_begun: bool,
    asked: Vec<Mechanism>,
    limits: Limits,
}

impl LibvirtMover {
    /// Makes ready to move a VM of one host to another. Nothing of the VM changes.
    pub(super) fn prepare(
        from: &LibvirtHypervisor,
        to: &LibvirtHypervisor,
        source: Handle,
        order: &MoveOrder<'_>,
    ) -> Result<Self> {
        let peer = to.peer_uri()?;
        let mut files = Files { host: Arc::clone(&from.virsh.host), paths: Vec::new() };
        let job = Arc::<Mutex<Job>>::default();
        let (mut made, mut disks_first) = (None, None);
        let (copy_storage, is_unsafe) = match &source.made {
            None => {
                let domain = super::domain::Domain::ask(&from.virsh, &source.uuid)?;
                let proved = disks::are_the_same(from, to, &domain)?;
                (from.settings.copy_storage, proved || from.settings.is_unsafe)
            }
            Some(ours) => {
                let console = to.virsh.host.scratch().join(format!("{}.console", source.uuid));
                let xml = to.place(&ours.guest, order.disks, &console)?;
                let file = from.virsh.host.scratch().join(format!("{}-{}.xml", source.uuid, now_ns()));
                // Before it is written: a part of it may be there though that fails.
                files.paths.push(file.clone());
                from.virsh.host.write_private(&file, xml.as_bytes())?;
                made = Some(Made {
                    tap: ours.tap.clone(),
                    console: Some(console),
                    guest: ours.guest.clone(),
                    will: to.virsh.destroy_at_end(&source.uuid)?,
                });
                if let Some(how) = order.copies.filter(|how| how.two_steps) {
                    let disks = (&ours.guest.spec.disks[..], order.disks);
                    disks_first = Some(Copies::prepare(&source, how, disks, &job)?);
                }
                let copies = match order.copies.filter(|_| disks_first.is_none()).map(|how| how.blocks) {
                    None => CopyStorage::None,
                    Some(Blocks::Overlay) => CopyStorage::Inc,
                    // All that holds something: what was never written does not travel.
                    Some(Blocks::Allocated | Blocks::All) => CopyStorage::All,
                };
                // Disks that libvirt does not copy are in a folder that both hosts were seen to share, or at a server by then.
                (copies, !order.disks.is_empty() && copies == CopyStorage::None)
            }
        };
        let xml = files.paths.first().map(|file| file.display().to_string());
        let migration = Migration {
            settings: &from.settings,
            strategy: order.strategy,
            transport: order.transport,
            journey: order.journey,
            uuid: &source.uuid,
            peer: &peer,
            address: to.migration_address(),
            is_persistent: from.is_persistent(&source.uuid)?,
            xml: xml.as_deref(),
            copy_storage,
            is_unsafe,
        };
        if migration.is_defined_there() {
            keep_definition(to, &source)?;
        }
        let words = migration.words();
        let readers = |side, virsh: &Virsh| {
            let hearing = Hearing {
                side,
                host: Arc::clone(&virsh.host),
                vm: source.id.clone(),
                name: source.name.clone(),
                events: order.events.clone(),
                job: Arc::clone(&job),
            };
            Readers::start(virsh, &hearing)
        };
        let readers = [readers(Side::Source, &from.virsh)?, readers(Side::Destination, &to.virsh)?];
        let mover = Self {
            follower: None,
            _readers: readers,
            arrived: None,
            destination: to.virsh.clone(),
            made,
            disks_first,
            settings: from.settings.clone(),
            words,
            _files: files,
            events: order.events.clone(),
            job,
            arrives_stopped: matches!(order.strategy, Strategy::Suspend { .. }),
            has_begun: false,
            asked: asked(&from.settings, order),
            limits: Limits::new(Arc::clone(&source)),
            source,
        };
        if from.settings.mode == Mode::Direct {
            let text = "the migration is direct: it hangs on the life of virsh and of our connection to it";
            mover.tell(EventKind::Warning { text: text.into() });
        }
        Ok(mover)
    }

    fn tell(&self, kind: EventKind) {
        let (host, vm) = (Some(self.source.host().clone()), Some(self.source.id.clone()));
        // Nobody listens any more where the trial has ended.
        let _ = self.events.send(Event { t_ns: now_ns(), host, vm, kind });
    }

    fn at_source(&self, args: &[&str]) -> Result<()> {
        self.source.virsh.say(args, ACT_LIMIT).map(drop)
    }

    fn cancel(&self) -> Result<()> {
        let in_post_copy = {
            let mut job = lock(&self.job);
            job.cancel_asked |= !job.is_in_post_copy;
            job.is_in_post_copy
        };
        if in_post_copy {
            return Err(HypervisorError::Refused {
                host: self.source.host().clone(),
                command: "virsh domjobabort".into(),
                description: "it is in post-copy: each host has a part of the VM".into(),
            });
        }
        match self.at_source(&["domjobabort", &self.source.uuid]) {
            // It comes before QEMU's migration, and is asked for again as long as the command runs.
            Err(HypervisorError::Refused { .. }) if self.is_under_way() => Ok(()),
            done => done,
        }
    }

    fn is_under_way(&self) -> bool {
        self.has_begun && lock(&self.job).end.is_none()
    }

    fn hold_source(&self) -> Result<()> {
        if self.has_begun && !self.arrives_stopped {
            return Err(unsupported(Act::HoldSource, "libvirt would let it run again at the destination"));
        }
        self.source.stop()
    }

    fn ask_there(&mut self) -> Presence {
        let asked = super::vm::ask(&self.destination, &self.source.uuid);
        let (condition, word) = match asked {
            Ok(asked) => (asked.condition, asked.word),
            Err(error) => {
                return Presence { seen: Seen::Silent, word: dunlin_record::in_one_line(&error) };
            }
        };
        let seen = match condition {
            Some(Condition::Running) => Seen::Runs,
            Some(Condition::Stopped) => Seen::Holds,
            Some(Condition::Incoming) => Seen::Waits,
            // It appears there only when libvirt has prepared its place.
            None | Some(Condition::Ended) if self.is_under_way() => Seen::Waits,
            None | Some(Condition::Ended) => Seen::Gone,
        };
        if seen == Seen::Runs && self.is_given_up() {
            return self.part_copies(word);
        }
        if matches!(seen, Seen::Runs | Seen::Holds) && self.arrived.is_none() {
            let made = self.made.take();
            self.arrived = Some(self.source.at(&self.destination, made));
        }
        Presence { seen, word }
    }

    /// Whether libvirt has given the VM back to the source.
    fn is_given_up(&self) -> bool {
        matches!(lock(&self.job).end, Some(MigrationState::Failed | MigrationState::Cancelled))
    }

    /// A destination whose daemon hung when the source's gave it up finds the order to let the VM run when it goes on
    /// (libvirt 9.0, measured). The source's copy is the one that went on: the other one is stopped, and kept.
    fn part_copies(&mut self, word: String) -> Presence {
        let here = super::vm::ask(&self.source.virsh, &self.source.uuid);
        if !here.is_ok_and(|asked| asked.condition == Some(Condition::Running)) {
            return Presence { seen: Seen::Runs, word };
        }
        let stopped = self.destination.say(&["suspend", &self.source.uuid], ACT_LIMIT);
        let text = match &stopped {
            Ok(_) => "two copies ran: libvirt had given the VM back to its source, and let the destination's run too; that one \
                      was stopped, and is still there"
                .to_owned(),
            Err(error) => format!("two copies run, and the destination's cannot be stopped: {error}"),
        };
        self.tell(EventKind::Warning { text });
        match stopped {
            Ok(_) => Presence { seen: Seen::Waits, word: "its copy there was stopped".into() },
            Err(_) => Presence { seen: Seen::Runs, word },
        }
    }
}

impl Mover for LibvirtMover {
    fn is_managed(&self) -> bool {
        true
    }

    fn vm(&self) -> &VmId {
        &self.source.id
    }

    fn host(&self, side: Side) -> &HostId {
        match side {
            Side::Source => self.source.host(),
            Side::Destination => self.destination.host.id(),
        }
    }

    fn handle(&self, side: Side) -> Option<&dyn Vm> {
        match side {
            Side::Source => Some(&*self.source),
            Side::Destination => self.arrived.as_ref().map(|vm| vm as &dyn Vm),
        }
    }

    fn begin(&mut self) -> Result<()> {
        if let Some(ms) = self.settings.downtime_limit_ms {
            self.limits.set_downtime(ms)?;
        }
        let host = &self.source.virsh.host;
        let stderr = host.scratch().join(format!("{}-{}.stderr", self.source.uuid, now_ns()));
        let (program, args) = self.source.virsh.words(&self.words);
        let launch = Launch {
            program: program.to_owned(),
            args,
            stdout: Path::new("/dev/null").to_owned(),
            stderr: stderr.clone(),
        };
        self.has_begun = true;
        // Where it is not known whether it was started, what comes of it is looked for as of one that was lost.
        let command = host.launch(launch).map_err(|error| dunlin_record::in_one_line(&error));
        self.follower = Some(Follower::start(Followed {
            source: self.source.virsh.clone(),
            destination: self.destination.clone(),
            uuid: self.source.uuid.clone(),
            vm: self.source.id.clone(),
            events: self.events.clone(),
            job: Arc::clone(&self.job),
            command,
            stderr,
        })?);
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<()> {
        let uuid = self.source.uuid.clone();
        match act {
            Act::HoldSource => self.hold_source(),
            Act::StopSource => self.source.stop(),
            Act::SwitchToPostCopy => self.at_source(&["migrate-postcopy", &uuid]),
            Act::SetDowntimeLimit { limit } => {
                self.limits.set_downtime(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
            }
            Act::SetBandwidth { bytes_s: Some(0) } => {
                Err(unsupported(act, "nothing would move by 0 bytes a second"))
            }
            Act::SetBandwidth { bytes_s } => {
                // libvirt's greatest is "none" (virsh, migrate-setspeed); it counts in MiB.
                let mib_s = bytes_s.map_or(8_796_093_022_207, |bytes_s| (bytes_s >> 20).max(1));
                self.limits.set_bandwidth(mib_s)
            }
            Act::Cancel => self.cancel(),
            Act::Resume(Side::Source) => self.source.resume(),
            Act::Resume(Side::Destination) => match &self.arrived {
                Some(vm) => vm.resume(),
                None => self.destination.say(&["resume", &uuid], ACT_LIMIT).map(drop),
            },
            other => Err(unsupported(other, "libvirt sees to it by itself")),
        }
    }

    fn progress(&mut self) -> Result<Progress> {
        if !self.has_begun {
            return Ok(Progress::default());
        }
        lock(&self.job).tell(now_ns()).map_err(|Untold { for_ns }| HypervisorError::Timeout {
            host: self.source.host().clone(),
            waiting_for: "libvirt to say how far its job is".into(),
            after_s: for_ns as f64 / 1e9,
        })
    }

    fn check(&mut self) -> Result<()> {
        match &lock(&self.job).ended_there {
            Some(how) => Err(HypervisorError::Ended {
                vm: self.source.id.clone(),
                host: self.source.host().clone(),
                how: how.clone(),
                words: String::new(),
                by_us: false,
            }),
            None => Ok(()),
        }
    }

    fn ask(&mut self, side: Side) -> Presence {
        if side == Side::Destination {
            return self.ask_there();
        }
        let presence = Presence::of(&*self.source);
        match presence.seen {
            // At the source libvirt calls it so in the switch-over: it is all there, and stopped.
            Seen::Waits => Presence { seen: Seen::Holds, ..presence },
            _ => presence,
        }
    }

    fn report(&mut self) -> Result<HypervisorReport> {
        let until = Deadline::after(REPORT_LIMIT);
        let mut told_before: Option<Counters> = None;
        loop {
            let told = lock(&self.job).completed.clone();
            // Its counters come line by line, those of what only some migrations do last.
            let is_whole =
                |counters: &Counters| counters.contains_key("disk_remaining") && told_before == told;
            if let Some(counters) = told.as_ref().filter(|counters| is_whole(counters)) {
                return Ok(stats::report(counters));
            }
            if until.passed() {
                break;
            }
            told_before = told;
            std::thread::sleep(until.step(Duration::from_millis(20)));
        }
        let args = ["domjobinfo", &self.source.uuid, "--completed", "--keep-completed", "--rawstats"];
        let said = self.destination.say(&args, ASK_LIMIT)?;
        Ok(stats::report(&JobInfo::read(&said).counters))
    }

    fn mechanisms(&mut self) -> Result<Vec<MechanismSeen>> {
        let job = lock(&self.job);
        // The last word knows of what came after the last question.
        let last = |name: &str| job.completed.as_ref().and_then(|counters| counters.get(name).copied());
        let throttle_percent = job.throttle_percent.max(last("auto_converge_throttle"));
        let xbzrle_pages = job.xbzrle_pages.max(last("compression_pages"));
        let is_through = job.end == Some(MigrationState::Completed);
        let told = |name: &str, value: Option<i64>| match value {
            Some(value) => format!("{name}: {value}"),
            None => format!("{name}: not told"),
        };
        Ok(self
            .asked
            .iter()
            .map(|&mechanism| {
                let (used, evidence) = match mechanism {
                    Mechanism::Throttle => {
                        // libvirt leaves the counter out as long as nothing is slowed.
                        let used = Some(throttle_percent.unwrap_or(0) > 0);
                        (used, told("auto_converge_throttle", throttle_percent))
                    }
                    Mechanism::Compression => {
                        (xbzrle_pages.map(|pages| pages > 0), told("compression_pages", xbzrle_pages))
                    }
                    // A destination that wants TLS takes nothing else.
                    Mechanism::Tls => (is_through.then_some(true), "libvirt was asked for --tls".into()),
                    _ => (None, "libvirt does not tell".into()),
                };
                MechanismSeen { mechanism, used, evidence }
            })
            .chain(self.disks_first.as_ref().and_then(Copies::rate_seen))
            .collect())
    }

    fn disks(&mut self) -> Option<&mut dyn DiskCopies> {
        let disks: &mut dyn DiskCopies = self.disks_first.as_mut()?;
        Some(disks)
    }
}

impl Drop for LibvirtMover {
    fn drop(&mut self) {
        self.follower = None;
        for text in self.limits.restore() {
            self.tell(EventKind::Warning { text });
        }
        // What is left of ours at a destination where it never came to be known goes as one that did, before its will does.
        if let Some(made) = self.made.take()
            && self.has_begun
        {
            drop(self.source.at(&self.destination, Some(made)));
        }
    }
}

/// Files on a host that are removed with this, also where what they were for comes to nothing.
struct Files {
    host: Arc<dyn Host>,
    paths: Vec<PathBuf>,
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.paths {
            let _ = self.host.remove(path);
        }
    }
}

/// Refuses to replace a definition that the destination has of its own: what it says is nowhere else.
fn keep_definition(to: &LibvirtHypervisor, source: &Handle) -> Result<()> {
    if !to.is_persistent(&source.uuid)? {
        return Ok(());
    }
    Err(HypervisorError::Refused {
        host: to.virsh.host.id().clone(),
        command: "virsh migrate --persistent".into(),
        description: format!(
            "it has a definition of {} of its own, which would be replaced: undefine it there, if nobody needs it (virsh undefine \
             {}), or leave it as it is (libvirt.persistent = false)",
            source.name, source.uuid
        ),
    })
}

fn unsupported(act: Act, because: &str) -> HypervisorError {
    HypervisorError::Unsupported { what: act.name().into(), because: because.into() }
}

/// Which mechanisms were asked for.
fn asked(settings: &LibvirtSettings, order: &MoveOrder<'_>) -> Vec<Mechanism> {
    let all = [
        (order.transport.channels.is_some(), Mechanism::Channels),
        (settings.xbzrle || order.transport.compression.is_some(), Mechanism::Compression),
        (order.transport.kind == dunlin_record::TransportKind::Tls, Mechanism::Tls),
        (settings.auto_converge, Mechanism::Throttle),
    ];
    all.into_iter().filter_map(|(is_asked, mechanism)| is_asked.then_some(mechanism)).collect()
}
