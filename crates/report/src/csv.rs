//! The run as CSV (RFC 4180): one flat line a trial, units in the header, nothing where nothing was measured.

mod probes;

use std::borrow::Cow;
use std::collections::BTreeSet;

use dunlin_record::{Achieved, CpuPercent, CpuShares, Outcome, StreamOutcome};

use crate::Report;
use crate::mechanisms;
use crate::overhead::FIGURES;
use crate::words::{Downtime, flag_words};
use crate::{standstill, storage};
use probes::{probes, tcp_streams};

/// One flat line a trial below a header with units; lines end in CR LF.
#[must_use]
pub fn csv(report: &Report) -> String {
    let columns = columns(report.outcomes);
    let mut text = line(columns.iter().map(|column| column.name.clone()));
    for outcome in report.outcomes {
        text.push_str(&line(columns.iter().map(|column| (column.value)(outcome).unwrap_or_default())));
    }
    text
}

/// A column: its name and how an outcome fills it; absent is an empty field.
struct Column<'a> {
    name: String,
    value: Box<Value<'a>>,
}

type Value<'a> = dyn Fn(&Outcome) -> Option<String> + 'a;

fn column<'a, T: ToString>(
    name: impl Into<String>,
    value: impl Fn(&Outcome) -> Option<T> + 'a,
) -> Column<'a> {
    Column {
        name: name.into(),
        value: Box::new(move |outcome| value(outcome).map(|value| value.to_string())),
    }
}

/// A column of what one of the workloads did: the first is called `workload`, the second `workload_2`, and so on.
fn achieved<'a, T: ToString>(
    index: usize,
    name: &str,
    value: impl Fn(&Achieved) -> Option<T> + 'a,
) -> Column<'a> {
    column(workload_column(index, name), move |outcome| {
        value(outcome.workload.as_ref()?.achieved.as_ref()?.parts().get(index)?)
    })
}

fn workload_column(index: usize, name: &str) -> String {
    let which = if index == 0 { String::new() } else { format!("_{}", index + 1) };
    format!("workload{which}_{name}")
}

fn columns(outcomes: &[Outcome]) -> Vec<Column<'_>> {
    let mut columns = identity(outcomes);
    columns.extend(times());
    columns.extend(probes(outcomes));
    columns.extend(tcp_streams(outcomes));
    columns.extend(amounts());
    columns.extend(captures(outcomes));
    columns.extend(storage(outcomes));
    columns.extend(workloads(outcomes));
    columns.extend(guest_clock());
    columns.extend(link());
    columns.extend(cpu());
    columns
}

/// Which trial it was and how it ended. A dial that varies in any case has a column of its own.
fn identity(outcomes: &[Outcome]) -> Vec<Column<'_>> {
    let mut columns = vec![
        column("scenario", |outcome| Some(outcome.scenario.clone())),
        column("case", |outcome| Some(outcome.case.title())),
        column("case_name", |outcome| Some(outcome.case.name.clone())),
    ];
    let dials: BTreeSet<&String> = outcomes.iter().flat_map(|outcome| outcome.case.dials.keys()).collect();
    columns.extend(dials.into_iter().map(|dial| {
        column(format!("case_{dial}"), move |outcome| {
            outcome.case.dials.get(dial).map(|value| match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            })
        })
    }));
    columns.extend([
        column("trial", |outcome| Some(outcome.trial)),
        column("id", |outcome| Some(outcome.id.clone())),
        column("vm", |outcome| Some(outcome.vm.clone())),
        column("strategy", |outcome| Some(outcome.strategy.clone())),
        column("status", |outcome| Some(outcome.status)),
        column("error", |outcome| outcome.error.clone()),
        column("flags", |outcome| {
            let names: Vec<&str> = outcome.flags.iter().map(|&flag| flag_words(flag).name).collect();
            Some(names.join(" "))
        }),
        column("mechanisms_used", |outcome| mechanisms::names(outcome, Some(true))),
        column("mechanisms_unused", |outcome| mechanisms::names(outcome, Some(false))),
        column("mechanisms_unknown", |outcome| mechanisms::names(outcome, None)),
        column("hypervisor", |outcome| outcome.hypervisor.as_ref().map(|label| label.name.clone())),
        column("hypervisor_version", |outcome| {
            outcome.hypervisor.as_ref().map(|label| label.version.clone())
        }),
        column("hypervisor_destination_version", |outcome| {
            outcome.hypervisor.as_ref()?.destination_version.clone()
        }),
        column("accelerator", |outcome| outcome.hypervisor.as_ref().map(|label| label.accelerator.clone())),
    ]);
    columns
}

