//! What the run was: its cautions, its machines, and what each case asked for.

use std::collections::BTreeSet;

use dunlin_record::{Case, Flag, HostFingerprint, Link, Probes, Trials, VmSettings};
use maud::{Markup, html};

use super::asked;
use crate::Report;
use crate::cases::CaseRow;
use crate::format::ABSENT;
use crate::resumed;
use crate::words::{flag_words, flags_met, share};
use crate::workload;

/// What to know before believing the figures: the emulated CPU, and every flag in words.
pub(super) fn cautions(report: &Report) -> Markup {
    let flags = flags_met(report.outcomes);
    let emulated = flags.iter().any(|(flag, _)| *flag == Flag::EmulatedCpu);
    html! {
        @if !flags.is_empty() {
            aside {
                @if emulated {
                    p {
                        b { "The guests' CPU was emulated." } " There was no hardware virtualisation to use, so \
                        guests ran many times slower than on it and competed with the hypervisor for the machine's \
                        cores. Compare the cases of this run with each other; do not compare its times with those \
                        of other machines."
                    }
                }
                ul {
                    @for (flag, amount) in flags {
                        @let words = flag_words(flag);
                        li {
                            span class="flag" { (words.name) } " in " (share(amount, report.outcomes.len())) ": "
                            (words.meaning) "."
                        }
                    }
                }
            }
        }
    }
}

/// The machines and the cases.
pub(super) fn setup(report: &Report, rows: &[CaseRow]) -> Markup {
    html! {
        section {
            h2 { "What it ran on" }
            p { "Hypervisor: " (hypervisors(report)) "." }
            (asked::software(&report.info.software))
            div class="scroll" tabindex="0" role="region" aria-label="Machines" {
                table {
                    thead { tr {
                        @for name in ["Hosts", "CPU", "Cores", "Memory, MiB", "Kernel", "KSM", "Huge pages", "TCP", "More"] {
                            th scope="col" { (name) }
                        }
                    } }
                    tbody { @for host in &report.info.hosts { (machine(host)) } }
                }
            }
            (resumed::markup(report.info))
            h2 { "What was asked" }
            (asked::differing(report.info))
            div class="scroll" tabindex="0" role="region" aria-label="Cases" {
                table {
                    thead { tr {
                        @for name in [
                            "Case", "Strategy", "VM", "Workload", "Migration link", "Service link", "Probes", "Trials", "Limit, s",
                        ] {
                            th scope="col" { (name) }
                        }
                    } }
                    tbody { @for case in rows.iter().filter_map(|row| row.case) { (asked_of(case)) } }
                }
            }
            (asked::shared(report.info))
        }
    }
}

fn hypervisors(report: &Report) -> String {
    let labels: BTreeSet<String> = report
        .outcomes
        .iter()
        .filter_map(|outcome| outcome.hypervisor.as_ref())
        .map(|label| {
            let to = label
                .destination_version
                .as_ref()
                .map(|version| format!(" to {version}"))
                .unwrap_or_default();
            format!("{} {}{to} ({})", label.name, label.version, label.accelerator)
        })
        .collect();
    if labels.is_empty() { "not known".into() } else { labels.into_iter().collect::<Vec<_>>().join(", ") }
}

fn machine(host: &HostFingerprint) -> Markup {
    let more: Vec<String> = host.more.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    html! {
        tr {
            th scope="row" { (host.hosts) }
            td { (text(host.cpu.as_ref())) }
            td class="n" { (text(host.cores)) }
            td class="n" { (text(host.memory_mib)) }
            @for value in [&host.kernel, &host.ksm, &host.thp, &host.congestion_control] { td { (text(value.as_ref())) } }
            td { (more.join(", ")) }
        }
    }
}

fn asked_of(case: &Case) -> Markup {
    let Probes { icmp, udp, http, .. } = &case.probes;
    let timed = [
        ("icmp", icmp.as_ref().map(|probe| probe.interval_ms)),
        ("udp", udp.as_ref().map(|probe| probe.interval_ms)),
        ("http", http.as_ref().map(|probe| probe.interval_ms)),
    ];
    let timed = timed.into_iter().filter_map(|(name, ms)| Some(format!("{name} every {} ms", ms?)));
    let tcp = case.probes.tcp().into_iter().map(|(name, ..)| name.to_owned());
    let probes: Vec<String> = timed.chain(tcp).collect();
    html! {
        tr {
            th scope="row" { (case.title()) }
            td { (case.strategy.name()) }
            td { (vm(&case.vm)) }
            td { (case.workload.as_ref().map_or_else(|| "none".into(), workload::asked)) }
            td { (link(&case.link.migration)) }
            td { (link(&case.link.service)) }
            td { (if probes.is_empty() { "none".into() } else { probes.join(", ") }) }
            td class="n" { (trials_asked(&case.trials)) }
            td class="n" { (case.trials.limit_s) }
        }
    }
}

fn vm(vm: &VmSettings) -> String {
    let disk = vm.disk.as_ref().map(|disk| format!(", disk of {} MiB", disk.size_mib)).unwrap_or_default();
    let swap = vm.swap_mib.map(|mib| format!(", swap of {mib} MiB")).unwrap_or_default();
    format!("{} MiB, {} vCPU, {}{disk}{swap}", vm.memory_mib, vm.vcpus, vm.machine)
}

fn link(link: &Link) -> String {
    let rate = link.rate_mbit.map_or_else(|| "rate not limited".into(), |rate| format!("{rate} Mbit/s"));
    if link.delay_ms > 0.0 { format!("{rate}, {} ms added each way", link.delay_ms) } else { rate }
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(|| ABSENT.into(), |value| value.to_string())
}

/// How many trials were asked for, and until when.
fn trials_asked(trials: &Trials) -> String {
    match trials.until {
        Some(until) => format!("{}–{} until ±{until}", trials.min, trials.max),
        None => trials.count.to_string(),
    }
}
