//! Writes the report of a made-up run to the standard output: `cargo run -p dunlin-report --example sample -- html`.
#![expect(clippy::print_stdout, reason = "printing is what the example is for")]

#[path = "../tests/report/fixture.rs"]
mod fixture;

fn main() {
    let run = fixture::run();
    let report = dunlin_report::Report {
        info: &run.info,
        outcomes: &run.outcomes,
        timelines: &run.timelines,
        captures: &run.captures,
    };
    let text = match std::env::args().nth(1).as_deref() {
        Some("html") => dunlin_report::html(&report),
        Some("json") => dunlin_report::json(&report),
        Some("csv") => dunlin_report::csv(&report),
        _ => dunlin_report::table(&report, Some(100)),
    };
    print!("{text}");
}
