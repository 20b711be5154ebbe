//! What became of a VM's disks: what they held, what was copied of them, over which network, and whether it was the same.

use std::collections::BTreeMap;

use dunlin_record::{
    DiskMib, DowntimeMs, EventKind, Moment, StorageBytes, StorageComparison, StorageHeld, StorageMib,
    StorageNetworkBytes, StorageStep, StorageSteps,
};

use crate::moments::Moments;
use crate::observers::{Observations, downtime_of};
use crate::phases::storage;
use crate::trial::Trial;
use crate::units::{MIB_BYTES, figure, ms_between};

const NETWORK: &str = "storage";

/// What was copied of disks that moved; absent where none were to.
pub(crate) fn storage_bytes(trial: &Trial, moments: &Moments) -> Option<StorageBytes> {
    if !trial.case.vm.moves_disks() {
        return None;
    }
    let copied = trial.pick(|kind| match kind {
        EventKind::StorageMirrored { copied_bytes }
        | EventKind::StorageMoved { copied_bytes }
        | EventKind::StorageHandedOver { copied_bytes } => *copied_bytes,
        _ => None,
    });
    let wire = storage(trial, moments)
        .and_then(|stretch| trial.wire("tx_bytes").growth(stretch.start_ns, stretch.end_ns));
    let data = storage_before(trial, moments).and_then(|held| held.data_bytes);
    Some(StorageBytes { data: data.filter(|bytes| *bytes >= 0), copied: copied.last(), wire })
}

/// What passed the storage network during the migration; absent where nothing counted it.
pub(crate) fn network_bytes(trial: &Trial, moments: &Moments) -> Option<StorageNetworkBytes> {
    let grown =
        |host, column| trial.counters(host, NETWORK, column).growth_over(moments.command, moments.end);
    let bytes = StorageNetworkBytes {
        source_tx: grown(trial.source, "tx_bytes"),
        source_rx: grown(trial.source, "rx_bytes"),
        destination_tx: grown(trial.destination, "tx_bytes"),
        destination_rx: grown(trial.destination, "rx_bytes"),
    };
    (!bytes.is_unknown()).then_some(bytes)
}

/// Both steps of a migration whose disks moved first; absent where they were not to, or their copy never began.
pub(crate) fn steps(trial: &Trial, moments: &Moments, seen: &Observations) -> Option<StorageSteps> {
    let first = |wanted: fn(&EventKind) -> bool| {
        let mut events = trial.events_on(trial.source).filter(|event| event.t_ns >= moments.command);
        events.find(|event| wanted(&event.kind)).map(|event| event.t_ns)
    };
    let began = first(|kind| matches!(kind, EventKind::StorageMirrorStarted { .. }))?;
    let moved = first(|kind| matches!(kind, EventKind::StorageMoved { .. })).filter(|t_ns| *t_ns >= began);
    if !trial.case.storage.two_steps {
        return None;
    }
    let sent =
        |samples: crate::samples::Samples, from_ns, to_ns: Option<i64>| samples.growth(from_ns, to_ns?);
    let step = |from_ns: i64, to_ns: Option<i64>, downtime_ms| StorageStep {
        time_ms: to_ns.map(|to_ns| ms_between(from_ns, to_ns)),
        wire_bytes: sent(trial.wire("tx_bytes"), from_ns, to_ns),
        storage_network_bytes: sent(trial.wire_of(NETWORK, "tx_bytes"), from_ns, to_ns),
        downtime_ms,
    };
    let moved_ms = moved.map_or(f64::INFINITY, |t_ns| ms_between(moments.command, t_ns));
    let disks = step(began, moved, longest(seen, |start_ms| start_ms < moved_ms));
    let memory =
        moved.map(|from_ns| step(from_ns, moments.completed, longest(seen, |start_ms| start_ms >= moved_ms)));
    Some(StorageSteps { disks, memory: memory.unwrap_or_default() })
}

/// The longest outage of each probe among those that began at such a time. Where one of these saw no end, it has no length.
fn longest(seen: &Observations, is_meant: impl Fn(f64) -> bool) -> DowntimeMs {
    let mut longest = DowntimeMs::default();
    for (name, probe) in &seen.probes {
        let Some(pick) = downtime_of(name) else { continue };
        let is_unfinished = seen.unfinished_start_ms.get(name).is_some_and(|start_ms| is_meant(*start_ms));
        let meant = probe.outages.iter().filter(|outage| is_meant(outage.start_ms));
        let length_ms = meant.map(|outage| outage.length_ms).max_by(f64::total_cmp);
        *pick(&mut longest) = length_ms.filter(|_| !is_unfinished);
    }
    longest
}

