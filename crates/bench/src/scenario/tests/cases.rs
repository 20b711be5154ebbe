//! What a scenario that is good comes to.

use super::*;

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
    let bare = parse(&one_case("[trials]\ncount = 10\nlimit_s = 30", ""));
    let idle = Case { name: "c".into(), ..scenario.cases[0].clone() };
    assert_eq!(idle, bare.cases[0]);
    // What is commented out there must be valid too, where it names a value.
    let uncommented =
        starter().replace("# fresh", "fresh").replace("# delay", "delay").replace("# accel", "accel");
    let uncommented = uncommented.replace("# baseline", "baseline").replace("# settle", "settle");
    assert_eq!(parse(&uncommented), scenario);
    let uncommented =
        starter().replace("# capabilities", "capabilities").replace("# parameters", "parameters");
    assert_eq!(
        parse(&uncommented).cases[0].hypervisor.settings["parameters"],
        json!({ "downtime-limit": 300 })
    );
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
    assert_eq!(case.hypervisor.settings["parameters"], json!({ "a": 1, "b": "two" }));
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
    let arguments = |value: &str| -> Vec<Json> {
        let scenario = parse(&one_case("", &format!("qemu.extra_args = {value}")));
        scenario.cases.into_iter().map(|case| case.hypervisor.settings["extra_args"].clone()).collect()
    };
    assert_eq!(arguments("[\"-a\", \"b\"]"), [json!(["-a", "b"])]);
    assert_eq!(arguments("[]"), [json!([])]);
    assert_eq!(arguments("[[], [\"-a\"]]"), [json!([]), json!(["-a"])]);
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
