//! The papers' own figures beside this run's, where the scenario is one that repeats a measurement of theirs. Nothing stands
//! here that is not in their text.

use dunlin_record::Outcome;

use crate::Report;
use crate::cases::{CaseRow, case_rows};
use crate::format::{ABSENT, megabytes, number, reading};
use crate::grid::Grid;
use crate::layout::wrapped;
use crate::standstill;
use crate::words::Downtime;

const MIB: f64 = 1_048_576.0;

/// What a scenario repeats.
struct Repeated {
    scenario: &'static str,
    title: &'static str,
    figures: &'static [Quoted],
}

/// A figure of a paper, and this run's.
struct Quoted {
    /// Of which case.
    case: &'static str,
    what: &'static str,
    theirs: &'static str,
    ours: fn(&CaseRow) -> Option<String>,
}

const fn quoted(
    case: &'static str,
    what: &'static str,
    theirs: &'static str,
    ours: fn(&CaseRow) -> Option<String>,
) -> Quoted {
    Quoted { case, what, theirs, ours }
}

const REPEATED: [Repeated; 4] = [
    Repeated {
        scenario: "hu2013-storage",
        title: "Beside Hu et al. (2013), table 6 and section 4.2.3.2",
        figures: &[
            quoted("memory", "downtime, KVM", "0.18 s", downtime),
            quoted("storage-all", "downtime, KVM", "0.21 s", downtime),
            quoted("two-steps-allocated", "first downtime, VMware", "0.11 s", first_outage),
            quoted("two-steps-allocated", "second downtime, VMware", "about 2.3 s", second_outage),
        ],
    },
    Repeated {
        scenario: "hu2013-storage-sweep",
        title: "Beside Hu et al. (2013), section 4.2.3.2",
        figures: &[
            quoted("dirty 32", "ends, KVM", "yes: \"unsuccessful\" above 32 MB", completed),
            quoted("dirty 64", "ends, KVM", "no", completed),
        ],
    },
    Repeated {
        scenario: "hu2013-cold",
        title: "Beside Hu et al. (2013), section 4.2.4 (theirs is 40 times as large)",
        figures: &[
            quoted("cold-scp", "link", "97 Mbit/s", goodput),
            quoted("cold-scp", "virtual disk", "40 GB, a file of 41 GB", virtual_size),
            quoted("cold-scp-gzip", "gzip leaves of what is used", "570 MB of 1.8 GB", left_of_used),
            quoted("live-all", "downtime, live", "\"trivial\"", downtime),
            quoted("cold-scp", "downtime, cold", "the total time", downtime_of_total),
        ],
    },
    Repeated {
        scenario: "prakash-storage",
        title: "Beside Prakash et al., section V",
        figures: &[
            quoted("stream-shared", "TCP stream, shared disk", "107.07 to 108.19 MB/s", stream),
            quoted("stream-own", "TCP stream, non-shared disk", "95.12 to 95.18 MB/s", stream),
            quoted("rr-shared", "transactions, shared disk", "6551 to 6867 /s", transactions),
            quoted("rr-own", "transactions, non-shared disk", "5917 to 5918 /s", transactions),
            quoted("time-shared", "total time, shared disk", "78 to 135 s", total),
            quoted("time-own", "total time, non-shared disk", "141 to 198 s", total),
        ],
    },
];

/// What the table is.
pub(crate) const LEGEND: &str = "Theirs are other machines, other guests and other versions: what can be compared is how figures \
                                 stand to each other. What the scenario does otherwise is said in its file.";

/// The table as text; nothing where the scenario repeats no paper's.
pub(crate) fn papers(report: &Report, width: Option<u16>) -> String {
    grid(report, &case_rows(report))
        .map_or_else(String::new, |grid| format!("{}\n{}", grid.text(width), wrapped(LEGEND, width, "")))
}

/// The table; nothing where the scenario repeats no paper's, or none of its cases was tried.
pub(crate) fn grid(report: &Report, rows: &[CaseRow]) -> Option<Grid> {
    let repeated = REPEATED.iter().find(|repeated| repeated.scenario == report.info.scenario)?;
    let line = |quoted: &Quoted| {
        let row = rows.iter().find(|row| row.title == quoted.case && !row.outcomes.is_empty())?;
        let ours = (quoted.ours)(row).unwrap_or_else(|| ABSENT.into());
        Some([quoted.case, quoted.what, quoted.theirs, &ours].map(str::to_owned).to_vec())
    };
    let lines: Vec<_> = repeated.figures.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| Grid {
        title: repeated.title,
        keys: 2,
        words: 2,
        header: vec!["case", "figure", "theirs", "here"],
        rows: lines,
    })
}

fn in_s(ms: f64) -> String {
    format!("{} s", number(ms / 1e3))
}

fn downtime(row: &CaseRow) -> Option<String> {
    let median = row.downtime(Downtime::Icmp)?.median;
    Some(median.exact().map_or_else(|| format!("{} ms", reading(median)), in_s))
}

fn first_outage(row: &CaseRow) -> Option<String> {
    Some(in_s(row.spread(|outcome| outcome.storage_steps?.disks.downtime_ms.icmp)?.median))
}

fn second_outage(row: &CaseRow) -> Option<String> {
    Some(in_s(row.spread(|outcome| outcome.storage_steps?.memory.downtime_ms.icmp)?.median))
}

fn completed(row: &CaseRow) -> Option<String> {
    Some(format!("{} of {} trials", row.completed().count(), row.outcomes.len()))
}

fn goodput(row: &CaseRow) -> Option<String> {
    Some(format!("{} Mbit/s", number(row.spread(|outcome| outcome.link.goodput_mbit)?.median)))
}

fn virtual_size(row: &CaseRow) -> Option<String> {
    Some(format!(
        "{} MB",
        number(row.spread(|outcome| outcome.storage_mib?.virtual_size)?.median * MIB / 1e6)
    ))
}

fn left_of_used(row: &CaseRow) -> Option<String> {
    let sent = row.spread(|outcome| standstill::sent(outcome).map(megabytes))?.median;
    let used = row.spread(|outcome| Some(outcome.disk_mib?.used? * MIB / 1e6))?.median;
    Some(format!("{} of {} MB", number(sent), number(used)))
}

fn downtime_of_total(row: &CaseRow) -> Option<String> {
    let share = |outcome: &Outcome| Some(outcome.downtime_ms.icmp? / outcome.total_time_ms? * 100.0);
    Some(format!("{} % of it", number(row.spread(share)?.median)))
}

fn stream(row: &CaseRow) -> Option<String> {
    let rate = |outcome: &Outcome| outcome.tcp_streams.get("hosts_tcp_stream")?.rate_mib_s.during;
    Some(format!("{} MB/s", number(row.spread(rate)?.median * MIB / 1e6)))
}

fn transactions(row: &CaseRow) -> Option<String> {
    let rate =
        |outcome: &Outcome| outcome.probes.get("hosts_tcp_rr")?.response_ms.as_ref()?.during.answered_per_s;
    Some(format!("{} /s", number(row.spread(rate)?.median)))
}

fn total(row: &CaseRow) -> Option<String> {
    Some(in_s(row.spread(|outcome| outcome.total_time_ms)?.median))
}
