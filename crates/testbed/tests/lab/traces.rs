//! What of a lab can be seen from outside: its processes, its namespaces by whoever refers to them, its mounts.

use std::collections::BTreeSet;
use std::fs;

use nix::unistd::Pid;

/// A lab's namespaces, as in `net:[4026531840]`, told by itself.
pub(crate) struct Traces {
    namespaces: Vec<String>,
    /// When they were told, in ticks since boot. A process that began later is another lab's: the kernel gives the
    /// numbers of ended namespaces to new ones at once.
    told_ticks: u64,
}

/// What was found of a lab.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) processes: Vec<u32>,
    pub(crate) namespaces: BTreeSet<String>,
    pub(crate) mounts: usize,
}

impl Found {
    pub(crate) fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.namespaces.is_empty() && self.mounts == 0
    }

    /// The lab's first process.
    pub(crate) fn inner(&self, lab: &str) -> Option<Pid> {
        let title = format!("dunlin-lab:{lab}\0");
        let is_it = |id: &&u32| {
            fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|words| words.starts_with(&title))
        };
        self.processes.iter().find(is_it).map(|id| Pid::from_raw(*id as i32))
    }
}

/// Whether a process runs that has this argument.
pub(crate) fn runs(argument: &str) -> bool {
    let has = |id: u32| {
        let words = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    };
    processes().any(has)
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

impl Traces {
    /// Of the lab that said `ready`, followed by its namespaces.
    pub(crate) fn new(ready: &str) -> Self {
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let uptime_s: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
        // The kernel's USER_HZ, which is 100 everywhere. Two decimals times 100 may be a hair less than whole.
        let told_ticks = (uptime_s * 100.0).round() as u64;
        Self { namespaces: ready.split_whitespace().skip(1).map(str::to_owned).collect(), told_ticks }
    }

    /// How many namespaces were told.
    pub(crate) fn told(&self) -> usize {
        self.namespaces.iter().collect::<BTreeSet<_>>().len()
    }

    /// Looks through all processes of the machine.
    pub(crate) fn find(&self) -> Found {
        let mut found = Found { processes: Vec::new(), namespaces: BTreeSet::new(), mounts: 0 };
        for id in processes().filter(|id| started_ticks(*id).is_some_and(|ticks| ticks <= self.told_ticks)) {
            let own = links(id, "ns");
            // Nodes have pid namespaces of their own, within the lab's.
            if own.iter().any(|link| link.starts_with("pid:") && self.namespaces.contains(link)) {
                found.processes.push(id);
            }
            let referred = own.into_iter().chain(links(id, "fd"));
            found.namespaces.extend(referred.filter(|link| self.namespaces.contains(link)));
            // A namespace that is bound to a name shows as the root of its mount.
            let mounts = fs::read_to_string(format!("/proc/{id}/mountinfo")).unwrap_or_default();
            for name in &self.namespaces {
                let count = mounts.lines().filter(|line| line.contains(name)).count();
                found.mounts += count;
                found.namespaces.extend((count > 0).then(|| name.clone()));
            }
        }
        found
    }
}

fn links(id: u32, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{id}/{folder}")).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_str()?.to_owned())).collect()
}

/// Field 22 of proc_pid_stat(5); the second, in parentheses, may hold anything.
fn started_ticks(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
