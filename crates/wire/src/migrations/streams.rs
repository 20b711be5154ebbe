//! Streams that carry a migration: by their heads, or else what went one way for long.

use std::collections::HashMap;

use dunlin_record::{Conversation, Flow, MigrationEvidence, StreamKind, WireAccount};

use super::moved::Announced;
use super::{Files, Span};

/// Less payload than that moves no VM.
const LEAST_BYTES: u64 = 1 << 20;
/// Of the payload of both directions, a migration's own has this share at least.
const LEAST_SHARE: f64 = 0.9;
/// A bulk transfer counts if it is this share of all TCP payload of its file.
const LEAST_OF_FILE: f64 = 0.25;
/// No VM moves in less.
const LEAST_MS: f64 = 20.0;

/// More of one sender to one listener at once are no migrations.
const MOST_AT_ONCE: usize = 4;
/// As many migrations are told of a file.
const MOST_CARRIED: usize = 1000;

/// What carried a migration: a conversation, or several channels to one listener.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub(super) file: usize,
    pub(super) evidence: MigrationEvidence,
    /// The sender's address, without its port.
    pub(super) from: String,
    /// The other end, with its port: the listener, unless that is who sends.
    pub(super) to: String,
    pub(super) begin_ns: i64,
    pub(super) end_ns: i64,
    pub(super) goodput_bytes: u64,
    pub(super) conversations: Vec<u64>,
    pub(super) moved: Vec<Announced>,
}

impl Carried {
    pub(super) fn span(&self) -> Span {
        Span { file: self.file, begin_ns: self.begin_ns, end_ns: self.end_ns }
    }

    /// Of both hosts, without ports.
    pub(super) fn addresses(&self) -> [String; 2] {
        [self.from.clone(), host(&self.to).to_owned()]
    }

    fn add(&mut self, one: &Conversation) {
        self.begin_ns = self.begin_ns.min(ns(one.start_ms));
        self.end_ns = self.end_ns.max(ns(one.end_ms));
        self.goodput_bytes += one.overhead.goodput_bytes;
        self.conversations.push(one.number);
    }
}

/// All that carry one, in the order of their begin; where any begins like a migration, only those.
pub(super) fn carried(files: Files<'_>) -> Vec<Carried> {
    let mut all: Vec<Carried> = Vec::new();
    for (file, account) in files.accounts() {
        for one in grouped(file, account) {
            // Seen at both hosts it is one; the first file tells it.
            if !all.iter().any(|known| is_same(files, known, &one)) {
                all.push(one);
            }
        }
    }
    let is_known = |one: &Carried| one.evidence != MigrationEvidence::Bulk;
    if all.iter().any(is_known) {
        all.retain(is_known);
    }
    all
}

fn is_same(files: Files<'_>, one: &Carried, other: &Carried) -> bool {
    one.file != other.file
        && (&one.from, &one.to) == (&other.from, &other.to)
        && files.shift_ns(other.file, one.file).is_some_and(|shift_ns| {
            other.begin_ns.saturating_add(shift_ns) <= one.end_ns
                && one.begin_ns <= other.end_ns.saturating_add(shift_ns)
        })
}