fn times<'a>() -> Vec<Column<'a>> {
    let mut columns = vec![
        column("total_time_ms", |outcome| outcome.total_time_ms),
        column("migration_time_ms", |outcome| outcome.migration_time_ms),
        column("floor_ms", |outcome| outcome.floor_ms),
        column("downtime_floor_ms", |outcome| outcome.downtime_floor_ms),
    ];
    for downtime in Downtime::ALL {
        let name = downtime.name();
        columns.push(column(format!("downtime_{name}_ms"), move |outcome| downtime.of(outcome)));
        columns.push(column(format!("downtime_{name}_error_ms"), move |outcome| downtime.error_of(outcome)));
        if downtime.is_observed() {
            columns.push(column(format!("downtime_{name}_at_most_ms"), move |outcome| {
                downtime.at_most(outcome)
            }));
            columns.push(column(format!("downtime_{name}_at_least_ms"), move |outcome| {
                downtime.at_least(outcome)
            }));
        }
    }
    columns.extend([
        column("phase_initialize_ms", |outcome| outcome.phases_ms.initialize),
        column("phase_reserve_ms", |outcome| outcome.phases_ms.reserve),
        column("phase_pre_copy_ms", |outcome| {
            let passes = &outcome.phases_ms.pre_copy;
            // Figures are exact to the microsecond; their sum must not show more.
            (!passes.is_empty()).then(|| (passes.iter().sum::<f64>() * 1e3).round() / 1e3)
        }),
        column("phase_stop_and_copy_ms", |outcome| outcome.phases_ms.stop_and_copy),
        column("phase_commit_ms", |outcome| outcome.phases_ms.commit),
        column("phase_activate_ms", |outcome| outcome.phases_ms.activate),
        column("phase_post_copy_ms", |outcome| outcome.phases_ms.post_copy),
        column("guest_start_ms", |outcome| outcome.guest_start_ms),
    ]);
    columns
}

fn amounts<'a>() -> Vec<Column<'a>> {
    vec![
        column("wire_source_tx_bytes", |outcome| outcome.wire_bytes.map(|wire| wire.source_tx)),
        column("wire_source_rx_bytes", |outcome| outcome.wire_bytes.map(|wire| wire.source_rx)),
        column("snmp_source_tx_bytes", |outcome| outcome.wire_bytes_snmp.map(|wire| wire.source_tx)),
        column("snmp_source_rx_bytes", |outcome| outcome.wire_bytes_snmp.map(|wire| wire.source_rx)),
        column("ram_bytes", |outcome| outcome.ram_bytes),
        column("not_converged_after_ms", |outcome| outcome.not_converged.map(|kept| kept.after_ms)),
        column("remaining_bytes", |outcome| outcome.not_converged?.remaining_bytes),
        column("dirty_again_bytes", |outcome| outcome.not_converged?.dirty_again_bytes),
        column("dirty_rate_mib_s", |outcome| outcome.not_converged?.dirty_rate_mib_s),
        column("sent_mib_s", |outcome| outcome.not_converged?.sent_mib_s),
        column("downtime_limit_needed_ms", |outcome| outcome.not_converged?.downtime_limit_needed_ms),
        column("passes", |outcome| outcome.iterations.iter().map(|pass| pass.pass).max()),
        column("memory_configured_mib", |outcome| outcome.memory_mib.configured),
        column("memory_allocated_mib", |outcome| outcome.memory_mib.allocated),
        column("memory_used_mib", |outcome| outcome.memory_mib.used),
        column("memory_requested_mib", |outcome| outcome.memory_mib.requested),
        column("memory_dirtied_mib", |outcome| outcome.memory_mib.dirtied),
        column("memory_swapped_mib", |outcome| outcome.memory_mib.swapped),
        column("memory_after_allocated_mib", |outcome| outcome.memory_after_mib?.allocated),
        column("memory_after_used_mib", |outcome| outcome.memory_after_mib?.used),
        column("memory_after_requested_mib", |outcome| outcome.memory_after_mib?.requested),
        column("memory_after_swapped_mib", |outcome| outcome.memory_after_mib?.swapped),
        column("disk_virtual_size_mib", |outcome| outcome.disk_mib?.virtual_size),
        column("disk_allocated_mib", |outcome| outcome.disk_mib?.allocated),
        column("disk_used_mib", |outcome| outcome.disk_mib?.used),
        column("disk_after_allocated_mib", |outcome| outcome.disk_after_mib?.allocated),
        column("disk_after_used_mib", |outcome| outcome.disk_after_mib?.used),
    ]
}

