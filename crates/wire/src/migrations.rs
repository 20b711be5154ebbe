//! Which migrations captures show: whose streams, who said that it has moved, and which services were gone meanwhile.
//!
//! A migration's stream, its VM's announcements and its VM's service often pass different interfaces, so that they are in
//! different files: they are put together by their stamps.

mod moved;
mod outages;
mod streams;

use dunlin_record::{MigrationEvidence, WireAccount, WireMigration};
use outages::Usual;

use moved::Announced;
use streams::Carried;

const MS: f64 = 1e6;

/// What looks like migrations in captures that were made of the same time, each told with its file: as many lists as files.
///
/// Times are those of the file in which a migration is told. Files without stamps of their own stand for themselves.
#[must_use]
pub fn find_migrations(files: &[(&str, &WireAccount)]) -> Vec<Vec<WireMigration>> {
    let files = Files(files);
    let mut told: Vec<Vec<WireMigration>> = files.0.iter().map(|_| Vec::new()).collect();
    let mut announced = moved::announced(files);
    let mut carried = streams::carried(files);
    for one in &mut carried {
        one.moved = moved::take_of(files, &mut announced, one.span());
    }
    // Where anything says that it is a migration, what may be anything is none.
    let is_sure = |one: &Carried| one.evidence != MigrationEvidence::Bulk || !one.moved.is_empty();
    if carried.iter().any(is_sure) {
        carried.retain(is_sure);
    }
    let mut hosts: Vec<String> = Vec::new();
    for one in carried {
        hosts.extend(one.addresses());
        told[one.file].push(tell_carried(files, one));
    }
    for moved in announced {
        let of_it = std::slice::from_ref(&moved);
        let mut span = moved.span();
        // What was told of an earlier one is not of this one too.
        let earlier = told_until_ns(files, &told, &moved).filter(|until_ns| *until_ns > span.begin_ns);
        span.begin_ns = earlier.unwrap_or(span.begin_ns);
        let outages = outages::of(files, span, of_it, &hosts, Usual::Others);
        // Who comes up says where it is too, and a hypervisor says so of every VM that it resumes.
        let may_be = moved.is_by_hypervisor() && !outages::is_any_known(files, of_it);
        if may_be || !outages.is_empty() {
            told[moved.file].push(WireMigration {
                evidence: MigrationEvidence::Announcement,
                hosts: None,
                conversations: Vec::new(),
                goodput_bytes: 0,
                begin_ms: None,
                end_ms: None,
                watched: outages::watched(files, span, of_it, &hosts),
                outages,
                moved: vec![moved.tell(files, moved.file)],
            });
        }
    }
    told
}

/// Until when all is told of those migrations that somebody said to have moved in before; in the time of its file.
fn told_until_ns(files: Files<'_>, told: &[Vec<WireMigration>], moved: &Announced) -> Option<i64> {
    let until_ns = |(file, one): (usize, &WireMigration)| {
        let shift_ns = files.shift_ns(file, moved.file)?;
        let ends_ms = one.outages.iter().map(|outage| outage.end_ms).chain(one.end_ms);
        let last_ms = ends_ms.max_by(f64::total_cmp)?;
        // Times in ms are rounded.
        Some(((last_ms * MS).round() as i64).saturating_add(shift_ns).saturating_add(1))
    };
    let all = told.iter().enumerate().flat_map(|(file, of_file)| of_file.iter().map(move |one| (file, one)));
    let of_it = all.filter(|(_, one)| one.moved.iter().any(|known| known.mac == moved.mac));
    of_it.filter_map(until_ns).filter(|until_ns| *until_ns <= moved.first_ns()).max()
}

fn tell_carried(files: Files<'_>, one: Carried) -> WireMigration {
    let evidence = match one.evidence {
        MigrationEvidence::Bulk if !one.moved.is_empty() => MigrationEvidence::BulkAndAnnouncement,
        evidence => evidence,
    };
    WireMigration {
        evidence,
        begin_ms: Some(one.begin_ns as f64 / MS),
        end_ms: Some(one.end_ns as f64 / MS),
        moved: one.moved.iter().map(|moved| moved.tell(files, one.file)).collect(),
        watched: outages::watched(files, one.span(), &one.moved, &one.addresses()),
        outages: outages::of(files, one.span(), &one.moved, &one.addresses(), Usual::Before),
        hosts: Some([one.from, one.to]),
        conversations: one.conversations,
        goodput_bytes: one.goodput_bytes,
    }
}

/// Captures of the same time, by name.
#[derive(Clone, Copy)]
struct Files<'a>(&'a [(&'a str, &'a WireAccount)]);

/// A time in a file, in nanoseconds after its first packet.
#[derive(Debug, Clone, Copy)]
struct Span {
    file: usize,
    begin_ns: i64,
    end_ns: i64,
}

impl<'a> Files<'a> {
    fn accounts(self) -> impl Iterator<Item = (usize, &'a WireAccount)> {
        self.0.iter().enumerate().map(|(file, (_, account))| (file, *account))
    }

    /// What is to be added to a time of a file to make it one of another; `None` where that is not known.
    fn shift_ns(self, from: usize, to: usize) -> Option<i64> {
        if from == to {
            return Some(0);
        }
        let start_ns = |file: usize| self.0.get(file).and_then(|(_, account)| account.start_epoch_ns);
        Some(start_ns(from)?.saturating_sub(start_ns(to)?))
    }

    /// A file's name, seen from another.
    fn name(self, of: usize, in_file: usize) -> Option<String> {
        self.0.get(of).filter(|_| of != in_file).map(|(name, _)| (*name).to_owned())
    }
}

/// Moments that other files' stamps are off by, and the time that what follows a migration takes.
const SETTLE_NS: i64 = 1_000_000_000;

impl Span {
    fn has(self, files: Files<'_>, file: usize, at_ns: i64) -> bool {
        files.shift_ns(file, self.file).is_some_and(|shift_ns| {
            (self.begin_ns..=self.end_ns.saturating_add(SETTLE_NS)).contains(&at_ns.saturating_add(shift_ns))
        })
    }
}

#[cfg(test)]
mod tests;
