//! The words of a report: downtimes, floors, statuses and flags, each explained in a sentence.

use dunlin_analysis::Reading;
use dunlin_record::{DowntimeMs, Flag, Outcome, PreCopyLimits, ResponsePhases, Responses, Status};

use crate::format::{count, number};
use crate::unconverged;

/// One of the downtimes, which are never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Downtime {
    Reported,
    Paused,
    Icmp,
    Udp,
    Tcp,
    Http,
}

impl Downtime {
    /// All of them, in the order in which they are shown.
    pub(crate) const ALL: [Self; 6] =
        [Self::Reported, Self::Paused, Self::Icmp, Self::Udp, Self::Tcp, Self::Http];

    /// The four of every report, and those of other probes where a trial measured them.
    pub(crate) fn shown(outcomes: &[Outcome]) -> Vec<Self> {
        let measured = |downtime: &Self| outcomes.iter().any(|outcome| downtime.reading(outcome).is_some());
        Self::ALL
            .into_iter()
            .filter(|downtime| !matches!(downtime, Self::Tcp | Self::Http) || measured(downtime))
            .collect()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Paused => "paused",
            Self::Icmp => "icmp",
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Http => "http",
        }
    }

    pub(crate) fn of(self, outcome: &Outcome) -> Option<f64> {
        self.field(&outcome.downtime_ms)
    }

    /// The figure, or what bounds it.
    pub(crate) fn reading(self, outcome: &Outcome) -> Option<Reading> {
        Reading::of(self.of(outcome), self.at_most(outcome), self.at_least(outcome))
    }

    pub(crate) fn at_most(self, outcome: &Outcome) -> Option<f64> {
        self.field(&outcome.downtime_at_most_ms)
    }

    pub(crate) fn at_least(self, outcome: &Outcome) -> Option<f64> {
        self.field(&outcome.downtime_at_least_ms)
    }

    /// Whether an outside observer tells it, who may see no more than a bound.
    pub(crate) fn is_observed(self) -> bool {
        !matches!(self, Self::Reported | Self::Paused)
    }

    pub(crate) fn error_of(self, outcome: &Outcome) -> Option<f64> {
        self.field(&outcome.downtime_error_ms)
    }

    fn field(self, figures: &DowntimeMs) -> Option<f64> {
        match self {
            Self::Reported => figures.reported,
            Self::Paused => figures.paused,
            Self::Icmp => figures.icmp,
            Self::Udp => figures.udp,
            Self::Tcp => figures.tcp,
            Self::Http => figures.http,
        }
    }

    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Reported => "what the hypervisor itself says its downtime was.",
            Self::Paused => {
                "the time in which no vCPU ran, from the stop at the source to the start at the destination, by \
                 events put on one clock."
            }
            Self::Icmp => {
                "the longest outage seen by the ICMP probe, an outside observer that sends echo requests at a fixed \
                 interval: the gap between two answers, less one interval."
            }
            Self::Udp => {
                "the longest outage seen by the UDP probe, whose requests a program inside the guest answers, so \
                 that the guest's own work must go on too."
            }
            Self::Tcp => {
                "the longest wait for a response on the connection of the TCP request/response probe, less what one usually \
                 takes. TCP's own waiting before it sends again is part of it, as for any service."
            }
            Self::Http => {
                "the longest outage seen by the HTTP probe, which asks a server in the guest for a page, each time on a \
                 connection of its own."
            }
        }
    }
}

/// A part of a trial's time: its name, and how it is found among the response times.
pub(crate) type ResponsePart = (&'static str, fn(&ResponsePhases) -> &Responses);

/// The parts in their order.
pub(crate) const RESPONSE_PARTS: [ResponsePart; 3] = [
    ("before", |phases| &phases.before),
    ("during", |phases| &phases.during),
    ("after", |phases| &phases.after),
];

/// What the floor of the total time is.
pub(crate) const FLOOR_MEANING: &str = "the least total time this link allows: the guest's non-zero pages, and what has to travel of disks that \
     move, sent once at the link's measured goodput; of a VM that stood still, the files that travelled.";

/// What the floor of the downtime is.
pub(crate) const DOWNTIME_FLOOR_MEANING: &str = "the least downtime this link allows: what was left to send when the VM stopped, at that goodput, and one round trip.";

/// How a flag is told: its letter in the table, its name in the record, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagWords {
    /// One letter, unlike those of other flags.
    pub letter: char,
    /// Its name in the record.
    pub name: &'static str,
    /// What it means, in a sentence without its full stop.
    pub meaning: &'static str,
}

