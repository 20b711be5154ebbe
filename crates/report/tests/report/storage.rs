//! What the renderings show of disks that moved, VMs that stood still, and the papers' figures beside them.

use dunlin_record::{
    Case, DowntimeMs, FileOutcome, Flag, StandstillMs, StorageBytes, StorageComparison, StorageMib,
    StorageNetworkBytes, StorageStep, StorageSteps,
};
use dunlin_report::{csv, html, json, table};
use serde_json::json as value;

use super::{fixture, report};

fn named(run: &mut fixture::Run, index: usize, name: &str, settings: &serde_json::Value) {
    let old = run.info.cases[index].title();
    let case = &mut run.info.cases[index];
    let mut whole = serde_json::to_value(&*case).expect("a case");
    for (key, setting) in settings.as_object().expect("settings") {
        whole[key] = setting.clone();
    }
    whole["name"] = name.into();
    whole["dials"] = value!({});
    *case = serde_json::from_value::<Case>(whole).expect("a case");
    let strategy = case.strategy.name().to_owned();
    for outcome in run.outcomes.iter_mut().filter(|outcome| outcome.case.title() == old) {
        outcome.case.name = name.into();
        outcome.case.dials.clear();
        outcome.strategy.clone_from(&strategy);
    }
}

/// Four cases: over NFS, in one step, cold, in two steps. Trials differ a little.
fn run() -> fixture::Run {
    let mut run = fixture::run();
    let vm = |shared: bool| value!({ "disk": { "size_mib": 1024 }, "shared_storage": shared });
    named(&mut run, 0, "memory", &value!({ "vm": vm(true), "storage": { "server": "nfs" } }));
    named(
        &mut run,
        1,
        "storage-all",
        &value!({ "vm": vm(false), "storage": { "blocks": "all", "rate_mib_s": 50.0 } }),
    );
    let cold = value!({ "kind": "cold", "way": "scp", "compression": "zstd", "level": 9, "threads": 2 });
    named(&mut run, 2, "cold", &value!({ "vm": vm(false), "strategy": cold }));
    let two = value!({ "two_steps": true, "writes": "in-step" });
    named(
        &mut run,
        3,
        "two-steps-allocated",
        &value!({ "vm": vm(false), "storage": two, "strategy": { "kind": "pre-copy" } }),
    );
    for outcome in &mut run.outcomes {
        let more = f64::from(outcome.trial);
        match outcome.case.name.as_str() {
            "memory" => {
                outcome.storage_network_bytes = Some(StorageNetworkBytes {
                    source_tx: Some(1_500_000),
                    source_rx: Some(500_000),
                    destination_tx: Some(0),
                    destination_rx: Some(0),
                });
            }
            "cold" => {
                outcome.status = dunlin_record::Status::Completed;
                outcome.error = None;
                outcome.not_converged = None;
                outcome.total_time_ms = Some(131_000.0 + more);
                outcome.downtime_ms = DowntimeMs { icmp: Some(128_000.0 + more), ..DowntimeMs::default() };
                outcome.storage_bytes =
                    Some(StorageBytes { data: Some(90_000_000), ..StorageBytes::default() });
                outcome.standstill_ms = Some(StandstillMs {
                    rest: Some(4000.0 + more),
                    compress: Some(30_000.0),
                    transfer: Some(61_000.0),
                    decompress: Some(15_000.0),
                    wake: Some(20_000.0),
                });
                let disk = FileOutcome {
                    file: "disk".into(),
                    file_bytes: 1 << 30,
                    content_bytes: 1 << 30,
                    sent_bytes: 28_000_000,
                    sent_percent: Some(2.608),
                    compress_ms: Some(30_000.0),
                    transfer_ms: Some(61_000.0),
                    decompress_ms: None,
                    overlapped: false,
                    threads: 2,
                    verified: Some(true),
                };
                outcome.files =
                    vec![disk.clone(), FileOutcome { file: "swap".into(), verified: None, ..disk }];
            }
            name => {
                let two = name == "two-steps-allocated";
                outcome.storage_bytes = Some(StorageBytes {
                    data: Some(90_000_000),
                    copied: Some(1_073_741_824),
                    wire: Some(1_130_000_000),
                });
                outcome.storage_mib =
                    Some(StorageMib { virtual_size: Some(1024.0), allocated: Some(90.0), data: Some(86.0) });
                outcome.phases_ms.storage = Some(10_000.0 + 100.0 * more);
                outcome.storage_floor_ms = Some(9126.0);
                let step = |time_ms, icmp| StorageStep {
                    time_ms: Some(time_ms),
                    wire_bytes: Some(1_130_000_000),
                    storage_network_bytes: None,
                    downtime_ms: DowntimeMs { icmp, ..DowntimeMs::default() },
                };
                outcome.storage_steps = two.then(|| StorageSteps {
                    disks: step(10_000.0, Some(110.0)),
                    memory: step(1200.0 + more, Some(2300.0)),
                });
                outcome.storage_compared = vec![StorageComparison {
                    disk: "disk".into(),
                    compared_bytes: 1 << 30,
                    equal: true,
                    differs_at_bytes: None,
                }];
            }
        }
    }
    run
}

