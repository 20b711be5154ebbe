//! Who said that it has moved: announcements of one Ethernet address that follow each other.

use std::collections::BTreeMap;

use dunlin_record::{AnnouncementKind, Moved};

use super::{Files, MS, SETTLE_NS, Span};

/// Announcements that lie further apart are of different moves: QEMU repeats its own after 550 ms at most.
const WITHIN_NS: i64 = 1_000_000_000;
/// As long may a service be gone before its VM says that it is there again.
const BEFORE_NS: i64 = 30_000_000_000;

/// Announcements of one Ethernet address.
#[derive(Debug, Clone)]
pub(super) struct Announced {
    pub(super) file: usize,
    pub(super) mac: String,
    pub(super) addresses: Vec<String>,
    kinds: Vec<AnnouncementKind>,
    count: u64,
    first_ns: i64,
    last_ns: i64,
}

impl Announced {
    pub(super) fn is_by_hypervisor(&self) -> bool {
        self.kinds.contains(&AnnouncementKind::Rarp)
    }

    pub(super) fn first_ns(&self) -> i64 {
        self.first_ns
    }

    /// When it may have been gone.
    pub(super) fn span(&self) -> Span {
        Span {
            file: self.file,
            begin_ns: self.first_ns.saturating_sub(BEFORE_NS),
            // A span ends some time before what follows it does.
            end_ns: self.last_ns.saturating_sub(SETTLE_NS),
        }
    }

    pub(super) fn tell(&self, files: Files<'_>, in_file: usize) -> Moved {
        let shift_ns = files.shift_ns(self.file, in_file).unwrap_or(0);
        Moved {
            mac: self.mac.clone(),
            addresses: self.addresses.clone(),
            kinds: self.kinds.clone(),
            announcements: self.count,
            first_ms: self.first_ns.saturating_add(shift_ns) as f64 / MS,
            last_ms: self.last_ns.saturating_add(shift_ns) as f64 / MS,
            file: files.name(self.file, in_file),
        }
    }
}

/// All of all files, with the addresses that answered from their Ethernet addresses; those of one move are told once, by the
/// file that has them first.
pub(super) fn announced(files: Files<'_>) -> Vec<Announced> {
    let mut all: Vec<Announced> = Vec::new();
    for (file, account) in files.accounts() {
        let mut by_mac: BTreeMap<&str, Vec<&dunlin_record::Announcement>> = BTreeMap::new();
        for one in &account.announcements {
            by_mac.entry(&one.mac).or_default().push(one);
        }
        for (mac, mut of_mac) in by_mac {
            of_mac.sort_by_key(|one| one.at_ns);
            let mut groups: Vec<Announced> = Vec::new();
            for one in of_mac {
                match groups.last_mut().filter(|group| one.at_ns.saturating_sub(group.last_ns) <= WITHIN_NS) {
                    Some(group) => group.last_ns = one.at_ns,
                    None => groups.push(Announced {
                        file,
                        mac: mac.to_owned(),
                        addresses: Vec::new(),
                        kinds: Vec::new(),
                        count: 0,
                        first_ns: one.at_ns,
                        last_ns: one.at_ns,
                    }),
                }
                let Some(group) = groups.last_mut() else { continue };
                group.count += 1;
                group.kinds.push(one.kind);
                group.addresses.extend(one.address.clone());
            }
            all.extend(groups);
        }
    }
    for one in &mut all {
        let services = files.accounts().flat_map(|(_, account)| &account.services);
        let of_mac = services.filter(|service| service.mac.as_ref() == Some(&one.mac));
        one.addresses.extend(of_mac.map(|service| service.address.clone()));
        one.addresses.sort();
        one.addresses.dedup();
        one.kinds.sort();
        one.kinds.dedup();
    }
    let mut once: Vec<Announced> = Vec::new();
    for one in all {
        if !once.iter().any(|known| is_same(files, known, &one)) {
            once.push(one);
        }
    }
    once
}

fn is_same(files: Files<'_>, one: &Announced, other: &Announced) -> bool {
    one.file != other.file
        && one.mac == other.mac
        && files.shift_ns(other.file, one.file).is_some_and(|shift_ns| {
            let (first_ns, last_ns) =
                (other.first_ns.saturating_add(shift_ns), other.last_ns.saturating_add(shift_ns));
            first_ns.saturating_sub(WITHIN_NS) <= one.last_ns
                && one.first_ns.saturating_sub(WITHIN_NS) <= last_ns
        })
}

/// Takes those out that were made in this time, or shortly after it.
pub(super) fn take_of(files: Files<'_>, all: &mut Vec<Announced>, span: Span) -> Vec<Announced> {
    let (of_it, others) =
        std::mem::take(all).into_iter().partition(|one| span.has(files, one.file, one.first_ns));
    *all = others;
    of_it
}
