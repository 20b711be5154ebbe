//! Scenarios as they are written: what each comes to, and what is said of those that cannot be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dunlin_record::{
    ChannelCompression, Cpu, DiskFile, HttpProbe, HttpServer, MemoryRead, MemoryWrite, Pattern, Probe,
    Probes, Rate, Snmp, Strategy, Switch, TcpStream, Transport, TransportKind, UdpStream, Workload,
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::keys::{RUN, SETTINGS, Takes};
use super::*;

const DEMO: &str = include_str!("../../../../scenarios/demo.toml");
const DOCS: &str = include_str!("../../../../docs/scenario.md");

fn parse(text: &str) -> Scenario {
    Scenario::parse(text, "s.toml").unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

/// A scenario named `s` with these lines at its top and these in its only case.
fn one_case(top: &str, case: &str) -> String {
    format!("name = \"s\"\n{top}\n[[case]]\nname = \"c\"\n{case}\n")
}

fn titles(text: &str) -> Vec<String> {
    parse(text).cases.iter().map(Case::title).collect()
}

fn errors(text: &str) -> String {
    Scenario::parse(text, "s.toml").expect_err(text).to_string()
}

/// The messages for each text that stands alone at the top of an otherwise good scenario; its first line is line 2.
fn errors_at_top(tops: &[&str]) -> String {
    tops.iter().map(|top| errors(&one_case(top, "")) + "\n").collect()
}

/// The same for the only case; its first line is line 5.
fn errors_in_case(cases: &[&str]) -> String {
    cases.iter().map(|case| errors(&one_case("", case)) + "\n").collect()
}

#[test]
fn the_demo_is_four_cases_in_the_order_of_the_file() {
    let demo = parse(DEMO);
    assert_eq!(demo.name, "demo");
    assert_eq!(titles(DEMO), ["idle", "dirty", "never-converges", "hybrid"]);
    assert!(demo.cases.iter().all(|case| case.trials.count == 3 && case.vm.memory_mib == 512));
    let limits: Vec<f64> = demo.cases.iter().map(|case| case.trials.limit_s).collect();
    assert_eq!(limits, [20.0, 20.0, 10.0, 20.0]);
    let full = |mib| Some(Workload::MemoryWrite(MemoryWrite::new(mib, Rate::Full)));
    let workloads: Vec<_> = demo.cases.iter().map(|case| case.workload.clone()).collect();
    assert_eq!(workloads, [None, full(16), full(128), full(128)]);
    assert_eq!(demo.cases[2].strategy, Strategy::PreCopy);
    assert_eq!(
        demo.cases[3].strategy,
        Strategy::Hybrid { after_passes: Some(1), after_s: None, preempt: true }
    );
    assert!(expected_duration(&demo) < Duration::from_secs(300), "{:?}", expected_duration(&demo));
}

#[test]
fn the_starter_parses_and_says_the_true_defaults() {
    let scenario = parse(starter());
    assert_eq!(scenario.cases.len(), 5);
    let bare = parse(&one_case("[trials]\nlimit_s = 30", ""));
    let idle = Case { name: "c".into(), ..scenario.cases[0].clone() };
    assert_eq!(idle, bare.cases[0]);
    // What is commented out there must be valid too, where it names a value.
    let uncommented =
        starter().replace("# fresh", "fresh").replace("# delay", "delay").replace("# accel", "accel");
    let uncommented = uncommented.replace("# baseline", "baseline").replace("# settle", "settle");
    assert_eq!(parse(&uncommented), scenario);
    let uncommented =
        starter().replace("# capabilities", "capabilities").replace("# parameters", "parameters");
    assert_eq!(parse(&uncommented).cases[0].qemu.parameters["downtime-limit"], json!(300));
}

#[test]
fn a_silent_scenario_has_the_documented_defaults() {
    let case = &parse(&one_case("", "")).cases[0];
    assert_eq!(case.link.migration.rate_mbit, Some(1000.0));
    assert_eq!(case.link.service.rate_mbit, None);
    assert_eq!(case.probes.icmp, Some(Probe { interval_ms: 1.0 }));
    assert_eq!(case.probes.udp, Some(Probe { interval_ms: 1.0 }));
    assert_eq!(case.strategy, Strategy::PreCopy);
    assert_eq!((case.vm.memory_mib, case.trials.count, case.workload.is_none()), (512, 3, true));
}

#[test]
fn a_scenario_without_a_title_is_titled_by_its_name() {
    assert_eq!(parse(&one_case("", "")).title, "s");
    assert_eq!(parse(&one_case("title = \"T\"", "")).title, "T");
}

#[test]
fn a_case_is_merged_deep_over_the_defaults() {
    let text = one_case(
        "[vm]\nmemory_mib = 256\nmachine = \"pc\"\n[qemu.parameters]\na = 1\nb = 1\n[link.migration]\ndelay_ms = 5",
        "vm = { memory_mib = 1024 }\nqemu.parameters = { b = \"two\" }\nlink.migration.rate_mbit = \"none\"",
    );
    let case = &parse(&text).cases[0];
    assert_eq!((case.vm.memory_mib, case.vm.machine.as_str()), (1024, "pc"));
    assert_eq!(case.qemu.parameters, BTreeMap::from([("a".into(), json!(1)), ("b".into(), json!("two"))]));
    assert_eq!((case.link.migration.rate_mbit, case.link.migration.delay_ms), (None, 5.0));
}

#[test]
fn false_takes_a_probe_or_the_workload_away_and_true_brings_the_probe_back() {
    let workload = "workload = { kind = \"memory-write\", working_set_mib = 8 }";
    let probes = "[probes]\nicmp = { interval_ms = 0.5 }\nudp = false";
    let case = &parse(&one_case(&format!("{workload}\n{probes}"), "")).cases[0];
    assert!(case.workload.is_some() && case.probes.udp.is_none());
    let other = "workload = false\nprobes = { icmp = true, udp = true }";
    let case = &parse(&one_case(&format!("{workload}\n{probes}"), other)).cases[0];
    assert!(case.workload.is_none());
    assert_eq!(case.probes.icmp, Some(Probe { interval_ms: 0.5 }));
    assert_eq!(case.probes.udp, Some(Probe { interval_ms: 1.0 }));
}

#[test]
fn another_kind_begins_anew_and_the_same_kind_is_merged() {
    let top = "[strategy]\nkind = \"hybrid\"\nafter_passes = 2\npreempt = false";
    let strategy = |case: &str| parse(&one_case(top, case)).cases[0].strategy.clone();
    assert_eq!(strategy("strategy = { kind = \"suspend\" }"), Strategy::Suspend { after_passes: None });
    let suspend = "strategy = { kind = \"suspend\", after_passes = 5 }";
    assert_eq!(strategy(suspend), Strategy::Suspend { after_passes: Some(5) });
    assert_eq!(strategy("strategy = { kind = \"post-copy\" }"), Strategy::PostCopy { preempt: true });
    let merged = Strategy::Hybrid { after_passes: Some(3), after_s: None, preempt: false };
    assert_eq!(strategy("strategy = { kind = \"hybrid\", after_passes = 3 }"), merged);
    assert_eq!(strategy("strategy.after_passes = 3"), merged);
}

#[test]
fn trials_go_on_until_a_precision_where_one_is_asked_for() {
    let trials = |trials: &str| parse(&one_case("", &format!("trials = {trials}"))).cases[0].trials.clone();
    assert_eq!(trials("{ count = 2 }").range(), 2..=2);
    assert_eq!(trials("{ until = \"5%\" }").range(), 6..=30);
    assert_eq!(trials("{ min = 8, max = 8, until = \"2.5%\" }").range(), 8..=8);
    let expected = |case: &str| expected_duration(&parse(&one_case("", case))).as_secs_f64();
    let (one, open) =
        (expected("trials.count = 1"), expected("trials = { min = 6, max = 30, until = \"5%\" }"));
    assert!((open - 18.0 * one).abs() < 0.01, "between the least and the most: {open} s");
}

#[test]
fn a_pair_is_the_case_with_its_probes_and_without() {
    let workload = "workload = { kind = \"memory-write\", working_set_mib = [8, 16] }";
    let text = one_case("[trials]\npaired = true", &format!("{workload}\nprobes.udp = false"));
    let cases = parse(&text).cases;
    assert_eq!(titles(&text), ["c probed 8", "c unprobed 8", "c probed 16", "c unprobed 16"]);
    assert_eq!(cases[0].probes, Probes { icmp: Some(Probe::default()), ..Probes::default() });
    assert_eq!(cases[1].probes, Probes::default());
    assert_eq!(
        Case { probes: cases[0].probes.clone(), dials: cases[0].dials.clone(), ..cases[1].clone() },
        cases[0]
    );
}

#[test]
fn the_order_is_shuffled_unless_the_file_says_otherwise() {
    let order = |top: &str| {
        let scenario = parse(&one_case(top, ""));
        (scenario.shuffle, scenario.seed)
    };
    assert_eq!(order(""), (true, None));
    assert_eq!(order("run = { seed = 7 }"), (true, Some(7)));
    assert_eq!(order("[run]\nshuffle = false"), (false, None));
}

#[test]
fn lists_multiply_in_the_order_of_the_file_the_last_fastest() {
    let text = one_case(
        "[vm]\nvcpus = [1, 2]",
        "workload = { kind = \"memory-write\", working_set_mib = [8, 4], rate_mib_s = [\"full\", 10] }",
    );
    let cells: Vec<_> = parse(&text).cases.into_iter().map(|case| case.dials).collect();
    let cell = |vcpus: u32, set: u32, rate: Json| {
        let dials = [("vcpus", json!(vcpus)), ("working_set_mib", json!(set)), ("rate_mib_s", rate)];
        dials.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>()
    };
    let mut expected = Vec::new();
    for vcpus in [1, 2] {
        for set in [8, 4] {
            expected.extend([cell(vcpus, set, json!("full")), cell(vcpus, set, json!(10))]);
        }
    }
    assert_eq!(cells, expected);
}

#[test]
fn a_list_in_a_case_replaces_the_default() {
    let text = one_case("[vm]\nvcpus = [1, 2]", "vm.vcpus = 4\ntrials.limit_s = [5, 2.5]");
    assert_eq!(titles(&text), ["c 5", "c 2.5"]);
    assert!(parse(&text).cases.iter().all(|case| case.vm.vcpus == 4));
}

#[test]
fn dials_with_the_same_last_key_are_named_by_their_paths() {
    let text =
        one_case("", "probes = { icmp.interval_ms = [1, 2], udp.interval_ms = [1, 2] }\nvm.vcpus = [1]");
    let names: Vec<String> = parse(&text).cases[0].dials.keys().cloned().collect();
    assert_eq!(names, ["probes.icmp.interval_ms", "probes.udp.interval_ms", "vcpus"]);
}

#[test]
fn switches_kinds_capabilities_and_the_word_none_can_be_dials() {
    assert_eq!(titles(&one_case("", "probes.udp = [true, false]")), ["c true", "c false"]);
    assert_eq!(
        titles(&one_case("", "strategy.kind = [\"suspend\", \"pre-copy\"]")),
        ["c suspend", "c pre-copy"]
    );
    assert_eq!(titles(&one_case("", "qemu.capabilities.xbzrle = [false, true]")), ["c false", "c true"]);
    let rates = parse(&one_case("", "link.service.rate_mbit = [100, \"none\"]"));
    let rates: Vec<_> = rates.cases.iter().map(|case| case.link.service.rate_mbit).collect();
    assert_eq!(rates, [Some(100.0), None]);
}

#[test]
fn extra_arguments_are_a_list_by_nature() {
    let arguments = |value: &str| -> Vec<Vec<String>> {
        let scenario = parse(&one_case("", &format!("qemu.extra_args = {value}")));
        scenario.cases.into_iter().map(|case| case.qemu.extra_args).collect()
    };
    assert_eq!(arguments("[\"-a\", \"b\"]"), [["-a", "b"]]);
    assert_eq!(arguments("[]"), [Vec::<String>::new()]);
    assert_eq!(arguments("[[], [\"-a\"]]"), [vec![], vec!["-a".to_owned()]]);
}

#[test]
fn trial_ids_are_unique_and_safe_as_file_names() {
    let text = one_case("", "workload = { kind = \"memory-write\", working_set_mib = [16, 128] }");
    let cases = parse(&text).cases;
    assert_eq!(trial_id(1, &cases[0], 1).as_str(), "02-c-16-1");
    assert_eq!(trial_id(100, &cases[1], 12).as_str(), "101-c-128-12");
    let named =
        |name: &str| trial_id(0, &Case { name: name.into(), dials: BTreeMap::new(), ..cases[0].clone() }, 1);
    assert_eq!(named("../Ä b/\\c").as_str(), "01-..-b-c-1");
    assert_eq!(named("日本").as_str(), "01-case-1");
    assert!(named(&"x".repeat(300)).as_str().len() < 100);
    assert_ne!(named("日本"), trial_id(1, &cases[0], 1));
}

#[test]
fn the_keys_are_those_of_the_records_types() {
    // What is absent would not be written.
    let absent = "vm.disk.size_mib = 32\nvm.swap_mib = 1\ncapture.migration = true\nprobes.http = true\n\
                  workload = { kind = \"http-server\" }";
    let case = &parse(&one_case("", absent)).cases[0];
    let whole = serde_json::to_value(case).unwrap();
    let known = |key: &str| &SETTINGS.iter().find(|setting| setting.name == key).unwrap().takes;
    for setting in ["vm", "qemu", "link", "probes", "capture", "trials"] {
        same_keys(&whole[setting], known(setting), setting);
    }
    let switch = Switch { snmp: Some(Snmp::default()) };
    same_keys(&serde_json::to_value(switch).unwrap(), known("switch"), "switch");
    let mut settings: Vec<&str> = SETTINGS.iter().map(|key| key.name).chain(["name", "dials"]).collect();
    settings.sort_unstable();
    assert_eq!(settings, whole.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>());

    let transports = [TransportKind::Tcp, TransportKind::Tls, TransportKind::Mptcp, TransportKind::Unix]
        .map(|kind| Transport { kind, channels: Some(2), compression: Some(ChannelCompression::Zlib) });
    same_variants(&transports.map(|transport| serde_json::to_value(transport).unwrap()), known("transport"));
    let hybrid = Strategy::Hybrid { after_passes: Some(1), after_s: Some(1.0), preempt: true };
    let strategies = [
        Strategy::PreCopy,
        Strategy::PostCopy { preempt: true },
        hybrid,
        Strategy::Suspend { after_passes: Some(1) },
    ];
    same_variants(&strategies.map(|strategy| serde_json::to_value(strategy).unwrap()), known("strategy"));
    // A dial at its default would not be written.
    let write = MemoryWrite {
        allocated_mib: Some(1),
        bytes_per_page: 16,
        pattern: Pattern::Zipf,
        compressibility_percent: 1,
        ..MemoryWrite::new(1, Rate::Full)
    };
    let read = MemoryRead {
        working_set_mib: 1,
        allocated_mib: Some(1),
        rate_mib_s: Rate::Full,
        pattern: Pattern::Zipf,
        compressibility_percent: 1,
    };
    let file = DiskFile { file_mib: 1, rate_mib_s: Rate::Full, direct: true };
    let datagrams = UdpStream { datagram_bytes: 100, rate_mib_s: Rate::Full };
    let workloads = [
        Workload::MemoryWrite(write),
        Workload::MemoryRead(read),
        Workload::DiskWrite(file.clone()),
        Workload::DiskRead(file),
        Workload::Cpu(Cpu { priority: 1 }),
        Workload::Clock,
        Workload::HttpServer(HttpServer { increase_calls: 1 }),
        Workload::TcpSend(TcpStream { rate_mib_s: Rate::Full }),
        Workload::TcpReceive(TcpStream { rate_mib_s: Rate::Full }),
        Workload::UdpSend(datagrams.clone()),
        Workload::UdpReceive(datagrams),
    ];
    let several = Workload::Several { each: workloads.to_vec() };
    let mut workloads = workloads.map(|workload| serde_json::to_value(workload).unwrap()).to_vec();
    same_variants(&workloads, known("workload").entry("each").unwrap().entry("0").unwrap());
    workloads.push(serde_json::to_value(several).unwrap());
    same_variants(&workloads, known("workload"));
}

#[test]
fn several_workloads_are_a_list_that_does_not_multiply_but_lists_in_its_tables_do() {
    let several = |memory: &str| {
        format!(
            "workload = {{ kind = \"several\", each = [ {{ kind = \"cpu\", priority = 1 }}, \
             {{ kind = \"memory-write\", {memory} }} ] }}"
        )
    };
    let cases = parse(&one_case("", &several("working_set_mib = [16, 64], rate_mib_s = 20"))).cases;
    let titles: Vec<String> = cases.iter().map(Case::title).collect();
    assert_eq!(titles, ["c 16", "c 64"]);
    let memory = MemoryWrite::new(64, Rate::MibPerSecond(20.0));
    let each = vec![Workload::Cpu(Cpu { priority: 1 }), Workload::MemoryWrite(memory)];
    assert_eq!(cases[1].workload, Some(Workload::Several { each }));
    assert_eq!(cases[1].dials.keys().collect::<Vec<_>>(), ["working_set_mib"]);

    let wrong = [
        several("working_set_mib = 401"),
        several("working_set_mib = 8, priority = 2"),
        several("rate_mib_s = 3"),
        several("working_set_mib = 8, rate = 3"),
        several("working_set_mib = 300 }, { kind = \"memory-read\", working_set_mib = 200"),
        several("working_set_mib = 8 }, { kind = \"several\", each = []"),
        several("working_set_mib = 8 }, false, [1], {"),
        "workload = { kind = \"several\" }".into(),
        "workload = { kind = \"several\", each = [] }".into(),
        "workload = { kind = \"several\", each = \"cpu\" }".into(),
    ];
    insta::assert_snapshot!(wrong.map(|text| errors(&one_case("", &text)) + "\n").concat(), @r#"
    s.toml:5: workload.each.1.working_set_mib: expected at most 400 MiB (vm.memory_mib = 512, less 112 for the guest itself), found 401
    s.toml:5: workload.each.1.priority: unknown key for kind "memory-write", expected one of: working_set_mib, allocated_mib, rate_mib_s, bytes_per_page, pattern, compressibility_percent
    s.toml:5: workload.each.1: missing, expected working_set_mib, which kind "memory-write" needs
    s.toml:5: workload.each.1.rate: unknown key, expected one of: kind, working_set_mib, allocated_mib, rate_mib_s, bytes_per_page, pattern, compressibility_percent, file_mib, direct, priority, increase_calls, datagram_bytes
    s.toml:5: workload.each: expected allocations of at most 400 MiB (vm.memory_mib = 512, less 112 for the guest itself), found 500 MiB in all
    s.toml:5: workload.each.2.kind: expected one of "memory-write", "memory-read", "disk-write", "disk-read", "cpu", "clock", "http-server", "tcp-send", "tcp-receive", "udp-send", "udp-receive", found "several"
    s.toml:5: workload.each.2.each: unknown key, expected one of: kind, working_set_mib, allocated_mib, rate_mib_s, bytes_per_page, pattern, compressibility_percent, file_mib, direct, priority, increase_calls, datagram_bytes
    s.toml:5: workload.each.2: expected a table as in { kind = "memory-write" }, found false
    s.toml:5: workload.each.3: expected a table as in { kind = "memory-write" }, found a list
    s.toml:5: workload: missing, expected each, which kind "several" needs
    s.toml:5: workload.each: expected a list, each of its entries a table as in { kind = "memory-write" }, found an empty list
    s.toml:5: workload.each: expected a list, each of its entries a table as in { kind = "memory-write" }, found "cpu"
    "#);
}

/// Asserts that a serialized record and what the scenario's keys take have the same names, all the way down.
fn same_keys(record: &Json, takes: &Takes, path: &str) {
    let (Takes::Table(keys) | Takes::Switch(keys)) = takes else { return };
    let fields = record.as_object().unwrap_or_else(|| panic!("{path} is no object: {record}"));
    let mut names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    names.sort_unstable();
    assert_eq!(names, fields.keys().map(String::as_str).collect::<Vec<_>>(), "{path}");
    for key in *keys {
        same_keys(&fields[key.name], &key.takes, &format!("{path}.{}", key.name));
    }
}

fn same_variants(records: &[Json], takes: &Takes) {
    let Takes::Tagged { variants, .. } = takes else { panic!("{takes:?}") };
    let of_record: Vec<Vec<&str>> = records
        .iter()
        .map(|record| {
            let keys = record.as_object().unwrap().keys().map(String::as_str).filter(|key| *key != "kind");
            std::iter::once(record["kind"].as_str().unwrap()).chain(keys).collect()
        })
        .collect();
    let of_scenario: Vec<Vec<&str>> = variants
        .iter()
        .map(|variant| {
            let mut keys: Vec<&str> = variant.keys.iter().map(|key| key.name).collect();
            keys.sort_unstable();
            std::iter::once(variant.kind).chain(keys).collect()
        })
        .collect();
    assert_eq!(of_record, of_scenario);
}

#[test]
fn the_documentation_describes_every_key_and_its_examples_parse() {
    for key in SETTINGS.iter().chain(RUN) {
        documented(key.name, &key.takes);
    }
    let examples: Vec<&str> =
        DOCS.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        parse(example);
    }
}

/// Asserts that a key and all below it stand in the documentation, as code.
fn documented(name: &str, takes: &Takes) {
    let has = |word: &str| {
        [format!("`{word}`"), format!("`[{word}]`"), format!("`[{word}."), format!("`\"{word}\"`")]
            .iter()
            .any(|form| DOCS.contains(form.as_str()))
    };
    assert!(has(name) || DOCS.contains(&format!(".{name}]`")), "{name} is not in docs/scenario.md");
    match takes {
        Takes::Table(keys) | Takes::Switch(keys) => {
            keys.iter().for_each(|key| documented(key.name, &key.takes));
        }
        Takes::Tagged { variants, .. } => {
            for variant in *variants {
                assert!(has(variant.kind), "{} is not in docs/scenario.md", variant.kind);
                variant.keys.iter().for_each(|key| documented(key.name, &key.takes));
            }
        }
        Takes::Each(each) => documented(name, each),
        _ => {}
    }
}

#[test]
fn text_that_is_no_toml_is_shown_with_its_line_and_column() {
    insta::assert_snapshot!(errors("name = \"s\"\n[vm]\n  memory_mib = = 5\n"), @r#"
    s.toml:3:16: not valid TOML: extra `=`, expected nothing
        memory_mib = = 5
    "#);
    insta::assert_snapshot!(errors("name = \"s"), @r#"
    s.toml:1:10: not valid TOML: invalid basic string, expected `"`
        name = "s
    "#);
    insta::assert_snapshot!(errors("name = \"s\"\nname = \"t\"\n"), @r#"
    s.toml:2:1: not valid TOML: duplicate key
        name = "t"
    "#);
    insta::assert_snapshot!(errors("[vm]\nä = [1,\n"), @r#"
    s.toml:2:8: not valid TOML: unclosed array, expected `]`
        ä = [1,
    "#);
}

#[test]
fn an_http_probe_asks_for_a_page_every_10_ms_and_needs_somebody_who_answers() {
    let served = "workload = { kind = \"http-server\", increase_calls = [1, 2] }\n";
    let scenario = parse(&one_case("[probes]\nhttp = { path = \"/matrix?order=5\" }", served));
    let asked = HttpProbe { interval_ms: 10.0, path: "/matrix?order=5".into() };
    assert_eq!(scenario.cases[1].probes.http, Some(asked));
    assert_eq!(scenario.cases[1].workload.as_ref().unwrap().allocated_mib(), Some(20));
    insta::assert_snapshot!(errors_at_top(&[
        "probes.http = true",
        "workload = { kind = \"http-server\" }\nprobes.http.path = \"matrix\"",
        "workload = { kind = \"http-server\" }\nprobes.http.path = \"/a b\"",
        "workload = { kind = \"http-server\" }\nprobes.http.interval_ms = 0.5",
        "workload = { kind = \"http-server\", increase_calls = 60 }",
    ]), @r#"
    s.toml:2: probes.http: missing, expected a workload of kind "http-server", which answers it
    s.toml:3: probes.http.path: expected a path as in "/matrix?order=5", found "matrix"
    s.toml:3: probes.http.path: expected a path as in "/matrix?order=5", found "/a b"
    s.toml:3: probes.http.interval_ms: expected 1 to 10000 milliseconds, found 0.5
    s.toml:2: workload.increase_calls: expected calls of 10 MiB each, at most 400 MiB (vm.memory_mib = 512, less 112 for the guest itself), found 60
    "#);
}

#[test]
fn an_unknown_key_is_told_with_the_one_that_was_meant() {
    insta::assert_snapshot!(errors_at_top(&[
        "[vm]\nmemroy_mib = 512",
        "vms = { memory_mib = 512 }",
        "probes.icmp.interval = 1",
        "probes.tcp = true",
        "[qemu]\n\"bin ary\" = \"qemu\"",
        "colour = \"red\"",
    ]), @r#"
    s.toml:3: vm.memroy_mib: unknown key, did you mean "memory_mib"?
    s.toml:2: vms: unknown key, did you mean "vm"?
    s.toml:2: probes.icmp.interval: unknown key, expected one of: interval_ms
    s.toml:2: probes.tcp: unknown key, expected one of: icmp, udp, http
    s.toml:3: qemu."bin ary": unknown key, did you mean "binary"?
    s.toml:2: colour: unknown key, expected one of: name, title, run, case, vm, qemu, link, switch, probes, workload, strategy, capture, transport, trials
    "#);
    insta::assert_snapshot!(errors_in_case(&[
        "titel = 1",
        "strategy.after_pases = 1",
        "strategy = { kind = \"suspend\", after_s = 1 }",
        "strategy.preempt = true",
    ]), @r#"
    s.toml:5: case.titel: unknown key, expected one of: name, vm, qemu, link, switch, probes, workload, strategy, capture, transport, trials
    s.toml:5: strategy.after_pases: unknown key, did you mean "after_passes"?
    s.toml:5: strategy.after_s: unknown key for kind "suspend", expected one of: after_passes
    s.toml:5: strategy.preempt: unknown key for kind "pre-copy", which has no keys of its own
    "#);
}

#[test]
fn a_value_of_the_wrong_type_is_told_with_the_right_one() {
    insta::assert_snapshot!(errors_at_top(&[
        "vm.memory_mib = \"512\"",
        "vm.memory_mib = 512.0",
        "vm.vcpus = [1, \"two\"]",
        "vm.vcpus = [[1]]",
        "vm.vcpus = 99999999999999999999",
        "vm.fresh = \"yes\"",
        "vm = 5",
        "vm = [{ vcpus = 1 }]",
        "vm.machine = 1979-05-27",
        "qemu.extra_args = \"-a\"",
        "qemu.extra_args = [\"-a\", 1]",
        "qemu.extra_args = [[\"-a\"], \"-b\"]",
        "qemu.capabilities.xbzrle = 1",
        "qemu.parameters.x = { y = 1 }",
        "qemu.parameters.x = nan",
        "link.migration.rate_mbit = \"fast\"",
        "probes.icmp = 1.0",
        "strategy = \"hybrid\"",
        "strategy = false",
        "strategy.kind = 1",
        "workload = true",
        "title = 1",
    ]), @r#"
    s.toml:2: vm.memory_mib: expected a whole number of MiB, found "512"
    s.toml:2: vm.memory_mib: expected a whole number of MiB, found 512.0
    s.toml:2: vm.vcpus: expected a whole number of vCPUs, found "two"
    s.toml:2: vm.vcpus: expected a whole number of vCPUs, found a list
    s.toml:2: vm.vcpus: expected a whole number of vCPUs, found 99999999999999999999
    s.toml:2: vm.fresh: expected true or false, found "yes"
    s.toml:2: vm: expected a table, found 5
    s.toml:2: vm: expected a table, found a list
    s.toml:2: vm.machine: expected text, found 1979-05-27
    s.toml:2: qemu.extra_args: expected a list of texts, found "-a"
    s.toml:2: qemu.extra_args: expected text, found 1
    s.toml:2: qemu.extra_args: expected a list of texts, found "-b"
    s.toml:2: qemu.capabilities.xbzrle: expected true or false, found 1
    s.toml:2: qemu.parameters.x: expected a number, text, true or false, found a table
    s.toml:2: qemu.parameters.x: expected a number, text, true or false, found nan
    s.toml:2: link.migration.rate_mbit: expected a number of Mbit/s or "none", found "fast"
    s.toml:2: probes.icmp: expected a table, true or false, found 1.0
    s.toml:2: strategy: expected a table as in { kind = "pre-copy" }, found "hybrid"
    s.toml:2: strategy: expected a table as in { kind = "pre-copy" }, found false
    s.toml:2: strategy.kind: expected one of "pre-copy", "post-copy", "hybrid", "suspend", found 1
    s.toml:2: workload: expected a table as in { kind = "memory-write" }, or false, found true
    s.toml:2: title: expected text, found 1
    "#);
}

#[test]
fn a_value_that_cannot_be_is_told_with_what_could() {
    insta::assert_snapshot!(errors_at_top(&[
        "vm.vcpus = 0",
        "vm.memory_mib = 63",
        "vm.memory_mib = 1_048_577",
        "vm.machine = \"\"",
        "vm.vcpus = []",
        "qemu.accelerator = \"hvf\"",
        "link.migration.rate_mbit = 0",
        "link.migration.delay_ms = -1",
        "probes.icmp.interval_ms = 0.09",
        "probes.icmp.interval_ms = [1, nan]",
        "trials.count = 0",
        "trials.limit_s = 0",
        "trials.limit_s = inf",
        "strategy.kind = \"postcopy\"",
    ]), @r#"
    s.toml:2: vm.vcpus: expected 1 to 255 vCPUs, found 0
    s.toml:2: vm.memory_mib: expected 64 to 1048576 MiB, found 63
    s.toml:2: vm.memory_mib: expected 64 to 1048576 MiB, found 1048577
    s.toml:2: vm.machine: expected text that is not empty, found ""
    s.toml:2: vm.vcpus: expected a whole number of vCPUs, or several of them, found an empty list
    s.toml:2: qemu.accelerator: expected one of "auto", "kvm", "tcg", found "hvf"
    s.toml:2: link.migration.rate_mbit: expected more than 0 and at most 1000000 Mbit/s, or "none", found 0
    s.toml:2: link.migration.delay_ms: expected 0 to 10000 milliseconds, found -1
    s.toml:2: probes.icmp.interval_ms: expected 0.1 to 10000 milliseconds, found 0.09
    s.toml:2: probes.icmp.interval_ms: expected 0.1 to 10000 milliseconds, found nan
    s.toml:2: trials.count: expected 1 to 10000 trials, found 0
    s.toml:2: trials.limit_s: expected more than 0 and at most 86400 seconds, found 0
    s.toml:2: trials.limit_s: expected more than 0 and at most 86400 seconds, found inf
    s.toml:2: strategy.kind: expected one of "pre-copy", "post-copy", "hybrid", "suspend", found "postcopy"
    "#);
    insta::assert_snapshot!(errors_in_case(&[
        "workload = { kind = \"memory-write\", working_set_mib = 0 }",
        "workload = { kind = \"memory-write\", working_set_mib = 8, rate_mib_s = 0 }",
    ]), @r#"
    s.toml:5: workload.working_set_mib: expected 1 to 1048576 MiB, found 0
    s.toml:5: workload.rate_mib_s: expected more than 0 and at most 1000000 MiB/s, or "full", found 0
    "#);
}

#[test]
fn what_holds_for_the_run_multiplies_nothing_and_stands_at_the_top() {
    insta::assert_snapshot!(errors_at_top(&["run = 1", "run.sede = 1", "run.seed = [1, 2]", "run.seed = -1"]), @r#"
    s.toml:2: run: expected a table, found 1
    s.toml:2: run.sede: unknown key, did you mean "seed"?
    s.toml:2: run.seed: expected a whole number of (32 bits), found a list
    s.toml:2: run.seed: expected 0 to 4294967295 (32 bits), found -1
    "#);
    let in_a_case = errors_in_case(&["run.seed = 1"]);
    assert!(
        in_a_case.starts_with("s.toml:5: case.run: unknown key, expected one of: name, vm"),
        "{in_a_case}"
    );
}

#[test]
fn precisions_and_pairs_that_cannot_be_are_told() {
    insta::assert_snapshot!(errors_in_case(&[
        "trials.until = 5",
        "trials.until = \"5\"",
        "trials = { until = \"5%\", min = 31 }",
        "trials.paired = true\nprobes = { icmp = false, udp = false }",
    ]), @r#"
    s.toml:5: trials.until: expected a share as in "5%", found 5
    s.toml:5: trials.until: expected a share above 0 % and up to 100 %, as in "5%", found "5"
    s.toml:5: trials.min: expected at most trials.max = 30, found 31
    s.toml:5: trials.paired: missing, expected a probe: a pair is the same case with its probes and without
    "#);
}

#[test]
fn settings_that_contradict_each_other_are_told_where_they_stand() {
    insta::assert_snapshot!(errors_in_case(&[
        "workload = { kind = \"memory-write\", working_set_mib = 401 }",
        "vm.memory_mib = [256, 1024]\nworkload = { kind = \"memory-write\", working_set_mib = 512 }",
        "vm.swap_mib = 100\nworkload = { kind = \"memory-write\", working_set_mib = [450, 451] }",
        "workload = { kind = \"disk-write\", file_mib = 16 }",
        "vm.disk.size_mib = 64\nworkload = { kind = \"disk-read\", file_mib = [48, 49] }",
        "workload = { working_set_mib = 16 }",
        "workload = { kind = \"memory-write\" }",
        "strategy.kind = \"hybrid\"",
        "vm.kernel = \"vmlinuz\"",
        "vm.modules = \"modules\"",
        "strategy = { kind = [\"hybrid\", \"suspend\"], after_s = 1 }",
    ]), @r#"
    s.toml:5: workload.working_set_mib: expected at most 400 MiB (vm.memory_mib = 512, less 112 for the guest itself), found 401
    s.toml:6: workload.working_set_mib: expected at most 160 MiB (vm.memory_mib = 256, less 96 for the guest itself), found 512
    s.toml:6: workload.working_set_mib: expected at most 450 MiB (vm.memory_mib = 512, less 112 for the guest itself, and half of vm.swap_mib = 100), found 451
    s.toml:5: workload.file_mib: missing, expected vm.disk = { size_mib = … } beside it: what the file is on
    s.toml:6: workload.file_mib: expected at most 48 MiB (vm.disk.size_mib = 64, less its file system), found 49
    s.toml:5: workload: missing, expected a kind
    s.toml:5: workload: missing, expected working_set_mib, which kind "memory-write" needs
    s.toml:5: strategy: missing, expected after_passes or after_s: when to switch to post-copy
    s.toml:5: vm.kernel: missing, expected vm.modules beside it: the kernel's lib/modules/VERSION
    s.toml:5: vm.modules: missing, expected vm.kernel beside it: the image the modules belong to
    s.toml:5: strategy.after_s: unknown key for kind "suspend", expected one of: after_passes
    "#);
}

#[test]
fn cases_need_names_of_their_own_and_there_must_be_some_but_not_too_many() {
    let numbers = (1..=101).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    let texts = [
        "",
        "name = \"s\"",
        "name = \"s\"\ncase = []",
        "name = \"s\"\n[case]\nname = \"c\"",
        "name = \"s\"\ncase = [1]",
        "name = \"../s\"\n[[case]]\nname = \"c\"",
        "name = 1\n[[case]]\nname = \"a\\nb\"\n[[case]]",
        "name = \"s\"\n[[case]]\nname = \"c\"\n[[case]]\nname = \"c\"",
        &one_case("", "vm.vcpus = [2, 2]"),
        &one_case("", &format!("trials = {{ count = [{numbers}], limit_s = [{numbers}] }}")),
    ];
    insta::assert_snapshot!(texts.map(|text| errors(text) + "\n").concat(), @r#"
    s.toml:1: name: missing, expected name = "…"
    s.toml:1: case: missing, expected at least one [[case]]
    s.toml:1: case: missing, expected at least one [[case]]
    s.toml:2: case: expected at least one [[case]], found an empty list
    s.toml:2: case: expected [[case]] tables, found a table
    s.toml:2: case: expected a [[case]] table, found 1
    s.toml:1: name: expected 1 to 64 characters: letters, digits, ".", "_" and "-", no dot first, found "../s"
    s.toml:1: name: expected text, found 1
    s.toml:3: case.name: expected 1 to 64 characters: text without line breaks, found "a\nb"
    s.toml:4: case.name: missing, expected name = "…"
    s.toml:4: case: two cases would be titled "c", expected each name and each list value once
    s.toml:3: case: two cases would be titled "c 2", expected each name and each list value once
    s.toml:3: case: the lists multiply to too many cases, expected at most 10000 in the scenario
    "#);
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let text = "nmae = \"s\"\n[vm]\nvcpus = 0\nmemory_mib = \"1\"\n[[case]]\nname = \"c\"\nvm.fresh = 1\n";
    insta::assert_snapshot!(errors(text), @r#"
    s.toml:1: nmae: unknown key, did you mean "name"?
    s.toml:1: name: missing, expected name = "…"
    s.toml:3: vm.vcpus: expected 1 to 255 vCPUs, found 0
    s.toml:4: vm.memory_mib: expected a whole number of MiB, found "1"
    s.toml:7: vm.fresh: expected true or false, found 1
    "#);
}

#[test]
fn a_long_list_of_problems_is_cut_short() {
    let zeros = ["0"; 30].join(",\n");
    let message = errors(&one_case(&format!("vm.vcpus = [{zeros}]"), ""));
    assert_eq!(message.lines().count(), 21);
    assert!(message.ends_with("\nand 10 more"), "{message}");
}

#[test]
fn a_file_that_is_not_there_is_an_error_that_names_it() {
    let path = PathBuf::from("no/such/scenario.toml");
    let error = Scenario::load(&path).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the scenario no/such/scenario.toml");
    assert!(
        matches!(error, ScenarioError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    );
}

/// Pieces of which scenarios, good and bad, are put together.
fn piece() -> impl proptest::strategy::Strategy<Value = String> {
    let words = [
        "name = \"x\"\n",
        "[[case]]\n",
        "[vm]\n",
        "[strategy]\n",
        "kind = \"hybrid\"\n",
        "after_passes = ",
        "vcpus = ",
        "memory_mib = ",
        "[probes]\n",
        "icmp = ",
        "[qemu]\n",
        "extra_args = ",
        "[workload]\n",
        "working_set_mib = ",
        "kind = \"memory-write\"\n",
        "true\n",
        "false\n",
        "512\n",
        "[1, 2]\n",
        "[[], [\"a\"]]\n",
        "{ }\n",
        "nan\n",
        "\"ä\"\n",
        "1e300\n",
        "[]\n",
        "case = ",
    ];
    prop_oneof![8 => proptest::sample::select(words.map(str::to_owned).to_vec()), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = Scenario::parse(&text, "s.toml").map_err(|error| error.to_string());
    }

    #[test]
    fn arbitrary_pieces_of_scenarios_never_panic(pieces in proptest::collection::vec(piece(), 0..20)) {
        let _ = Scenario::parse(&pieces.concat(), "s.toml").map_err(|error| error.to_string());
    }

    #[test]
    fn every_cell_of_a_matrix_is_there_once(a in 1_u32..6, b in 1_u32..6, c in 1_u32..6) {
        let list = |n: u32| format!("{:?}", (1..=n).collect::<Vec<_>>());
        let text = one_case(
            &format!("[trials]\ncount = {}", list(a)),
            &format!("vm = {{ vcpus = {} }}\nstrategy = {{ kind = \"hybrid\", after_passes = {} }}", list(b), list(c)),
        );
        let titles = titles(&text);
        let unique: BTreeSet<&String> = titles.iter().collect();
        prop_assert_eq!(unique.len(), titles.len());
        prop_assert_eq!(titles.len(), usize::try_from(a * b * c).unwrap());
    }
}

#[test]
fn what_a_switch_is_asked_with_is_whole_or_refused() {
    let told = |keys: &str| errors(&one_case(&format!("[switch.snmp]\n{keys}\n"), ""));
    assert!(told("auth = \"sha1\"").contains("a user beside it"));
    assert!(told("user = \"u\"\nauth = \"sha1\"").contains("auth_password_env"));
    assert!(
        told("user = \"u\"\nprivacy = \"aes128\"\nprivacy_password_env = \"P\"").contains("auth beside it")
    );
    assert!(told("user = \"u\"\ncommunity_env = \"C\"").contains("no community_env"));
    assert!(told("address = \"10.0.0.1\"").contains("ports beside it"));
    assert!(told("address = \"ten\"").contains("switch.snmp.address"));
    let case = parse(&one_case("[switch]\nsnmp = true\n", "")).cases.remove(0);
    assert_eq!(case.switch.snmp, Some(Snmp::default()));
}