/// From a title to the next section that is not of these.
fn section(text: &str, from: &str) -> String {
    let begin = text.find(from).unwrap_or_else(|| panic!("{from} in {text}"));
    let end = text[begin..].find("\nNot completed:").map_or(text.len(), |end| begin + end);
    text[begin..end].to_owned()
}

#[test]
fn disks_standstills_and_the_papers_have_their_tables_below_the_summary() {
    let mut run = run();
    run.info.scenario = "hu2013-storage".into();
    let text = table(&report(&run), Some(100));
    let section = section(&text, "Disks:");
    assert!(section.lines().all(|line| line.chars().count() <= 100), "{section}");
    insta::assert_snapshot!(section);
    let plain = table(&report(&fixture::run()), None);
    for title in ["Disks:", "Cold and offline", "Beside ", "Compared block"] {
        assert!(!plain.contains(title), "{title}");
    }
}

#[test]
fn a_paper_stands_beside_only_what_repeats_it() {
    let mut run = run();
    run.info.scenario = "hu2013-cold".into();
    let text = table(&report(&run), None);
    assert!(!text.contains("Beside "), "no case of it was tried: {text}");
    named(&mut run, 2, "cold-scp", &value!({}));
    let text = table(&report(&run), None);
    for told in ["97 Mbit/s", "941 Mbit/s", "97.7 % of it"] {
        assert!(text.contains(told), "{told} in {text}");
    }
    assert!(html(&report(&run)).contains("Beside the paper"));
}

#[test]
fn the_page_draws_the_parts_of_a_standstill_beside_live_migrations() {
    let page = html(&report(&run()));
    let begin = page.find("Parts of moves by case").unwrap();
    let chart = &page[begin..begin + page[begin..].find("</svg>").unwrap()];
    for (part, times) in
        [("p-rest", 1), ("p-transfer", 1), ("p-wake", 1), ("p-running", 3), ("p-downtime", 3)]
    {
        assert_eq!(chart.matches(part).count(), times, "{part}");
    }
    assert!(page.contains("<h2>Storage</h2>") && page.contains("Both steps of migrations in two"));
    assert!(!html(&report(&fixture::run())).contains("Part by part"));
}

#[test]
fn csv_and_json_have_the_figures_where_there_are_any() {
    let run = run();
    let text = csv(&report(&run));
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let cell = |case: &str, name: &str| {
        let line = text.lines().find(|line| line.contains(&format!("demo,{case},"))).unwrap().to_owned();
        let index = header.iter().position(|one| *one == name).unwrap_or_else(|| panic!("{name}"));
        line.split(',').nth(index).unwrap().to_owned()
    };
    assert_eq!(cell("cold", "standstill_compress_ms"), "30000");
    assert_eq!(cell("cold", "files_sent_bytes"), "56000000");
    assert_eq!(cell("cold", "files_verified"), "", "one file was not compared");
    assert_eq!(cell("two-steps-allocated", "storage_disks_step_downtime_icmp_ms"), "110");
    assert_eq!(cell("two-steps-allocated", "storage_compared_equal"), "true");
    assert_eq!(cell("memory", "storage_network_source_tx_bytes"), "1500000");
    assert_eq!(cell("memory", "storage_wire_bytes"), "");
    assert!(!csv(&report(&fixture::run())).contains("standstill_"));
    let value: serde_json::Value = serde_json::from_str(&json(&report(&run))).unwrap();
    let cases = &value["run"]["cases"];
    assert_eq!(cases[2]["standstill"]["standstill_rest_ms"]["median"], 4002.0);
    assert_eq!(cases[1]["storage"]["storage_floor_ms"]["median"], 9126.0);
    assert_eq!(cases[0].get("standstill"), None);
}

#[test]
fn a_copy_that_is_not_the_same_stands_above_all_figures() {
    let mut run = run();
    run.outcomes[3].flags.push(Flag::CorruptCopy);
    run.outcomes[3].storage_compared[0].differs_at_bytes = Some(4096);
    run.outcomes[6].flags.push(Flag::CorruptCopy);
    run.outcomes[6].files[0].verified = Some(false);
    let text = table(&report(&run), None);
    assert!(text.starts_with("A COPY WAS CORRUPTED, the gravest outcome of a migration."), "{text}");
    for told in ["images of disk differ, first at byte 4096", "disk has another checksum at the destination"]
    {
        assert!(text.contains(told), "{told}");
    }
}