/// Conversations of one file, channels to one listener together.
fn grouped(file: usize, account: &WireAccount) -> Vec<Carried> {
    let mut conversations: Vec<&Conversation> = account.conversations.iter().collect();
    conversations.sort_by(|one, other| one.start_ms.total_cmp(&other.start_ms));
    let mut groups: Vec<(Carried, Vec<&Conversation>)> = Vec::new();
    // By sender and listener.
    let mut places: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for one in conversations {
        let is_head = begins_qemu(one);
        let of_ends = places.entry((host(&one.a), one.b.as_str())).or_default();
        let fits = |place: &&usize| {
            let (group, members) = &groups[**place];
            // A second one of these begins another migration.
            ns(one.start_ms) <= group.end_ns && !(is_head && members.iter().any(|one| begins_qemu(one)))
        };
        match of_ends.iter().rev().take(MOST_AT_ONCE).find(fits) {
            Some(place) => {
                let (group, members) = &mut groups[*place];
                group.add(one);
                members.push(one);
            }
            None => {
                let mut group = Carried {
                    file,
                    evidence: MigrationEvidence::Bulk,
                    from: host(&one.a).to_owned(),
                    to: one.b.clone(),
                    begin_ns: i64::MAX,
                    end_ns: i64::MIN,
                    goodput_bytes: 0,
                    conversations: Vec::new(),
                    moved: Vec::new(),
                };
                group.add(one);
                of_ends.push(groups.len());
                groups.push((group, vec![one]));
            }
        }
    }
    groups
        .into_iter()
        .filter_map(|(group, members)| {
            let evidence = evidence(&members, account)?;
            let (from, to) = direction(&members).unwrap_or((group.from, group.to));
            Some(Carried { evidence, from, to, ..group })
        })
        .take(MOST_CARRIED)
        .collect()
}

/// From where to where, if it is against how it was opened, or seems to have been: who sends says so by its stream's head, or else
/// by sending most.
fn direction(members: &[&Conversation]) -> Option<(String, String)> {
    let begins = |flow: &Flow| flow.begins_as.is_some_and(StreamKind::is_migration);
    let begin =
        [members.iter().any(|one| begins(&one.from_a)), members.iter().any(|one| begins(&one.from_b))];
    let sent = |pick: fn(&Conversation) -> &Flow| -> u64 {
        members.iter().map(|one| pick(one).overhead.goodput_bytes).sum()
    };
    let is_from_b = match begin {
        [false, false] => sent(|one| &one.from_b) > sent(|one| &one.from_a),
        [is_from_a, is_from_b] => is_from_b && !is_from_a,
    };
    let first = members.first().filter(|_| is_from_b)?;
    Some((host(&first.b).to_owned(), first.a.clone()))
}

fn begins_qemu(one: &Conversation) -> bool {
    kinds(one).contains(&Some(StreamKind::QemuMigration))
}

fn evidence(members: &[&Conversation], account: &WireAccount) -> Option<MigrationEvidence> {
    let mut all = members.iter().flat_map(|one| kinds(one)).flatten();
    match all.clone().find(|kind| kind.is_migration()) {
        Some(StreamKind::XenMigration) => return Some(MigrationEvidence::XenStream),
        Some(_) => return Some(MigrationEvidence::QemuStream),
        None => {}
    }
    let is_other = all.any(|kind| matches!(kind, StreamKind::Http | StreamKind::Nbd));
    let sum = |pick: fn(&Conversation) -> &Flow| -> u64 {
        members.iter().map(|one| pick(one).overhead.goodput_bytes).sum()
    };
    let (from_a, from_b) = (sum(|one| &one.from_a), sum(|one| &one.from_b));
    let (most, all_bytes) = (from_a.max(from_b), from_a + from_b);
    let begin_ms = members.iter().map(|one| one.start_ms).fold(f64::INFINITY, f64::min);
    let end_ms = members.iter().map(|one| one.end_ms).fold(f64::NEG_INFINITY, f64::max);
    let is_bulk = !is_other
        && most >= LEAST_BYTES
        && most as f64 >= LEAST_SHARE * all_bytes as f64
        && all_bytes as f64 >= LEAST_OF_FILE * account.overhead.goodput_bytes as f64
        && end_ms - begin_ms >= LEAST_MS;
    is_bulk.then_some(MigrationEvidence::Bulk)
}

fn kinds(one: &Conversation) -> [Option<StreamKind>; 2] {
    [one.from_a.begins_as, one.from_b.begins_as]
}

/// An end without its port.
fn host(end: &str) -> &str {
    let address = end.rsplit_once(':').map_or(end, |(address, _)| address);
    address.trim_start_matches('[').trim_end_matches(']')
}

fn ns(ms: f64) -> i64 {
    (ms * 1e6).round() as i64
}