/// What captures say of the migration's conversations, where any trial has one.
fn captures<'a>(outcomes: &[Outcome]) -> Vec<Column<'a>> {
    if outcomes.iter().all(|outcome| outcome.capture.is_none()) {
        return Vec::new();
    }
    let complete = column("capture_complete", |outcome| Some(outcome.capture.as_ref()?.complete));
    let figures = FIGURES.iter().map(|figure| {
        column(format!("capture_{}", figure.name), |outcome| (figure.of)(outcome.capture.as_ref()?))
    });
    [complete].into_iter().chain(figures).collect()
}

/// Disks and VMs that stood still, each where any outcome has them.
fn storage<'a>(outcomes: &[Outcome]) -> Vec<Column<'a>> {
    let has_any = |is_there: fn(&Outcome) -> bool| outcomes.iter().any(is_there);
    let disks = has_any(|one| one.storage_bytes.is_some() || one.storage_network_bytes.is_some());
    let stood_still = has_any(|one| one.standstill_ms.is_some());
    let compared = has_any(|one| !one.storage_compared.is_empty());
    let figures = |figures: &'static [storage::Figure], is_there: bool| {
        figures.iter().filter(move |_| is_there).map(|figure| column(figure.name, figure.of))
    };
    let all = figures(&storage::FIGURES, disks).chain(figures(&standstill::FIGURES, stood_still));
    let equal = column("storage_compared_equal", |outcome: &Outcome| {
        let all = &outcome.storage_compared;
        (!all.is_empty()).then(|| all.iter().all(|compared| compared.equal))
    });
    let verified = column("files_verified", files_verified);
    all.chain(compared.then_some(equal)).chain(stood_still.then_some(verified)).collect()
}

/// Whether every file was the same at both ends; absent where one was not compared, unless another is known to differ.
fn files_verified(outcome: &Outcome) -> Option<bool> {
    let all = || outcome.files.iter().map(|file| file.verified);
    if all().any(|verified| verified == Some(false)) {
        return Some(false);
    }
    let all: Option<Vec<bool>> = all().collect();
    all.filter(|all| !all.is_empty()).map(|_| true)
}

/// What the workloads did, of the case that has most of them.
fn workloads<'a>(outcomes: &[Outcome]) -> Vec<Column<'a>> {
    let parts = |outcome: &Outcome| outcome.workload.as_ref().map_or(0, |done| done.asked.parts().len());
    let most = outcomes.iter().map(parts).max().unwrap_or(0).max(1);
    (0..most).flat_map(workload).collect()
}

