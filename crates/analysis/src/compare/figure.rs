//! The figures that are compared, by the names they have in `trials.jsonl`.

use dunlin_record::{DowntimeMs, Outcome, Status};
use serde::{Serialize, Serializer};

use crate::statistics::Reading;

/// A figure of an outcome that two runs can be compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Whether the migration completed, and left the guest's memory whole.
    Completed,
    /// `total_time_ms`.
    TotalTime,
    /// `downtime_ms.reported`.
    DowntimeReported,
    /// `downtime_ms.paused`.
    DowntimePaused,
    /// `downtime_ms.icmp`.
    DowntimeIcmp,
    /// `downtime_ms.udp`.
    DowntimeUdp,
    /// `downtime_ms.tcp`.
    DowntimeTcp,
    /// `downtime_ms.http`.
    DowntimeHttp,
    /// `wire_bytes.source_tx`.
    WireBytes,
}

impl Figure {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Completed,
        Self::TotalTime,
        Self::DowntimeReported,
        Self::DowntimePaused,
        Self::DowntimeIcmp,
        Self::DowntimeUdp,
        Self::DowntimeTcp,
        Self::DowntimeHttp,
        Self::WireBytes,
    ];

    /// Its name in the record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::TotalTime => "total_time_ms",
            Self::DowntimeReported => "downtime_ms.reported",
            Self::DowntimePaused => "downtime_ms.paused",
            Self::DowntimeIcmp => "downtime_ms.icmp",
            Self::DowntimeUdp => "downtime_ms.udp",
            Self::DowntimeTcp => "downtime_ms.tcp",
            Self::DowntimeHttp => "downtime_ms.http",
            Self::WireBytes => "wire_bytes.source_tx",
        }
    }

    /// The figure of that name, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|figure| figure.name() == name)
    }

    /// Whether more of it is better.
    pub(super) fn more_is_better(self) -> bool {
        self == Self::Completed
    }

    /// Its value in an outcome, or what bounds it; of [`Self::Completed`] 1 or 0. A migration that did not complete has no
    /// other: how long it took or what it sent until it was given up is no figure of a migration.
    pub(super) fn of(self, outcome: &Outcome) -> Option<Reading> {
        let is_damaged = outcome.flags.iter().any(|flag| flag.is_damage());
        let completed = outcome.status == Status::Completed && !is_damaged;
        if self == Self::Completed {
            return Some(Reading::value(f64::from(u8::from(completed))));
        }
        let value = |value| Reading::of(value, None, None);
        let seen = |field: fn(&DowntimeMs) -> Option<f64>| {
            let [value, at_most, at_least] =
                [&outcome.downtime_ms, &outcome.downtime_at_most_ms, &outcome.downtime_at_least_ms]
                    .map(field);
            Reading::of(value, at_most, at_least)
        };
        let reading = match self {
            Self::Completed => None,
            Self::TotalTime => value(outcome.total_time_ms),
            Self::DowntimeReported => value(outcome.downtime_ms.reported),
            Self::DowntimePaused => value(outcome.downtime_ms.paused),
            Self::DowntimeIcmp => seen(|downtimes| downtimes.icmp),
            Self::DowntimeUdp => seen(|downtimes| downtimes.udp),
            Self::DowntimeTcp => seen(|downtimes| downtimes.tcp),
            Self::DowntimeHttp => seen(|downtimes| downtimes.http),
            Self::WireBytes => value(outcome.wire_bytes.map(|wire| wire.source_tx as f64)),
        };
        reading.filter(|_| completed)
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
