//! How busy CPUs were with a VM: a table of a trial.

use dunlin_record::CpuPercent;
use maud::{Markup, html};

use crate::format::number_or_absent;

/// The shares of CPU time before, during and after the migration.
pub(super) fn shares(cpu: &CpuPercent) -> Markup {
    let rows = [
        ("hypervisor at the source", cpu.source),
        ("its vCPUs", cpu.source_vcpus),
        ("hypervisor at the destination", cpu.destination),
        ("its vCPUs", cpu.destination_vcpus),
        ("guest, as its kernel counts", cpu.guest),
    ];
    html! {
        div class="scroll" {
            table {
                thead { tr {
                    th scope="col" { "CPU, % of one core" }
                    @for when in ["Before", "During", "After"] { th scope="col" class="n" { (when) } }
                } }
                tbody {
                    @for (name, shares) in rows {
                        tr {
                            th scope="row" { (name) }
                            @for value in [shares.before, shares.during, shares.after] {
                                td class="n" { (number_or_absent(value)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
