//! Which driver a case is for, and what is left to it.

use dunlin_hypervisor::{
    CopyFacts, Driver, HypervisorError, OpenOrder, Registry, SettingKey, SettingKind, WrongSetting,
};
use dunlin_record::{PreCopyLimits, RunFolder};
use serde_json::Map;

use super::*;

/// A driver with a key of each kind, which knows a downtime limit and no machine types.
struct Toy;

const TOY: &[SettingKey] = &[
    SettingKey { name: "model", takes: SettingKind::Word(&["old", "new"]) },
    SettingKey { name: "speed", takes: SettingKind::Number },
    SettingKey { name: "loud", takes: SettingKind::Flag },
    SettingKey { name: "note", takes: SettingKind::Text },
    SettingKey { name: "words", takes: SettingKind::Texts },
    SettingKey { name: "flags", takes: SettingKind::Flags },
    SettingKey { name: "values", takes: SettingKind::Scalars },
];

impl Driver for Toy {
    fn install_hint(&self) -> &'static str {
        "it is here"
    }

    fn name(&self) -> &'static str {
        "toy"
    }

    fn keys(&self) -> &'static [SettingKey] {
        TOY
    }

    fn resolve(&self, settings: &Map<String, Json>) -> Result<Map<String, Json>, WrongSetting> {
        if settings.get("model") == Some(&json!("old")) && settings.contains_key("speed") {
            return Err(WrongSetting { path: "speed".into(), message: "the old model has none".into() });
        }
        let mut whole = settings.clone();
        whole.entry("model").or_insert_with(|| "new".into());
        Ok(whole)
    }

    fn limits(&self, settings: &Map<String, Json>) -> PreCopyLimits {
        PreCopyLimits { downtime_ms: settings.get("speed").and_then(Json::as_f64), bandwidth_bytes_s: None }
    }

    fn copy_facts(&self, _: &Map<String, Json>) -> CopyFacts {
        panic!("a driver that is not built in is not asked")
    }

    fn open(
        &self,
        _: &OpenOrder<'_>,
    ) -> Result<std::sync::Arc<dyn dunlin_hypervisor::Hypervisor>, HypervisorError> {
        panic!("nothing is opened to read a scenario")
    }
}

fn drivers() -> Registry {
    Registry::builtin().with(Toy)
}