/// Of which disks both hosts' images were compared; the last word on each, in the order in which they were first.
pub(crate) fn compared(trial: &Trial) -> Vec<StorageComparison> {
    let told = trial.pick(|kind| match kind {
        EventKind::StorageCompared { disk, compared_bytes, differs_at_bytes } => Some(StorageComparison {
            disk: disk.clone(),
            compared_bytes: *compared_bytes,
            equal: differs_at_bytes.is_none(),
            differs_at_bytes: *differs_at_bytes,
        }),
        _ => None,
    });
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    let mut all: Vec<StorageComparison> = Vec::new();
    for one in told {
        match last.get(&one.disk) {
            Some(&index) => all[index] = one,
            None => {
                last.insert(one.disk.clone(), all.len());
                all.push(one);
            }
        }
    }
    all
}

/// What the disks that move held before they did.
pub(crate) fn storage_before<'a>(trial: &Trial<'a>, moments: &Moments) -> Option<&'a StorageHeld> {
    held(trial)
        .rfind(|(t_ns, _)| moments.completed.is_none_or(|completed| *t_ns < completed))
        .map(|(_, held)| held)
}

/// The same in MiB.
pub(crate) fn storage_mib(trial: &Trial, moments: &Moments) -> Option<StorageMib> {
    storage_before(trial, moments).map(in_mib)
}

/// And at the destination, where somebody asked again after the migration.
pub(crate) fn storage_after_mib(trial: &Trial, moments: &Moments) -> Option<StorageMib> {
    let completed = moments.completed?;
    held(trial).rfind(|(t_ns, _)| *t_ns >= completed).map(|(_, held)| in_mib(held))
}

fn held<'a>(trial: &Trial<'a>) -> impl DoubleEndedIterator<Item = (i64, &'a StorageHeld)> {
    trial.events().filter_map(|event| match &event.kind {
        EventKind::StorageHeld(held) => Some((event.t_ns, held)),
        _ => None,
    })
}

fn in_mib(held: &StorageHeld) -> StorageMib {
    StorageMib {
        virtual_size: mib(held.virtual_size_bytes),
        allocated: mib(held.allocated_bytes),
        data: mib(held.data_bytes),
    }
}

/// The VM's disk with its file system.
pub(crate) fn disk_mib(trial: &Trial, when: Moment) -> Option<DiskMib> {
    let told = trial.pick(|kind| match kind {
        EventKind::DiskHeld { moment, held } if *moment == when => Some(held),
        _ => None,
    });
    told.last().map(|held| DiskMib {
        virtual_size: mib(held.virtual_size_bytes),
        allocated: mib(held.allocated_bytes),
        used: mib(held.used_bytes),
    })
}