fn workload<'a>(index: usize) -> Vec<Column<'a>> {
    vec![
        achieved(index, "rate_mib_s", |done| done.rate_mib_s),
        achieved(index, "corrupt_pages", |done| done.corrupt_pages),
        achieved(index, "corrupt_disk_pages", |done| done.corrupt_disk_pages),
        achieved(index, "operations_per_s", |done| done.operations_per_s),
        achieved(index, "user_percent", |done| done.user_percent),
        achieved(index, "system_percent", |done| done.system_percent),
        achieved(index, "wrong_results", |done| done.wrong_results),
        achieved(index, "longest_gap_ms", |done| done.clock.map(|clock| clock.longest_gap_ms)),
        achieved(index, "gaps", |done| done.clock.map(|clock| clock.gaps)),
        achieved(index, "gaps_total_ms", |done| done.clock.map(|clock| clock.gaps_total_ms)),
        achieved(index, "realtime_jump_ms", |done| done.clock.map(|clock| clock.realtime_jump_ms)),
        stream(index, "stream_rate_before_mib_s", |stream| stream.rate_before_mib_s),
        stream(index, "stream_rate_during_mib_s", |stream| stream.rate_during_mib_s),
        stream(index, "stream_rate_after_mib_s", |stream| stream.rate_after_mib_s),
        stream(index, "stream_longest_stall_ms", |stream| stream.longest_stall.map(|stall| stall.length_ms)),
        stream(index, "stream_breaks", |stream| Some(stream.breaks.len())),
        stream(index, "lost_datagrams", |stream| stream.lost_datagrams),
    ]
}

/// A column of what became of one of the workloads, where it is a stream.
fn stream<'a, T: ToString>(
    index: usize,
    name: &str,
    value: impl Fn(&StreamOutcome) -> Option<T> + 'a,
) -> Column<'a> {
    column(workload_column(index, name), move |outcome| {
        value(outcome.streams.iter().find(|stream| stream.workload as usize == index)?)
    })
}

fn guest_clock<'a>() -> Vec<Column<'a>> {
    vec![
        column("guest_clock_elapsed_ms", |outcome| outcome.guest_clock.map(|clock| clock.elapsed_ms)),
        column("guest_monotonic_behind_ms", |outcome| {
            outcome.guest_clock.map(|clock| clock.monotonic_behind_ms)
        }),
        column("guest_boottime_behind_ms", |outcome| {
            outcome.guest_clock.map(|clock| clock.boottime_behind_ms)
        }),
        column("guest_realtime_behind_ms", |outcome| {
            outcome.guest_clock.map(|clock| clock.realtime_behind_ms)
        }),
        column("guest_clock_error_ms", |outcome| outcome.guest_clock.map(|clock| clock.error_ms)),
    ]
}

fn link<'a>() -> Vec<Column<'a>> {
    vec![
        column("link_rate_mbit", |outcome| outcome.link.rate_mbit),
        column("link_goodput_mbit", |outcome| outcome.link.goodput_mbit),
    ]
}

/// CPU time, in percent of one core, as in `cpu_source_during_percent`.
fn cpu<'a>() -> Vec<Column<'a>> {
    let spans: [(&str, Span); 3] = [
        ("before", |shares| shares.before),
        ("during", |shares| shares.during),
        ("after", |shares| shares.after),
    ];
    let names = CpuPercent::default().named().map(|(name, _)| name);
    let columns = names.into_iter().enumerate().flat_map(|(index, name)| {
        spans.map(|(when, span)| {
            column(format!("cpu_{name}_{when}_percent"), move |outcome| {
                span(outcome.cpu_percent?.named()[index].1)
            })
        })
    });
    columns.collect()
}

type Span = fn(CpuShares) -> Option<f64>;

fn line(fields: impl Iterator<Item = String>) -> String {
    let fields: Vec<String> = fields.map(|field| quoted(&field)).collect();
    fields.join(",") + "\r\n"
}

/// A field as RFC 4180, section 2, rules 5 to 7, writes it. What a spreadsheet would take for a formula has an apostrophe before
/// it (OWASP, "CSV Injection"), unless it is a number: titles, errors and names of others stand in these fields.
fn quoted(field: &str) -> String {
    let is_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']) && field.parse::<f64>().is_err();
    let field = if is_formula { Cow::Owned(format!("'{field}")) } else { Cow::Borrowed(field) };
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_that_need_quotes_have_them() {
        for (field, text) in [
            ("plain text", "plain text"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=HYPERLINK(\"x\",A1)", "\"'=HYPERLINK(\"\"x\"\",A1)\""),
            ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
            ("-2+3", "'-2+3"),
            ("@SUM(1)", "'@SUM(1)"),
            ("\t=1", "'\t=1"),
            ("-3.5", "-3.5"),
            ("-1e-7", "-1e-7"),
        ] {
            assert_eq!(quoted(field), text);
        }
    }
}
