//! What of a lab can be seen from outside: its processes, its namespaces by whoever refers to them, its mounts.

use std::collections::BTreeSet;
use std::fs;

use nix::unistd::Pid;

/// A lab's namespaces, as in `net:[4026531840]`, told by itself; the first is its pid namespace.
pub(crate) struct Traces {
    namespaces: Vec<String>,
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

impl Traces {
    /// Of the lab that said `ready`, followed by its namespaces.
    pub(crate) fn new(ready: &str) -> Self {
        Self { namespaces: ready.split_whitespace().skip(1).map(str::to_owned).collect() }
    }

    /// Looks through all processes of the machine.
    pub(crate) fn find(&self) -> Found {
        let ids = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let mut found = Found { processes: Vec::new(), namespaces: BTreeSet::new(), mounts: 0 };
        for id in ids {
            let links = |folder: &str| {
                let entries = fs::read_dir(format!("/proc/{id}/{folder}")).into_iter().flatten().flatten();
                entries
                    .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_str()?.to_owned()))
                    .collect::<Vec<_>>()
            };
            let mine = links("ns");
            if mine.contains(&self.namespaces[0]) {
                found.processes.push(id);
            }
            found
                .namespaces
                .extend(mine.into_iter().chain(links("fd")).filter(|link| self.namespaces.contains(link)));
            let mounts = fs::read_to_string(format!("/proc/{id}/mountinfo")).unwrap_or_default();
            for line in mounts.lines() {
                // A namespace that is bound to a name shows as the root of its mount.
                found.namespaces.extend(self.namespaces.iter().filter(|name| line.contains(*name)).cloned());
            }
            found.mounts +=
                mounts.lines().filter(|line| self.namespaces.iter().any(|name| line.contains(name))).count();
        }
        found
    }
}
