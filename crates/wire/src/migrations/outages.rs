//! For how long services were gone: silences that stand out of those before.

use dunlin_record::{Service, Silence, WireOutage};

use super::moved::Announced;
use super::{Files, MS, SETTLE_NS, Span};

/// More than so many are of no use to anybody.
const MOST_OUTAGES: usize = 32;
/// As long before a migration what is usual is looked for, as a run's record has it.
const BASELINE_NS: i64 = 1_000_000_000;
/// A service that was not asked is not gone; one request precedes every answer.
const LEAST_REQUESTS: u64 = 2;

/// An outage is so many times as long as what is usual: less is chance.
const MARGIN: f64 = 2.0;

/// What an outage has to stand out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usual {
    /// The silences shortly before the migration's begin: what came long before may be a start.
    Before,
    /// All others, where its begin is not known.
    Others,
}

/// The outages of those that moved, in a time and shortly after it: of each service the longest, the longest first. Where
/// nobody is known to have moved, of all that answered but the hosts.
pub(super) fn of(
    files: Files<'_>,
    span: Span,
    moved: &[Announced],
    hosts: &[String],
    usual: Usual,
) -> Vec<WireOutage> {
    let mut all: Vec<WireOutage> = Vec::new();
    for (file, account) in files.accounts() {
        let Some(shift_ns) = files.shift_ns(file, span.file) else { continue };
        for service in account.services.iter().filter(|service| is_of(service, moved, hosts)) {
            let Some(outage) = outage(service, span, shift_ns, usual) else { continue };
            let outage = WireOutage { file: files.name(file, span.file), ..outage };
            match all.iter_mut().find(|known| is_same(known, &outage)) {
                // Seen at several places, it is told by the one that saw its end, and most of it.
                Some(known) if is_better(&outage, known) => *known = outage,
                Some(_) => {}
                None => all.push(outage),
            }
        }
    }
    all.sort_by(|one, other| other.outage_ms.total_cmp(&one.outage_ms));
    all.truncate(MOST_OUTAGES);
    all
}

/// How many services that could have had one were asked and answered.
pub(super) fn watched(files: Files<'_>, span: Span, moved: &[Announced], hosts: &[String]) -> u64 {
    let of_time = files.accounts().filter(|(file, _)| files.shift_ns(*file, span.file).is_some());
    let services = of_time.flat_map(|(_, account)| &account.services);
    services.filter(|service| service.requests > 0 && is_of(service, moved, hosts)).count() as u64
}

/// Whether any service of those is known.
pub(super) fn is_any_known(files: Files<'_>, moved: &[Announced]) -> bool {
    files.accounts().any(|(_, account)| account.services.iter().any(|service| is_of(service, moved, &[])))
}

fn is_of(service: &Service, moved: &[Announced], hosts: &[String]) -> bool {
    if moved.is_empty() {
        return !hosts.contains(&service.address);
    }
    moved.iter().any(|one| {
        service.mac.as_ref() == Some(&one.mac) && !one.mac.is_empty()
            || one.addresses.contains(&service.address)
    })
}

fn outage(service: &Service, span: Span, shift_ns: i64, usual: Usual) -> Option<WireOutage> {
    let interval_ns = service.interval_ms * MS;
    let missing_ns =
        |silence: &Silence| (silence.end_ns.saturating_sub(silence.begin_ns) as f64 - interval_ns).max(0.0);
    let begins_ns = |silence: &Silence| silence.begin_ns.saturating_add(shift_ns);
    let ends_ns = |silence: &Silence| silence.end_ns.saturating_add(shift_ns);
    let last_ns = span.end_ns.saturating_add(SETTLE_NS);
    let overlaps = |silence: &&Silence| ends_ns(silence) > span.begin_ns && begins_ns(silence) < last_ns;
    let longest = service
        .silences
        .iter()
        .filter(overlaps)
        .max_by(|one, other| missing_ns(one).total_cmp(&missing_ns(other)))?;
    // A second before may have none: then what usually passes until an answer comes is what is usual.
    let others = service.silences.iter().filter(|silence| match usual {
        Usual::Before => {
            ends_ns(silence) <= span.begin_ns
                && begins_ns(silence) >= span.begin_ns.saturating_sub(BASELINE_NS)
        }
        Usual::Others => *silence != longest,
    });
    let usual_ns = others.map(missing_ns).max_by(f64::total_cmp);
    let least_ns = MARGIN * usual_ns.unwrap_or(0.0).max(service.usual_wait_ms * MS);
    let stands_out = missing_ns(longest) > least_ns.max(interval_ns);
    (stands_out && longest.requests >= LEAST_REQUESTS).then(|| WireOutage {
        what: service.what.clone(),
        address: service.address.clone(),
        client: service.client.clone(),
        outage_ms: missing_ns(longest) / MS,
        begin_ms: begins_ns(longest) as f64 / MS,
        end_ms: ends_ns(longest) as f64 / MS,
        interval_ms: service.interval_ms,
        usual_ms: usual_ns.map(|ns| ns / MS),
        requests: longest.requests,
        is_unfinished: longest.is_unfinished,
        file: None,
    })
}

fn is_same(one: &WireOutage, other: &WireOutage) -> bool {
    (&one.what, &one.address, &one.client) == (&other.what, &other.address, &other.client)
}

fn is_better(one: &WireOutage, other: &WireOutage) -> bool {
    let key = |outage: &WireOutage| (!outage.is_unfinished, outage.outage_ms);
    let ((one_ends, one_ms), (other_ends, other_ms)) = (key(one), key(other));
    (one_ends && !other_ends) || (one_ends == other_ends && one_ms > other_ms)
}
