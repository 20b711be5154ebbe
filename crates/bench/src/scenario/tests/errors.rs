//! What is said of a scenario that cannot be.

use super::*;

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
    s.toml:2: probes.tcp: unknown key, expected one of: icmp, udp, http, tcp_rr, tcp_stream, hosts_tcp_rr, hosts_tcp_stream
    s.toml:3: qemu."bin ary": unknown key, did you mean "binary"?
    s.toml:2: colour: unknown key, expected one of: name, title, run, case, vm, qemu, libvirt, driver, link, storage, switch, probes, workload, strategy, capture, transport, trials
    "#);
    insta::assert_snapshot!(errors_in_case(&[
        "titel = 1",
        "strategy.after_pases = 1",
        "strategy = { kind = \"suspend\", after_s = 1 }",
        "strategy.preempt = true",
    ]), @r#"
    s.toml:5: case.titel: unknown key, expected one of: name, vm, qemu, libvirt, driver, link, storage, switch, probes, workload, strategy, capture, transport, trials
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
    s.toml:2: strategy.kind: expected one of "pre-copy", "post-copy", "hybrid", "suspend", "offline", "cold", found 1
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
    s.toml:2: strategy.kind: expected one of "pre-copy", "post-copy", "hybrid", "suspend", "offline", "cold", found "postcopy"
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

#[test]
fn tcp_probes_are_sized_within_what_can_be() {
    let scenario = parse(&one_case(
        "[probes]\ntcp_rr = true\nhosts_tcp_stream = { reverse = true, send_buffer_bytes = 16384 }\n",
        "probes.tcp_rr.response_bytes = [1, 1000]",
    ));
    let [first, second] = &scenario.cases[..] else { panic!("two cases") };
    assert_eq!(first.probes.tcp_rr, Some(RequestResponse::default()));
    assert_eq!(second.probes.tcp_rr.map(|asked| asked.response_bytes), Some(1000));
    let asked = StreamProbe { reverse: true, send_buffer_bytes: Some(16_384), ..StreamProbe::default() };
    assert_eq!(second.probes.hosts_tcp_stream, Some(asked));
    assert!(second.probes.between_hosts());
    insta::assert_snapshot!(errors_at_top(&[
        "probes.tcp_rr.request_bytes = 0",
        "probes.hosts_tcp_rr.response_bytes = 2000000",
        "probes.tcp_stream.receive_buffer_bytes = \"big\"",
        "probes.tcp_stream.direction = \"out\"",
        "probes.hosts_tcp_rr = true\nswitch.snmp = true",
    ]), @r#"
    s.toml:2: probes.tcp_rr.request_bytes: expected 1 to 1048576 bytes, found 0
    s.toml:2: probes.hosts_tcp_rr.response_bytes: expected 1 to 1048576 bytes, found 2000000
    s.toml:2: probes.tcp_stream.receive_buffer_bytes: expected a whole number of bytes, found "big"
    s.toml:2: probes.tcp_stream.direction: unknown key, expected one of: reverse, message_bytes, send_buffer_bytes, receive_buffer_bytes
    s.toml:3: switch.snmp: expected no TCP probe between the hosts beside it: the switch's port counts its bytes too, found probes.hosts_tcp_rr
    "#);
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