/// Bytes in MiB.
pub(crate) fn mib(bytes: Option<i64>) -> Option<f64> {
    bytes.filter(|bytes| *bytes >= 0).and_then(|bytes| figure(bytes as f64 / MIB_BYTES))
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Series, shapes};

    use super::*;
    use crate::fixture::{Fixture, mirror_started, ns};

    fn moved(fixture: Fixture) -> Fixture {
        fixture.with_case(|case| {
            case.vm.shared_storage = false;
            case.vm.swap_mib = Some(1);
        })
    }

    fn in_two_steps() -> Fixture {
        moved(Fixture::pre_copy())
            .with_case(|case| case.storage.two_steps = true)
            .with(0.0, "host-a", mirror_started())
            .with(100.0, "host-a", EventKind::StorageMoved { copied_bytes: Some(9000) })
    }

    #[test]
    fn disks_that_moved_are_told_with_what_was_copied_of_them() {
        let held = StorageHeld { data_bytes: Some(4000), ..StorageHeld::default() };
        let fixture = Fixture::pre_copy()
            .with(-1.0, "host-a", EventKind::StorageHeld(held))
            .with(0.0, "host-a", mirror_started())
            .with(100.0, "host-a", EventKind::StorageMirrored { copied_bytes: Some(9000) })
            .with(510.0, "host-a", EventKind::StorageHandedOver { copied_bytes: Some(9500) });
        assert_eq!(fixture.outcome().storage_bytes, None, "they lay on shared storage");
        let moved = moved(fixture);
        let bytes = StorageBytes { data: Some(4000), copied: Some(9500), wire: Some(10_000_000) };
        assert_eq!(moved.outcome().storage_bytes, Some(bytes));
        let given_up = moved.without(|kind| {
            matches!(kind, EventKind::StorageMirrored { .. } | EventKind::StorageHandedOver { .. })
        });
        let bytes = StorageBytes { copied: None, wire: None, ..bytes };
        assert_eq!(given_up.outcome().storage_bytes, Some(bytes));
    }

    #[test]
    fn disks_are_told_before_and_after_with_swap() {
        let held = |data_bytes| StorageHeld {
            virtual_size_bytes: Some(1 << 30),
            allocated_bytes: Some(3 << 20),
            data_bytes: Some(data_bytes),
        };
        let fixture = moved(Fixture::pre_copy()).with(-1.0, "host-a", EventKind::StorageHeld(held(2 << 20)));
        let outcome = fixture.outcome();
        let before = StorageMib { virtual_size: Some(1024.0), allocated: Some(3.0), data: Some(2.0) };
        assert_eq!((outcome.storage_mib, outcome.storage_after_mib), (Some(before), None));
        let asked_again = fixture.with(1500.0, "host-b", EventKind::StorageHeld(held(5 << 20))).outcome();
        assert_eq!(asked_again.storage_mib, Some(before));
        assert_eq!(asked_again.storage_after_mib, Some(StorageMib { data: Some(5.0), ..before }));
        assert_eq!(asked_again.storage_bytes.unwrap().data, Some(2 << 20));
    }

    #[test]
    fn two_steps_are_told_apart_with_the_outage_of_each() {
        // 110 ms around the pivot, 253 ms around the hand-over; some bare acknowledgements followed the last byte.
        let outcome = in_two_steps()
            .with_probe("icmp", |at| {
                (!(20.0..130.0).contains(&at) && !(500.0..753.0).contains(&at)).then_some(at + 0.2)
            })
            .outcome();
        let steps = outcome.storage_steps.unwrap();
        assert_eq!((steps.disks.time_ms, steps.memory.time_ms), (Some(100.0), Some(443.0)));
        assert_eq!((steps.disks.wire_bytes, steps.memory.wire_bytes), (Some(10_000_000), Some(43_000_086)));
        assert_eq!((steps.disks.downtime_ms.icmp, steps.memory.downtime_ms.icmp), (Some(110.0), Some(253.0)));
        assert_eq!(outcome.downtime_ms.icmp, Some(253.0), "the downtime is the longest of both");
        assert_eq!(
            (outcome.phases_ms.storage, outcome.storage_bytes.unwrap().copied),
            (Some(100.0), Some(9000))
        );
        assert_eq!(moved(Fixture::pre_copy()).outcome().storage_steps, None);
    }

    #[test]
    fn a_step_that_did_not_end_has_no_time_and_an_outage_without_end_no_length() {
        let never = in_two_steps().without(|kind| matches!(kind, EventKind::StorageMoved { .. }));
        let steps = never.outcome().storage_steps.unwrap();
        assert_eq!((steps.disks.time_ms, steps.memory), (None, StorageStep::default()));
        let gone = in_two_steps().with_probe("icmp", |at| (at < 500.0).then_some(at + 0.2)).outcome();
        assert_eq!(gone.storage_steps.unwrap().memory.downtime_ms.icmp, None);
        // Nor where one of the other step was longer than what was seen of it.
        let later = in_two_steps()
            .with_probe("icmp", |at| (!(20.0..420.0).contains(&at) && at < 1400.0).then_some(at + 0.2))
            .outcome();
        let steps = later.storage_steps.unwrap();
        assert_eq!((steps.disks.downtime_ms.icmp, steps.memory.downtime_ms.icmp), (Some(400.0), None));
        assert_eq!(later.downtime_ms.icmp, Some(400.0));
    }

    #[test]
    fn bytes_of_the_storage_network_stand_apart_from_the_migrations() {
        let counters = |per_ms: i64| {
            let rows: Vec<[i64; 5]> = (-10..100)
                .map(|tick| [ns(f64::from(tick) * 10.0), i64::from(tick + 10) * per_ms * 10, 0, 0, 0])
                .collect();
            Series::from_rows(shapes::WIRE, &rows)
        };
        let without = Fixture::pre_copy().outcome();
        assert_eq!(without.storage_network_bytes, None);
        let outcome = Fixture::pre_copy()
            .with_series("wire-host-a-storage", counters(1000))
            .with_series("wire-host-b-storage", counters(10))
            .outcome();
        let bytes = StorageNetworkBytes {
            source_tx: Some(550_000),
            source_rx: Some(0),
            destination_tx: Some(5500),
            destination_rx: Some(0),
        };
        assert_eq!(outcome.storage_network_bytes, Some(bytes));
        assert_eq!(outcome.wire_bytes, without.wire_bytes);
        let steps = in_two_steps().with_series("wire-host-a-storage", counters(1000)).outcome().storage_steps;
        assert_eq!(steps.unwrap().disks.storage_network_bytes, Some(100_000));
    }

    #[test]
    fn what_was_compared_is_told_with_the_last_word_on_each_disk() {
        let compared = |disk: &str, differs_at_bytes| EventKind::StorageCompared {
            disk: disk.into(),
            compared_bytes: 64,
            differs_at_bytes,
        };
        let outcome = Fixture::pre_copy()
            .with(510.0, "host-a", compared("disk", None))
            .with(511.0, "host-a", compared("swap", None))
            .with(520.0, "host-a", compared("disk", Some(7)))
            .outcome();
        let one = |disk: &str, differs_at_bytes: Option<i64>| StorageComparison {
            disk: disk.into(),
            compared_bytes: 64,
            equal: differs_at_bytes.is_none(),
            differs_at_bytes,
        };
        assert_eq!(outcome.storage_compared, [one("disk", Some(7)), one("swap", None)]);
    }
}