/// The words for a flag.
#[must_use]
pub fn flag_words(flag: Flag) -> FlagWords {
    let (letter, name, meaning) = match flag {
        Flag::HostSaturated => (
            'S',
            "host-saturated",
            "the machine's CPUs were busy nearly all the time, so the machine, not the migration, may have set the pace",
        ),
        Flag::ProberLate => (
            'P',
            "prober-late",
            "more than 1 % of a probe's requests left later than one interval after they were due",
        ),
        Flag::ProberLost => (
            'L',
            "prober-lost",
            "the kernel refused requests or dropped answers of a probe, so gaps may be the probe's own",
        ),
        Flag::EmulatedCpu => {
            ('E', "emulated-cpu", "the guest's CPU is emulated: times are not those of hardware")
        }
        Flag::OutageWithinNoise => (
            'N',
            "outage-within-noise",
            "a probe saw no gap that stands out of those before the migration: its downtime is a bound (≤)",
        ),
        Flag::OutageUnfinished => {
            ('U', "outage-unfinished", "a downtime ended only when the probe did: it is a bound (≥)")
        }
        Flag::ProbeUnfit => (
            'F',
            "probe-unfit",
            "more than 2 % of a probe's requests before the migration had no answer within 1 s, so it tells no downtime",
        ),
        Flag::PassagesLost => (
            'T',
            "passages-lost",
            "the passive record on a host's tap dropped frames, so who answered is not known for every request",
        ),
        Flag::CaptureIncomplete => (
            'K',
            "capture-incomplete",
            "a capture lacks packets, dropped for want of time or not written for want of room on the disk",
        ),
        Flag::WorkloadBelowRate => {
            ('W', "workload-below-rate", "the workload reached less than 90 % of the rate asked for")
        }
        Flag::GuestClockBehind => (
            'G',
            "guest-clock-behind",
            "the guest's clock fell behind by more than 5 % of the time watched, so rates by its own clock are too high",
        ),
        Flag::CorruptMemory => (
            'C',
            "corrupt-memory",
            "the workload found a content it had not written, or a result that is wrong: the guest was damaged",
        ),
        Flag::SwitchSilent => (
            'Q',
            "switch-silent",
            "the switch did not answer when it mattered, so what it counted is not known",
        ),
        Flag::SwitchCountersReset => (
            'Z',
            "switch-counters-reset",
            "the switch's counters were reset, or may have wrapped unseen, during the migration, so they are not used",
        ),
        Flag::SwitchDisagrees => (
            'D',
            "switch-disagrees",
            "the switch's counters and the host's interface differ by more than 1 % and what frames explain: other traffic, \
             or a switch that refreshes its counters more rarely than the settle time is long",
        ),
        Flag::CorruptDisk => (
            'X',
            "corrupt-disk",
            "the workload found its file on the disk with a content it had not written: the guest's disk was damaged",
        ),
        Flag::CorruptStream => (
            'Y',
            "corrupt-stream",
            "a connection of the guest lost, repeated or misplaced data, or carried what nobody sent",
        ),
        Flag::CorruptCopy => (
            'V',
            "corrupt-copy",
            "a disk or a file that was brought to the other host is not the same there, by a comparison or a checksum",
        ),
        Flag::MechanismUnused => (
            'M',
            "mechanism-unused",
            "a mechanism that was asked for (a second link, channels, compression, post-copy, …) was not used: the figures \
             are those of a migration without it",
        ),
        Flag::RecordTruncated => {
            ('R', "record-truncated", "the record breaks off, so figures may be missing")
        }
    };
    FlagWords { letter, name, meaning }
}

/// The flags that occur, in order, each with the number of outcomes that have it.
pub(crate) fn flags_met(outcomes: &[Outcome]) -> Vec<(Flag, usize)> {
    let mut flags: Vec<Flag> = outcomes.iter().flat_map(|outcome| outcome.flags.iter().copied()).collect();
    flags.sort();
    flags.dedup();
    let having = |flag: Flag| outcomes.iter().filter(|outcome| outcome.flags.contains(&flag)).count();
    flags.into_iter().map(|flag| (flag, having(flag))).collect()
}

/// A status as text in a sentence.
pub(crate) fn status_words(status: Status) -> &'static str {
    match status {
        Status::Completed => "completed",
        Status::NotConverged => "not converged",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    }
}

