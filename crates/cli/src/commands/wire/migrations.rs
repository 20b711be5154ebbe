//! What looks like migrations, as people read it.

use std::fmt::Write as _;

use dunlin_record::{AnnouncementKind, MigrationEvidence, Moved, WireMigration, WireOutage};
use dunlin_report::number;

use super::page::bytes;

/// More than so many are listed by `--json` only.
const MOST_MIGRATIONS: usize = 20;
const MOST_OUTAGES: usize = 6;

/// All of a file; nothing where there are none.
pub(super) fn text(all: &[WireMigration]) -> String {
    let mut text = String::new();
    for one in all.iter().take(MOST_MIGRATIONS) {
        text.push('\n');
        text += &migration(one);
    }
    if all.len() > MOST_MIGRATIONS {
        let _ = writeln!(text, "\nand {} more migrations: --json has them all", all.len() - MOST_MIGRATIONS);
    }
    text
}

fn migration(one: &WireMigration) -> String {
    let mut text = match &one.hosts {
        Some([from, to]) => format!("{} from {from} to {to}", title(one.evidence)),
        None => title(one.evidence).to_owned(),
    };
    if let (Some(begin_ms), Some(end_ms)) = (one.begin_ms, one.end_ms) {
        let _ = write!(
            text,
            ": {} ms, from {} to {} ms; {} of payload in {}",
            number(end_ms - begin_ms),
            number(begin_ms),
            number(end_ms),
            bytes(one.goodput_bytes),
            conversations(&one.conversations)
        );
    }
    text.push('\n');
    for moved in &one.moved {
        let _ = writeln!(text, "  said to be there: {}", announced(moved));
    }
    for outage in one.outages.iter().take(MOST_OUTAGES) {
        let _ = writeln!(text, "  gone: {}", gone(outage));
    }
    if one.outages.len() > MOST_OUTAGES {
        let _ =
            writeln!(text, "  and {} more services: --json has them all", one.outages.len() - MOST_OUTAGES);
    }
    if one.watched == 0 {
        text.push_str("  gone: not known, as no service of it is in this file\n");
    } else if one.outages.is_empty() {
        text.push_str("  gone: nothing here that was asked meanwhile fell silent for longer than before\n");
    }
    text
}

fn title(evidence: MigrationEvidence) -> &'static str {
    match evidence {
        MigrationEvidence::QemuStream => "a migration (QEMU's stream)",
        MigrationEvidence::XenStream => "a migration (Xen's stream)",
        MigrationEvidence::BulkAndAnnouncement => {
            "a migration (a bulk transfer, and a VM that said it has moved)"
        }
        MigrationEvidence::Bulk => "perhaps a migration (a bulk transfer, which may be anything)",
        MigrationEvidence::Announcement => "a migration (a VM said that it has moved; how, was not captured)",
    }
}

/// As JSON has it.
pub(super) fn evidence(evidence: MigrationEvidence) -> &'static str {
    match evidence {
        MigrationEvidence::QemuStream => "qemu-stream",
        MigrationEvidence::XenStream => "xen-stream",
        MigrationEvidence::BulkAndAnnouncement => "bulk-and-announcement",
        MigrationEvidence::Bulk => "bulk",
        MigrationEvidence::Announcement => "announcement",
    }
}

fn conversations(numbers: &[u64]) -> String {
    match numbers {
        [only] => format!("conversation #{only}"),
        [first, .., last] => format!("{} conversations, #{first} to #{last}", numbers.len()),
        [] => "no conversation".into(),
    }
}

fn announced(moved: &Moved) -> String {
    let kinds: Vec<&str> = moved
        .kinds
        .iter()
        .map(|kind| match kind {
            AnnouncementKind::GratuitousArp => "gratuitous ARP",
            AnnouncementKind::Rarp => "RARP",
            AnnouncementKind::NeighborAdvertisement => "neighbor advertisement",
        })
        .collect();
    let addresses =
        if moved.addresses.is_empty() { String::new() } else { format!(" ({})", moved.addresses.join(", ")) };
    let times =
        if moved.announcements == 1 { "once".into() } else { format!("{} times", moved.announcements) };
    format!(
        "{}{addresses}, by {}, {times} from {} ms{}",
        moved.mac,
        kinds.join(", "),
        number(moved.first_ms),
        in_file(moved.file.as_ref())
    )
}

fn gone(outage: &WireOutage) -> String {
    let at_least = if outage.is_unfinished { "at least " } else { "" };
    let usual = match outage.usual_ms {
        Some(usual_ms) => format!(", before that silent for {} ms at most", number(usual_ms)),
        None => String::new(),
    };
    format!(
        "{} of {}, asked by {}: {at_least}{} ms, from {} to {} ms, {} requests meanwhile; answers usually come every {} ms{usual}{}",
        outage.what,
        outage.address,
        outage.client,
        number(outage.outage_ms),
        number(outage.begin_ms),
        number(outage.end_ms),
        outage.requests,
        number(outage.interval_ms),
        in_file(outage.file.as_ref())
    )
}

fn in_file(file: Option<&String>) -> String {
    file.map_or_else(String::new, |file| format!(" (in {file})"))
}
