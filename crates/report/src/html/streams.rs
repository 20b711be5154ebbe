//! What a migration did to the streams between the guest and the bench, and to the TCP streams beside it.

use std::collections::BTreeMap;

use dunlin_record::{StreamOutcome, TcpStreamOutcome};
use maud::{Markup, html};

use crate::format::{ABSENT, number, number_or_absent};

/// A line a stream, and below it what broke or was lost; nothing where there is none.
pub(super) fn streams(streams: &[StreamOutcome]) -> Markup {
    let columns = [
        "Before, MiB/s",
        "During",
        "After",
        "Longest stall, ms",
        "Its begin, ms",
        "Connections broken",
        "Datagrams lost",
    ];
    html! {
        @if !streams.is_empty() {
            div class="scroll" {
                table {
                    thead { tr { th scope="col" { "Stream" } @for name in columns { th scope="col" class="n" { (name) } } } }
                    tbody { @for stream in streams { (line(stream)) } }
                }
            }
            @for stream in streams { (happened(stream)) }
        }
    }
}

/// A line a TCP stream probe; nothing where there is none.
pub(super) fn tcp_streams(streams: &BTreeMap<String, TcpStreamOutcome>) -> Markup {
    let columns = [
        "Before, MiB/s",
        "During",
        "After",
        "Round trip before, ms",
        "During",
        "After",
        "Longest stall, ms",
        "Its begin, ms",
        "Sent again",
    ];
    html! {
        @if !streams.is_empty() {
            div class="scroll" {
                table {
                    thead { tr { th scope="col" { "TCP stream" } @for name in columns { th scope="col" class="n" { (name) } } } }
                    tbody {
                        @for (name, stream) in streams {
                            @let TcpStreamOutcome { rate_mib_s: rate, rtt_ms: rtt, longest_stall: stall, .. } = stream;
                            tr {
                                th scope="row" { (name) }
                                @for value in [
                                    rate.before, rate.during, rate.after, rtt.before, rtt.during, rtt.after,
                                    stall.map(|stall| stall.length_ms), stall.map(|stall| stall.start_ms),
                                ] { td class="n" { (number_or_absent(value)) } }
                                td class="n" {
                                    (stream.retransmitted_segments.map_or_else(|| ABSENT.into(), |segments| segments.to_string()))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn line(stream: &StreamOutcome) -> Markup {
    let stall = stream.longest_stall;
    let datagrams = stream.lost_datagrams;
    html! {
        tr {
            th scope="row" { (stream.kind) }
            @for value in [
                stream.rate_before_mib_s, stream.rate_during_mib_s, stream.rate_after_mib_s,
                stall.map(|stall| stall.length_ms), stall.map(|stall| stall.start_ms),
            ] { td class="n" { (number_or_absent(value)) } }
            td class="n" { (stream.breaks.len()) }
            td class="n" { (datagrams.map_or_else(|| ABSENT.into(), |datagrams| datagrams.to_string())) }
        }
    }
}

fn happened(stream: &StreamOutcome) -> Markup {
    html! {
        @if !stream.breaks.is_empty() || !stream.losses.is_empty() {
            details class="more" {
                summary { "What broke or was lost: " (stream.kind) ", in ms after the migrate command" }
                ul {
                    @for broken in &stream.breaks {
                        li {
                            (number(broken.broken_ms)) ": the connection broke, "
                            @if let Some(connected_ms) = broken.connected_ms {
                                "there was another at " (number(connected_ms))
                            } @else { "and there was no other" }
                        }
                    }
                    @for loss in &stream.losses {
                        li { (number(loss.start_ms)) " to " (number(loss.end_ms)) ": " (loss.datagrams) " datagrams lost" }
                    }
                }
            }
        }
    }
}