/// How many outcomes ended in each way but well, as in `2 not converged, 1 failed`; empty if all ended well.
pub(crate) fn not_completed(outcomes: &[&Outcome]) -> String {
    let parts: Vec<String> = [Status::NotConverged, Status::Failed, Status::Cancelled]
        .into_iter()
        .filter_map(|status| {
            let amount = outcomes.iter().filter(|outcome| outcome.status == status).count();
            (amount > 0).then(|| format!("{amount} {}", status_words(status)))
        })
        .collect();
    parts.join(", ")
}

/// Why a trial did not complete, in a line; with the limits that its case set, where that is known.
pub(crate) fn failure_line(outcome: &Outcome, limits: Option<PreCopyLimits>) -> String {
    let reason = outcome.error.as_deref().unwrap_or("no reason recorded");
    let line = format!("{} ({}): {}", outcome.id, status_words(outcome.status), one_line(reason));
    unconverged::sentences(outcome, limits)
        .map_or_else(|| line.clone(), |sentences| format!("{line}. {sentences}"))
}

/// Why probes of a trial tell no downtime, a line each.
pub(crate) fn unfit_lines(outcome: &Outcome) -> Vec<String> {
    let unfit = outcome.probes.iter().filter_map(|(name, probe)| Some((name, probe.unfit.as_deref()?)));
    unfit.map(|(name, because)| format!("{} ({name}): {}", outcome.id, one_line(because))).collect()
}

/// Why trials lack figures: they did not converge, or failed, or a probe tells no downtime. A line for the first of each case, and how
/// many others there are.
#[must_use]
pub fn lacks<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Vec<String> {
    let mut lines: Vec<((String, &str), String, usize)> = Vec::new();
    for outcome in outcomes {
        let ended = match outcome.status {
            Status::NotConverged | Status::Failed => {
                Some((status_words(outcome.status), failure_line(outcome, None)))
            }
            Status::Completed | Status::Cancelled => None,
        };
        let probes =
            outcome.probes.iter().filter(|(_, probe)| probe.unfit.is_some()).map(|(name, _)| name.as_str());
        let unfit = probes.zip(unfit_lines(outcome));
        for (what, line) in ended.into_iter().chain(unfit) {
            let key = (outcome.case.title(), what);
            match lines.iter_mut().find(|(known, ..)| *known == key) {
                Some((_, _, others)) => *others += 1,
                None => lines.push((key, line, 0)),
            }
        }
    }
    let told = lines.into_iter().map(|(_, line, others)| match others {
        0 => line,
        others => format!("{line} (and {} more of this case)", count(others, "trial")),
    });
    told.collect()
}

/// By how much the guest's clocks fell behind, where one of them did by more than the error of its reading.
pub(crate) fn clock_words(outcome: &Outcome) -> Option<String> {
    let clock = outcome.guest_clock?;
    let behind = [
        ("monotonic", clock.monotonic_behind_ms),
        ("boot-time", clock.boottime_behind_ms),
        ("wall", clock.realtime_behind_ms),
    ];
    let told = behind.iter().any(|(_, ms)| ms.abs() > clock.error_ms);
    told.then(|| {
        let each = behind.map(|(name, ms)| format!("{name} {}", number(ms))).join(", ");
        let elapsed = number(clock.elapsed_ms);
        format!("behind the bench's, in {elapsed} ms: {each} ms, ±{}", number(clock.error_ms))
    })
}

/// A text without its line breaks.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `of 12 trials`, where a run has that many.
pub(crate) fn share(amount: usize, all: usize) -> String {
    format!("{amount} of {}", count(all, "trial"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_flag_has_a_letter_and_a_name_of_its_own_and_the_name_is_the_records() {
        let flags = [
            Flag::HostSaturated,
            Flag::ProberLate,
            Flag::ProberLost,
            Flag::EmulatedCpu,
            Flag::OutageWithinNoise,
            Flag::OutageUnfinished,
            Flag::ProbeUnfit,
            Flag::PassagesLost,
            Flag::CaptureIncomplete,
            Flag::WorkloadBelowRate,
            Flag::GuestClockBehind,
            Flag::CorruptMemory,
            Flag::CorruptDisk,
            Flag::CorruptStream,
            Flag::CorruptCopy,
            Flag::SwitchSilent,
            Flag::SwitchCountersReset,
            Flag::SwitchDisagrees,
            Flag::MechanismUnused,
            Flag::RecordTruncated,
        ];
        let letters: BTreeSet<char> = flags.into_iter().map(|flag| flag_words(flag).letter).collect();
        assert_eq!(letters.len(), flags.len());
        for flag in flags {
            assert_eq!(serde_json::to_value(flag).unwrap(), flag_words(flag).name);
        }
    }
}