fn parse_for_both(text: &str) -> Scenario {
    Scenario::parse_for(text, "s.toml", &drivers()).unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

fn errors_for_both(texts: &[String]) -> String {
    let told = |text: &String| Scenario::parse_for(text, "s.toml", &drivers()).expect_err(text).to_string();
    texts.iter().map(|text| told(text) + "\n").collect()
}

/// The drivers of a scenario's cases, by their titles.
fn driven(text: &str) -> Vec<(String, String)> {
    parse_for_both(text).cases.iter().map(|case| (case.title(), case.hypervisor.driver.clone())).collect()
}

#[test]
fn a_case_is_for_the_driver_that_it_names_or_whose_table_it_has_or_else_the_first() {
    let first = Registry::builtin().names()[0];
    for (top, case, expected) in [
        ("", "", first),
        ("", "toy.speed = 1", "toy"),
        ("[toy]", "", "toy"),
        ("driver = \"toy\"", "", "toy"),
        ("driver = \"toy\"", &format!("driver = \"{first}\""), first),
        // Defaults of drivers that a case does not have are for others.
        (&format!("[{first}]\n[toy]"), "driver = \"toy\"", "toy"),
    ] {
        assert_eq!(driven(&one_case(top, case)), [("c".to_owned(), expected.to_owned())], "{top} {case}");
    }
}

#[test]
fn a_list_of_drivers_makes_a_case_of_each_with_its_own_tables_dials() {
    let first = Registry::builtin().names()[0];
    let text = one_case("", &format!("driver = [\"{first}\", \"toy\"]\ntoy = {{ speed = [1, 2] }}"));
    let expected = [(format!("c {first}"), first), ("c toy 1".into(), "toy"), ("c toy 2".into(), "toy")];
    assert_eq!(driven(&text), expected.map(|(title, driver)| (title, driver.to_owned())));
    let dials = &parse_for_both(&text).cases[2].dials;
    assert_eq!(serde_json::to_value(dials).unwrap(), json!({ "driver": "toy", "speed": 2 }));
}

#[test]
fn what_a_case_leaves_open_is_filled_in_by_its_driver() {
    let case = &parse_for_both(&one_case("", "toy.speed = 30")).cases[0];
    assert_eq!(case.hypervisor.settings, *json!({ "model": "new", "speed": 30 }).as_object().unwrap());
    let limits = PreCopyLimits { downtime_ms: Some(30.0), bandwidth_bytes_s: None };
    assert_eq!((case.limits, case.vm.machine.as_str()), (Some(limits), ""));
    let whole = "toy = { model = \"old\", loud = true, note = \"n\", words = [\"a\"], flags.a = false, values.b = 1.5 }";
    let case = &parse_for_both(&one_case("", whole)).cases[0];
    assert_eq!(serde_json::to_value(case).unwrap()["toy"]["values"], json!({ "b": 1.5 }));
    let again: Case = serde_json::from_value(serde_json::to_value(case).unwrap()).unwrap();
    assert_eq!(again, *case);

    let case = &parse(&one_case("", "")).cases[0];
    let driver = Registry::builtin();
    let driver = driver.of(&case.hypervisor).unwrap();
    assert_eq!(case.vm.machine, driver.default_machine());
    assert_eq!(case.hypervisor.settings, driver.resolve(&Map::new()).unwrap());
    assert_eq!(case.limits, Some(driver.limits(&Map::new())));
    assert_eq!(parse(&one_case("vm.machine = \"pc\"", "")).cases[0].vm.machine, "pc");
}

/// A case as the last version wrote it that had no registry of drivers.
const OLD_CASE: &str = r#"{ "name": "c", "dials": {},
    "vm": { "memory_mib": 512, "vcpus": 1, "count": 1, "machine": "q35", "cpu": null, "kernel": null, "modules": null,
        "kernel_args": "", "fresh": false, "shared_storage": true },
    "qemu": { "binary": "qemu-system-x86_64", "destination_binary": null, "firmware": null,
        "destination_firmware": null, "accelerator": "auto", "extra_args": [], "capabilities": { "xbzrle": true },
        "parameters": { "downtime-limit": 500 } },
    "link": { "migration": { "rate_mbit": 1000.0, "delay_ms": 0.0 }, "service": { "rate_mbit": null, "delay_ms": 0.0 } },
    "switch": { "snmp": null },
    "probes": { "icmp": { "interval_ms": 1.0 }, "udp": { "interval_ms": 1.0 } },
    "workload": null, "strategy": { "kind": "pre-copy" },
    "transport": { "kind": "tcp", "channels": null, "compression": null },
    "trials": { "count": 3, "until": null, "min": 6, "max": 30, "paired": false, "limit_s": 60.0, "baseline_s": 1.0,
        "settle_s": 1.0 } }"#;

#[test]
fn a_case_of_an_older_version_is_the_same_as_one_of_today() {
    let folder = tempfile::tempdir().unwrap();
    let run = format!(
        r#"{{ "format": 1, "dunlin_version": "0.1.0", "scenario": "s", "title": "s", "started_epoch_ms": 0, "hosts": [],
             "cases": [{OLD_CASE}] }}"#
    );
    std::fs::write(folder.path().join("run.json"), run).unwrap();
    let old = RunFolder::open(folder.path()).unwrap().info().unwrap().cases;
    let settings = "qemu = { capabilities.xbzrle = true, parameters.downtime-limit = 500 }";
    let today = parse(&one_case("", settings)).cases;
    assert_eq!(dunlin_analysis::changed_settings(&old, &today), []);
    assert_eq!(old, today);
    let other =
        parse(&one_case("", "qemu = { capabilities.xbzrle = true, parameters.downtime-limit = 300 }")).cases;
    let changed = dunlin_analysis::changed_settings(&old, &other);
    let changed: Vec<&str> = changed.iter().map(|one| one.setting.as_str()).collect();
    assert_eq!(changed, ["qemu.parameters.downtime-limit"]);
}

