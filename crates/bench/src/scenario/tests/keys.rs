//! The keys that a scenario may have: those of the record's types, all of them documented.

use dunlin_record::{Disk, ImageFormat, StorageFault};

use super::*;

#[test]
fn the_keys_are_those_of_the_records_types() {
    // What is absent would not be written.
    let absent = "vm.paused = true\nvm.disk.size_mib = 64\nvm.swap_mib = 1\ncapture.migration = true\n\
                  probes.http = true\n\
                  probes.tcp_rr = true\nprobes.tcp_stream = true\n\
                  probes.hosts_tcp_rr = true\nprobes.hosts_tcp_stream = true\n\
                  workload = { kind = \"http-server\" }";
    let mut case = parse(&one_case("", absent)).cases.remove(0);
    // Nor would these, which no one case may have all of.
    case.vm.disk = Some(Disk {
        size_mib: 64,
        format: ImageFormat::Qcow2,
        used_mib: Some(1),
        compressibility_percent: 1,
        image: Some("a".into()),
        backing: true,
    });
    case.link.storage.delay_ms = 1.0;
    case.storage.rate_mib_s = Some(1.0);
    case.storage.pause_after_s = Some(1.0);
    case.storage.fault = Some(StorageFault::default());
    let whole = serde_json::to_value(&case).unwrap();
    let registry = Registry::builtin();
    let grammar = Grammar::new(&registry);
    let known = |key: &str| grammar.takes(key).unwrap();
    let driver = case.hypervisor.driver.as_str();
    for setting in ["vm", driver, "link", "storage", "probes", "capture", "trials"] {
        same_keys(&whole[setting], &known(setting), setting);
    }
    let switch = Switch { snmp: Some(Snmp::default()) };
    same_keys(&serde_json::to_value(switch).unwrap(), &known("switch"), "switch");
    // Of the drivers a case has one, by its table.
    let other = |name: &&str| registry.get(name).is_none() && *name != DRIVER;
    let keys = grammar.settings().iter().map(|key| key.name).filter(other);
    let mut settings: Vec<&str> = keys.chain(["name", "dials", "limits", driver]).collect();
    settings.sort_unstable();
    assert_eq!(settings, whole.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>());

    let transports = [TransportKind::Tcp, TransportKind::Tls, TransportKind::Mptcp, TransportKind::Unix]
        .map(|kind| Transport { kind, channels: Some(2), compression: Some(ChannelCompression::Zlib) });
    same_variants(&transports.map(|transport| serde_json::to_value(transport).unwrap()), &known("transport"));
    let hybrid = Strategy::Hybrid { after_passes: Some(1), after_s: Some(1.0), preempt: true };
    let strategies = [
        Strategy::PreCopy,
        Strategy::PostCopy { preempt: true },
        hybrid,
        Strategy::Suspend { after_passes: Some(1) },
        Strategy::Offline(Transfer { level: Some(1), sparse: Some(true), ..Transfer::default() }),
        Strategy::Cold(Transfer { level: Some(1), sparse: Some(true), ..Transfer::default() }),
    ];
    same_variants(&strategies.map(|strategy| serde_json::to_value(strategy).unwrap()), &known("strategy"));
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
    same_variants(&workloads, &known("workload").entry("each").unwrap().entry("0").unwrap());
    workloads.push(serde_json::to_value(several).unwrap());
    same_variants(&workloads, &known("workload"));
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
    let Some(keys) = takes.keys() else { return };
    let fields = record.as_object().unwrap_or_else(|| panic!("{path} is no object: {record}"));
    let mut names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    names.sort_unstable();
    assert_eq!(names, fields.keys().map(String::as_str).collect::<Vec<_>>(), "{path}");
    for key in &keys {
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
    let registry = Registry::builtin();
    for key in Grammar::new(&registry).settings().iter().chain(RUN) {
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
    takes.keys().iter().flatten().for_each(|Key { name, takes }| documented(name, takes));
    match takes {
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
