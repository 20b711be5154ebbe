//! libvirt's counters of a job: `domjobinfo --rawstats`, and the same in its event (libvirt-domain.h, `VIR_DOMAIN_JOB_*`).

use std::collections::BTreeMap;

use dunlin_record::HypervisorReport;

use crate::Progress;

/// What a job's counters are called, and what they say.
pub(super) type Counters = BTreeMap<String, i64>;

/// What `domjobinfo --rawstats` says of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct JobInfo {
    /// 0 where there is none, nor was (`VIR_DOMAIN_JOB_NONE`).
    kind: i64,
    pub(super) counters: Counters,
}

/// A job that runs (`virDomainJobType`), whether or not it is known how long.
const RUNNING: [i64; 2] = [1, 2];
/// The job is a migration, by the side at which it is asked (`virDomainJobOperation`).
const MIGRATION: [i64; 2] = [4, 5];

impl JobInfo {
    /// Reads lines as in `data_total: 268967936`, the first of which is `Job type: 2`. Lines that are none of these, and what
    /// is no number, are left out.
    pub(super) fn read(said: &str) -> Self {
        let mut info = Self::default();
        for (name, value) in said.lines().filter_map(counter) {
            if name == "Job type" {
                info.kind = value;
            } else {
                info.counters.insert(name.to_owned(), value);
            }
        }
        info
    }

    /// Whether a job is under way.
    pub(super) fn is_running(&self) -> bool {
        RUNNING.contains(&self.kind)
    }

    /// Whether it is a migration.
    pub(super) fn is_migration(&self) -> bool {
        is_migration(&self.counters)
    }
}

/// Whether counters are a migration's, and not those of a dump, a backup or the like.
pub(super) fn is_migration(counters: &Counters) -> bool {
    counters.get("operation").is_some_and(|operation| MIGRATION.contains(operation))
}

/// A counter's line.
pub(super) fn counter(line: &str) -> Option<(&str, i64)> {
    let (name, value) = line.trim().split_once(':')?;
    Some((name.trim(), value.trim().parse().ok()?))
}

/// A job's counters as progress; its state is told by events.
pub(super) fn progress(counters: &Counters) -> Progress {
    // As long as QEMU has not begun libvirt says 0 of all.
    if counters.get("memory_total").is_none_or(|total| *total == 0) {
        return Progress::default();
    }
    let of = |name: &str| counters.get(name).copied();
    Progress {
        state: None,
        transferred_bytes: of("memory_processed"),
        remaining_bytes: of("memory_remaining"),
        total_bytes: of("memory_total"),
        normal_pages: of("memory_normal"),
        zero_pages: of("memory_constant"),
        dirty_rate_pages_s: of("memory_dirty_rate"),
        pass: of("memory_iteration"),
        throttle_percent: of("auto_converge_throttle"),
        postcopy_requests: of("memory_postcopy_requests"),
    }
}

/// libvirt's own account of a migration that ended. Its downtime and times come from both hosts' clocks.
pub(super) fn report(counters: &Counters) -> HypervisorReport {
    let ms = |name: &str| counters.get(name).map(|ms| *ms as f64);
    HypervisorReport {
        total_time_ms: ms("time_elapsed"),
        downtime_ms: ms("downtime"),
        setup_time_ms: ms("setup_time"),
        ram_bytes: counters.get("memory_processed").copied(),
        downtime_bytes: None,
        error: None,
        raw: counters.iter().map(|(name, value)| (name.clone(), (*value).into())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// virsh 9.0.0 with QEMU 10.0.2, in the first pass.
    const RUNNING_SAID: &str = "Job type: 2\n\noperation: 5\ntime_elapsed: 2308\ndowntime: 300\nsetup_time: 1\n\
        data_total: 268967936\ndata_processed: 37911360\ndata_remaining: 112730112\nmemory_total: 268967936\n\
        memory_processed: 37911360\nmemory_remaining: 112730112\nmemory_bps: 21415140\nmemory_constant: 28970\n\
        memory_normal: 9174\nmemory_normal_bytes: 37576704\nmemory_dirty_rate: 0\nmemory_iteration: 1\n\
        memory_postcopy_requests: 0\nmemory_page_size: 4096\ndisk_total: 0\ndisk_processed: 0\ndisk_remaining: 0\n";

    #[test]
    fn a_job_that_runs_is_read_and_counted() {
        let info = JobInfo::read(RUNNING_SAID);
        assert!(info.is_running() && info.is_migration());
        let progress = progress(&info.counters);
        assert_eq!(
            (progress.transferred_bytes, progress.remaining_bytes),
            (Some(37_911_360), Some(112_730_112))
        );
        assert_eq!((progress.pass, progress.zero_pages, progress.state), (Some(1), Some(28_970), None));
        assert_eq!(progress.throttle_percent, None, "what is not told is absent");
    }

    #[test]
    fn a_job_that_waits_for_its_destination_counts_nothing() {
        let zeros = "Job type: 2\noperation: 5\ntime_elapsed: 900\nmemory_total: 0\nmemory_processed: 0\nmemory_remaining: 0\n";
        let info = JobInfo::read(zeros);
        assert!(info.is_running() && info.is_migration());
        assert_eq!(progress(&info.counters), Progress::default(), "what is not known is absent, never 0");
        let backup = JobInfo::read("Job type: 3\noperation: 8\ndisk_remaining: 0\n");
        assert!(!is_migration(&backup.counters));
    }

    #[test]
    fn no_job_is_no_job() {
        let info = JobInfo::read("Job type: 0\n\n");
        assert!(!info.is_running() && info.counters.is_empty());
        assert_eq!(report(&info.counters).downtime_ms, None);
        assert_eq!(JobInfo::read(""), JobInfo::default());
    }

    #[test]
    fn what_is_no_counter_is_left_out() {
        let info = JobInfo::read("Job type: 3\nnoise\nname: text\ndowntime: 115\ntime_elapsed: 4007\n");
        assert!(!info.is_running());
        let report = report(&info.counters);
        assert_eq!(
            (report.downtime_ms, report.total_time_ms, report.ram_bytes),
            (Some(115.0), Some(4007.0), None)
        );
        assert_eq!(report.raw.len(), 2);
    }
}
