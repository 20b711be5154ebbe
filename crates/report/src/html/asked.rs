//! Every setting of the run's cases: first what differs between them, then what all share.

use dunlin_record::{RunInfo, Software};
use maud::{Markup, html};

use crate::asked::Asked;
use crate::format::ABSENT;

/// Which products of which version ran the VMs of either side, and what the guests booted.
pub(super) fn software(software: &Software) -> Markup {
    let parts = [
        ("At the source", &software.source_hypervisors),
        ("at the destination", &software.destination_hypervisors),
        ("the guests' kernel", &software.guest_kernels),
    ];
    let known: Vec<String> = parts
        .iter()
        .map(|(what, versions)| (what, versions.iter().filter(|version| !version.is_empty())))
        .map(|(what, versions)| (what, versions.map(String::as_str).collect::<Vec<_>>()))
        .filter(|(_, versions)| !versions.is_empty())
        .map(|(what, versions)| format!("{what}: {}", versions.join(", ")))
        .collect();
    html! { @if !known.is_empty() { p { (known.join("; ")) "." } } }
}

/// What differs between the cases, by the names that a scenario gives it.
pub(super) fn differing(info: &RunInfo) -> Markup {
    let asked = Asked::of(&info.cases);
    html! {
        @if !asked.differing.is_empty() {
            p { "What differs between the cases:" }
            div class="scroll" tabindex="0" role="region" aria-label="What differs between the cases" {
                table {
                    thead { tr {
                        th scope="col" { "Case" }
                        @for path in &asked.differing { th scope="col" { (path) } }
                    } }
                    tbody {
                        @for (title, values) in &asked.cases {
                            tr {
                                th scope="row" { (title) }
                                @for value in values { td { (value.as_deref().unwrap_or(ABSENT)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What was asked alike in all cases.
pub(super) fn shared(info: &RunInfo) -> Markup {
    let asked = Asked::of(&info.cases);
    html! {
        @if !asked.shared.is_empty() {
            details {
                summary { "Every setting that is the same in all cases" }
                div class="scroll" tabindex="0" role="region" aria-label="Settings of all cases" {
                    table {
                        thead { tr { th scope="col" { "Setting" } th scope="col" { "Value" } } }
                        tbody {
                            @for (path, value) in &asked.shared {
                                tr { th scope="row" { (path) } td { (value) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