#[test]
fn an_estimate_knows_the_limits_of_any_drivers_case() {
    let seconds = |speed: u32| {
        let dirty = "workload = { kind = \"memory-write\", working_set_mib = 64, rate_mib_s = \"full\" }";
        let scenario = parse_for_both(&one_case("", &format!("toy.speed = {speed}\n{dirty}")));
        expected_duration(&scenario).as_secs_f64()
    };
    assert!(seconds(1) > seconds(2000) + 60.0, "{} {}", seconds(1), seconds(2000));
}

#[test]
fn a_driver_that_cannot_be_told_is_a_problem_by_line() {
    let texts = [
        one_case("", "toy.speed = 1\nqemu.binary = \"q\""),
        one_case("[qemu]\nbinary = \"q\"", "toy.speed = 1"),
        one_case("driver = \"xen\"", ""),
        one_case("", "driver = [\"toy\", \"xen\"]"),
        one_case("", "driver = \"\""),
        one_case("", "driver = [1, []]"),
        one_case("", "driver = []"),
        one_case("", "driver = \"toy\"\nqemu.binary = \"q\""),
        one_case("[xen]\na = 1", ""),
        one_case(
            "",
            "toy.sped = 1\ntoy.words = \"a\"\ntoy.flags.a = 1\ntoy.model = \"odd\"\ntoy.loud = \"yes\"",
        ),
        one_case("", "toy.speed = [-1, nan, \"fast\"]\ntoy.values.a = []\ntoy.note = \" \""),
        one_case("", "toy = { model = \"old\", speed = 1 }"),
        one_case("", "toy = []"),
    ];
    insta::assert_snapshot!(errors_for_both(&texts), @r#"
    s.toml:6: qemu: settings of another driver beside "toy", expected one driver's, or driver = … that says which
    s.toml:6: toy: settings of another driver beside "qemu", expected one driver's, or driver = … that says which
    s.toml:2: driver: expected one of "qemu", "libvirt", "toy", found "xen"
    s.toml:5: driver: expected one of "qemu", "libvirt", "toy", found "xen"
    s.toml:5: driver: expected text that is not empty, found ""
    s.toml:5: driver: expected text, found 1
    s.toml:5: driver: expected text, found an empty list
    s.toml:5: driver: expected text, or several of them, found an empty list
    s.toml:6: qemu: settings of a driver that this case does not have, expected "toy"
    s.toml:2: xen: unknown key, expected one of: name, title, run, case, vm, qemu, libvirt, toy, driver, link, storage, switch, probes, workload, strategy, capture, transport, trials
    s.toml:5: toy.sped: unknown key, did you mean "speed"?
    s.toml:6: toy.words: expected a list of texts, found "a"
    s.toml:7: toy.flags.a: expected true or false, found 1
    s.toml:8: toy.model: expected one of "old", "new", found "odd"
    s.toml:9: toy.loud: expected true or false, found "yes"
    s.toml:5: toy.speed: expected a number from 0 on, found -1
    s.toml:5: toy.speed: expected a number from 0 on, found nan
    s.toml:5: toy.speed: expected a number from 0 on, found "fast"
    s.toml:6: toy.values.a: expected a number, text, true or false, or several of them, found an empty list
    s.toml:7: toy.note: expected text that is not empty, found " "
    s.toml:5: toy.speed: not accepted: the old model has none
    s.toml:5: toy: expected a table, found an empty list
    "#);
    insta::assert_snapshot!(errors(&one_case("", "toy.speed = 1")), @r#"
    s.toml:5: case.toy: unknown key, expected one of: name, vm, qemu, libvirt, driver, link, storage, switch, probes, workload, strategy, capture, transport, trials
    "#);
}
