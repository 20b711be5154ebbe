//! What a workload did, as the agent counted it, and what of it is damage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::StreamSeen;

/// What a workload did, as the agent counted it; absent = does not apply to its kind.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Achieved {
    /// For how long it ran, in seconds of the guest's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_s: Option<f64>,
    /// Of one that died: what it said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_words: Option<String>,
    /// Pages written (or read) a second, times 4 KiB, in MiB/s. Distinct ones within a pass where they come in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_mib_s: Option<f64>,
    /// Full passes over the working set, where its pages come in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<u64>,
    /// Pages whose content was not what had been written; 0 is the only good answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt_pages: Option<u64>,
    /// Pages of its file that did not hold, on the disk, what had been written to them; 0 is the only good answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt_disk_pages: Option<u64>,
    /// FFTs there and back a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations_per_s: Option<f64>,
    /// Time on the CPU outside the guest's kernel, in percent of the time it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_percent: Option<f64>,
    /// Time on the CPU inside the guest's kernel, in percent of the time it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_percent: Option<f64>,
    /// FFTs whose inverse was not what went in; 0 is the only good answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_results: Option<u64>,
    /// What the guest's clocks did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockSeen>,
    /// What the guest's end of a stream saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamSeen>,
    /// Of several workloads: what each of them did, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Achieved>,
    /// What the web server did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_server: Option<HttpServed>,
}

impl Achieved {
    /// What several workloads did, or one.
    #[must_use]
    pub fn of_parts(mut parts: Vec<Self>) -> Self {
        match parts.len() {
            1 => parts.remove(0),
            _ => Self { parts, ..Self::default() },
        }
    }

    /// What each workload did, in order: itself, unless it is of several.
    #[must_use]
    pub fn parts(&self) -> &[Self] {
        if self.parts.is_empty() { std::slice::from_ref(self) } else { &self.parts }
    }

    /// What a workload that died said last; nothing if none did.
    #[must_use]
    pub fn death(&self) -> Option<&str> {
        self.parts().iter().find_map(|part| part.last_words.as_deref())
    }

    /// What the guest found damaged, in words, the gravest first found; nothing if all was whole.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        self.parts().iter().find_map(Self::own_damage)
    }

    fn own_damage(&self) -> Option<String> {
        let count = |count: Option<u64>, what: &str| {
            count.filter(|count| *count > 0).map(|count| format!("{count} {what}"))
        };
        let written = "pages did not hold what had been written to them";
        let memory = [count(self.corrupt_pages, written), count(self.wrong_results, "results were wrong")];
        let memory = memory.into_iter().flatten().map(|what| format!("memory was corrupted: {what}"));
        let disk = count(self.corrupt_disk_pages, written);
        let disk = disk.map(|what| format!("the disk was corrupted: {what}"));
        let stream = self.stream.as_ref().and_then(StreamSeen::damage);
        let damage: Vec<String> = memory.chain(disk).chain(stream).collect();
        (!damage.is_empty()).then(|| damage.join("; "))
    }
}

/// What the guest itself saw of its clocks and of its own running.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ClockSeen {
    /// How often it looked.
    pub looks: u64,
    /// The longest time between two looks less that asked for, in ms of its monotonic clock.
    pub longest_gap_ms: f64,
    /// Gaps longer than 1 ms.
    pub gaps: u64,
    /// Their sum, in ms.
    pub gaps_total_ms: f64,
    /// Jumps of the wall clock against the monotonic one by more than 1 ms.
    pub realtime_jumps: u64,
    /// The largest of them, in ms, positive if forward; 0 if there was none.
    pub realtime_jump_ms: f64,
    /// Jumps of the boot-time clock against the monotonic one by more than 1 ms.
    pub boottime_jumps: u64,
    /// The largest of them, in ms; 0 if there was none.
    pub boottime_jump_ms: f64,
}

/// What a web server in the guest did.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HttpServed {
    /// Requests answered with status 200.
    pub answered: u64,
    /// Requests answered with any other.
    pub refused: u64,
    /// Connections that ended before their request or its answer was through.
    pub broken: u64,
    /// Memory it held at the end by calls of `/increase_mem`, in MiB.
    pub held_mib: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryWrite, Rate, Received, Workload};

    #[test]
    fn what_was_recorded_before_there_was_more_to_tell_is_read_as_it_was_meant() {
        let done = r#"{"elapsed_s":1.5,"rate_mib_s":20.0,"passes":3,"corrupt_pages":0}"#;
        let done: Achieved = serde_json::from_str(done).unwrap();
        assert_eq!((done.rate_mib_s, done.passes, done.corrupt_pages), (Some(20.0), Some(3), Some(0)));
        assert_eq!(done.damage(), None);
    }

    #[test]
    fn damage_is_told_by_what_was_damaged() {
        let damaged = Achieved { corrupt_pages: Some(2), ..Achieved::default() };
        assert!(damaged.damage().unwrap().starts_with("memory was corrupted: 2 pages"));
        let damaged = Achieved { corrupt_pages: Some(0), corrupt_disk_pages: Some(3), ..Achieved::default() };
        assert!(damaged.damage().unwrap().starts_with("the disk was corrupted: 3 pages"));
        let wrong = Achieved { wrong_results: Some(1), ..Achieved::default() };
        assert!(wrong.damage().unwrap().contains("results were wrong"));
    }

    #[test]
    fn numbers_wrong_on_a_connection_are_damage_and_lost_datagrams_are_not() {
        let seen = |connections, received| {
            let stream = StreamSeen { bytes: 1, connections, received: Some(received) };
            Achieved { stream: Some(stream), ..Achieved::default() }.damage()
        };
        let missing = Received { missing: 3, ..Received::default() };
        assert_eq!(seen(None, missing.clone()), None);
        assert!(seen(Some(1), missing).unwrap().contains("3 were missing"));
        assert_eq!(seen(Some(9), Received::default()), None);
        let impossible = Received { missing: u64::MAX, late: u64::MAX, ..Received::default() };
        assert!(seen(Some(1), impossible).is_some(), "whatever a foreign record says");
        assert!(seen(None, Received { corrupted: 2, ..Received::default() }).unwrap().contains("2 blocks"));
    }

    #[test]
    fn several_workloads_add_up_and_each_has_its_own_account() {
        let each =
            vec![Workload::Clock, Workload::MemoryWrite(MemoryWrite::new(16, Rate::Full)), Workload::Clock];
        let several = Workload::Several { each };
        assert_eq!(several.allocated_mib(), Some(16));
        assert_eq!(Workload::Several { each: vec![Workload::Clock] }.allocated_mib(), None);
        let dead = Achieved { last_words: Some("alas".into()), ..Achieved::default() };
        let damaged = Achieved { corrupt_pages: Some(2), ..Achieved::default() };
        let achieved = Achieved::of_parts(vec![Achieved::default(), damaged.clone(), dead]);
        assert_eq!((achieved.damage(), achieved.death()), (damaged.damage(), Some("alas")));
        let pairs: Vec<_> = several.with_achieved(Some(&achieved)).collect();
        assert_eq!(pairs.len(), 3);
        assert_eq!(pairs[1].1, Some(&damaged));
        let one = Workload::Clock;
        assert_eq!(one.with_achieved(Some(&damaged)).collect::<Vec<_>>(), [(&one, Some(&damaged))]);
        assert_eq!(several.with_achieved(None).filter(|(_, done)| done.is_none()).count(), 3);
    }
}
