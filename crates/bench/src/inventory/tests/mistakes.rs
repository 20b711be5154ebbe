//! What is said of an inventory that cannot be.

use super::*;

#[test]
fn what_cannot_be_at_the_top_is_told() {
    let range = |range: &str, prefix: &str| format!("vms = {{ addresses = \"{range}\", prefix = {prefix} }}");
    assert_told(
        at_top,
        &[
            ("colour = 1", "1: colour: unknown key, expected one of: bench, vms, ssh, host"),
            ("hosts = 1", "1: hosts: unknown key, did you mean \"host\"?"),
            ("bench = 1", "1: bench: expected text, found 1"),
            ("bench = \"\"", "1: bench: expected \"here\" or the name of a host, found \"\""),
            (
                "bench = \"c\"",
                "1: bench: expected \"here\" or the name of a host: host-a, host-b, found \"c\"",
            ),
            ("ssh = \"x\"", "1: ssh: expected a table, found \"x\""),
            ("ssh.confg = \"x\"", "1: ssh.confg: unknown key, did you mean \"config\"?"),
            ("ssh.config = \"\"", "1: ssh.config: expected a path without control characters, found \"\""),
            (
                "ssh.config = \"a\\nb\"",
                "1: ssh.config: expected a path without control characters, found \"a\\nb\"",
            ),
            ("vms = 1", "1: vms: expected a table, found 1"),
            ("vms.adresses = 1", "1: vms.adresses: unknown key, did you mean \"addresses\"?"),
            (
                "vms.prefix = 24",
                "1: vms.addresses: missing, expected addresses = \"192.0.2.100-192.0.2.119\", or the like",
            ),
            ("vms.addresses = \"192.0.2.100\"", "1: vms.prefix: missing, expected prefix = 24, or the like"),
            ("a = = 1", "1:5: not valid TOML: extra `=`, expected nothing\n    a = = 1"),
        ],
    );
    for (addresses, prefix, expected) in [
        (
            "192.0.2",
            "24",
            "addresses: expected a range of IPv4 addresses as in \"192.0.2.100-192.0.2.119\", or one of them, found \"192.0.2\"",
        ),
        (
            "192.0.2.1-",
            "24",
            "addresses: expected a range of IPv4 addresses as in \"192.0.2.100-192.0.2.119\", or one of them, found \"192.0.2.1-\"",
        ),
        (
            "192.0.2.1-2",
            "24",
            "addresses: expected a range of IPv4 addresses as in \"192.0.2.100-192.0.2.119\", or one of them, found \"192.0.2.1-2\"",
        ),
        (
            "224.0.0.1",
            "24",
            "addresses: expected a range of IPv4 addresses as in \"192.0.2.100-192.0.2.119\", or one of them, found \"224.0.0.1\"",
        ),
        (
            "::1",
            "24",
            "addresses: expected a range of IPv4 addresses as in \"192.0.2.100-192.0.2.119\", or one of them, found \"::1\"",
        ),
        (
            "192.0.2.5-192.0.2.4",
            "24",
            "addresses: expected the lower address of the range first, found \"192.0.2.5-192.0.2.4\"",
        ),
        (
            "10.0.0.1-10.0.0.201",
            "24",
            "addresses: expected at most 200 addresses, found \"10.0.0.1-10.0.0.201\"",
        ),
        (
            "0.0.0.1-255.255.255.254",
            "1",
            "addresses: expected at most 200 addresses, found \"0.0.0.1-255.255.255.254\"",
        ),
        (
            "10.0.0.250-10.0.1.5",
            "24",
            "addresses: expected addresses of one network (vms.prefix = 24), found \"10.0.0.250-10.0.1.5\"",
        ),
        (
            "10.0.0.0-10.0.0.5",
            "24",
            "addresses: expected neither the network's own address nor its broadcast (vms.prefix = 24), found \"10.0.0.0-10.0.0.5\"",
        ),
        (
            "10.0.0.255",
            "24",
            "addresses: expected neither the network's own address nor its broadcast (vms.prefix = 24), found \"10.0.0.255\"",
        ),
        ("192.0.2.20", "0", "prefix: expected 1 to 30 bits, found 0"),
        ("192.0.2.20", "31", "prefix: expected 1 to 30 bits, found 31"),
        ("192.0.2.20", "\"/24\"", "prefix: expected a whole number of bits, found \"/24\""),
    ] {
        assert_eq!(told(&at_top(&range(addresses, prefix))), format!("1: vms.{expected}"));
    }
    good(&at_top(&range("10.0.0.1-10.0.0.200", "24")));
    good(&at_top(&range("10.0.0.250 - 10.0.1.5", "23")));
    assert_eq!(good(&at_top(&range("10.0.0.9", "30"))).vm_addresses.map(|range| range.count()), Some(1));
    good(&at_top("bench = \"here\""));
}

#[test]
fn what_cannot_be_in_a_host_is_told() {
    const FOLDER: &str = "5: host.folder: expected an absolute path of letters, digits, \"/\", \".\", \"_\" and \"-\" (a shell of the host gets to see it), found";
    const DEVICE: &str = "expected a network device's name: 1 to 15 bytes, no spaces, \"/\" or \":\", not \".\" or \"..\", found";
    assert_told(
        first_host,
        &[
            ("shard = 1", "5: host.shard: unknown key, did you mean \"shared\"?"),
            (
                "service.ports = 1",
                "5: host.service.address: missing, expected address = \"192.0.2.11\", or the like\n5: host.service.ports: unknown key, did you mean \"port\"?",
            ),
            ("driver = \"xen\"", "5: host.driver: expected one of \"qemu\", \"libvirt\", found \"xen\""),
            ("sudo = \"yes\"", "5: host.sudo: expected true or false, found \"yes\""),
            ("source = 1", "5: host.source: expected true or false, found 1"),
            ("destination = 0", "5: host.destination: expected true or false, found 0"),
            ("folder = \"var/tmp\"", &format!("{FOLDER} \"var/tmp\"")),
            ("folder = \"/var/my tmp\"", &format!("{FOLDER} \"/var/my tmp\"")),
            ("folder = \"/$(id)\"", &format!("{FOLDER} \"/$(id)\"")),
            ("folder = \"/ä\"", &format!("{FOLDER} \"/ä\"")),
            (
                "shared = \"vms\"",
                "5: host.shared: expected an absolute path without control characters, found \"vms\"",
            ),
            (
                "shared = \"/a\\u0007\"",
                "5: host.shared: expected an absolute path without control characters, found \"/a\\u{7}\"",
            ),
            ("bridge = \"\"", &format!("5: host.bridge: {DEVICE} \"\"")),
            ("bridge = \"..\"", &format!("5: host.bridge: {DEVICE} \"..\"")),
            ("bridge = \"a/b\"", &format!("5: host.bridge: {DEVICE} \"a/b\"")),
            ("bridge = \"a:1\"", &format!("5: host.bridge: {DEVICE} \"a:1\"")),
            ("bridge = \"a b\"", &format!("5: host.bridge: {DEVICE} \"a b\"")),
            ("bridge = \"sixteen-letters-\"", &format!("5: host.bridge: {DEVICE} \"sixteen-letters-\"")),
            ("service = 1", "5: host.service: expected a table, found 1"),
            ("service = [{}]", "5: host.service: expected a table, found a list"),
            (
                "service = {}",
                "5: host.service.address: missing, expected address = \"192.0.2.11\", or the like",
            ),
            (
                "migration.address = \"host-a\"",
                "5: host.migration.address: expected a host's IPv4 address as in \"192.0.2.11\", found \"host-a\"",
            ),
            (
                "migration.address = \"0.0.0.0\"",
                "5: host.migration.address: expected a host's IPv4 address as in \"192.0.2.11\", found \"0.0.0.0\"",
            ),
            (
                "migration = { address = \"192.0.2.11\", interface = \"\\u001b\" }",
                &format!("5: host.migration.interface: {DEVICE} \"\\u{{1b}}\""),
            ),
            (
                "migration = { address = \"192.0.2.11\", port = \" \" }",
                "5: host.migration.port: expected text that is not empty, without control characters, found \" \"",
            ),
        ],
    );
    let inventory = good(&first_host(
        "bridge = \"fifteen-letters\"\nshared = \"/srv/my vms/ä\"\nfolder = \"/srv/a_b-c.d\"",
    ));
    assert_eq!(inventory.hosts[0].shared, Some("/srv/my vms/ä".into()));
}

#[test]
fn a_hosts_name_can_stand_in_the_name_of_a_file() {
    const EXPECTED: &str = "3: host.name: expected 1 to 63 letters, digits, \".\", \"_\" and \"-\", a letter or digit first, found";
    let named = |name: &str| two_hosts("", &format!("name = \"{name}\"\nssh = \"a\""));
    for name in ["", ".a", "-a", "_a", "a/b", "a b", "ä", "a\\n"] {
        assert_eq!(told(&named(name)), format!("{EXPECTED} \"{name}\""));
    }
    assert_eq!(told(&named(&"a".repeat(64))), format!("{EXPECTED} \"{}\" and so on", "a".repeat(40)));
    for name in ["bench", "switch", "here"] {
        let expected = format!(
            "3: host.name: expected another name than \"bench\", \"switch\" and \"here\", found \"{name}\""
        );
        assert_eq!(told(&named(name)), expected);
    }
    for name in ["a", "9", "A.b_c-d", &"a".repeat(63)] {
        assert_eq!(good(&named(name)).hosts[0].name.as_str(), name);
    }
    let expected = "3: host.name: missing, expected name = \"host-a\", or the like\n3: host.ssh: missing, expected ssh = \"root@host-a.example\", or the like";
    assert_eq!(told(&two_hosts("", "").replacen("[[host]]", "\n[[host]]", 1)), expected);
}

#[test]
fn a_destination_is_what_ssh_takes_and_never_an_option() {
    const EXPECTED: &str = "4: host.ssh: expected a destination as ssh takes it, \"[USER@]HOST\" or \"ssh://[USER@]HOST[:PORT]\", found";
    let reached = |ssh: &str| two_hosts("", &format!("name = \"host-a\"\nssh = \"{ssh}\""));
    for ssh in [
        "",
        " ",
        "-a",
        "-oProxyCommand=id",
        "a b",
        "a\\tb",
        "a\\u0000",
        "a\\u00a0b",
        "root@",
        "@a",
        "root@-a",
        "-r@a",
        "a;id",
        "$a",
        "a|b",
        "`id`",
        "r;d@a",
        "ssh://",
        "ssh://-a",
        "ssh://a:",
        "ssh://a:0",
        "ssh://a:65536",
        "ssh://a:x",
        "ssh://a:+1",
        "ssh://a/b",
        "ssh://-r@a",
        "ssh://[::1",
        "ssh://[::1]x",
    ] {
        assert_told(reached, &[(ssh, &format!("{EXPECTED} {:?}", good_text(ssh)))]);
    }
    for ssh in [
        "a",
        "root@a",
        "a.example",
        "me@corp.example@a",
        "192.0.2.1",
        "::1",
        "fe80::1%eth0",
        "a_b",
        "größe",
        "ssh://a",
        "ssh://r@a:22/",
        "ssh://[::1]:2222",
        "ssh://[2001:db8::1]",
        "CORP\\\\me@a",
    ] {
        assert_eq!(good(&reached(ssh)).hosts[0].ssh, good_text(ssh));
    }
}

/// What a TOML string means.
fn good_text(escaped: &str) -> String {
    let table: toml::Table = format!("text = \"{escaped}\"").parse().unwrap();
    table["text"].as_str().unwrap().to_owned()
}

#[test]
fn hosts_have_names_and_addresses_of_their_own_and_somewhere_to_move() {
    const NOWHERE: &str = "host: missing, expected a host that is a source (source = true) and another that is a destination (destination = true)";
    let a = "[[host]]\nname = \"a\"\nssh = \"a\"\n";
    let b = "[[host]]\nname = \"b\"\nssh = \"b\"\n";
    for (text, expected) in [
        (String::new(), "1: host: missing, expected at least two [[host]]".to_owned()),
        ("host = []".into(), "1: host: expected at least two [[host]], found an empty list".into()),
        ("host = 1".into(), "1: host: expected [[host]] tables, found 1".into()),
        ("[host.a]\nssh = \"a\"".into(), "1: host: expected [[host]] tables, found a table".into()),
        (
            "host = [1, 2]".into(),
            "1: host: expected a [[host]] table, found 1\n1: host: expected a [[host]] table, found 2".into(),
        ),
        (a.into(), "1: host: missing, expected at least two [[host]]".into()),
        (format!("{a}{a}"), "5: host.name: expected a name that no other host has, found \"a\"".into()),
        (format!("{a}source = false\n{b}source = false\n"), format!("1: {NOWHERE}")),
        (format!("{a}destination = false\n{b}destination = false\n"), format!("1: {NOWHERE}")),
        (format!("{a}source = false\ndestination = false\n{b}"), format!("1: {NOWHERE}")),
        (
            format!("{a}service.address = \"10.0.0.1\"\n{b}migration.address = \"10.0.0.1\"\n"),
            "8: host.migration.address: expected an address that no other host has, found \"10.0.0.1\""
                .into(),
        ),
        (
            format!(
                "vms = {{ addresses = \"10.0.0.1-10.0.0.9\", prefix = 24 }}\n{a}service.address = \"10.0.0.9\"\n{b}"
            ),
            "5: host.service.address: expected an address that is none of vms.addresses, found \"10.0.0.9\""
                .into(),
        ),
    ] {
        assert_eq!(told(&text), expected, "{text}");
    }
    good(&format!("{a}service.address = \"10.0.0.1\"\nmigration.address = \"10.0.0.1\"\n{b}"));
    good(&format!("{a}destination = false\n{b}source = false\n"));
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let text = "bnech = 1\nvms = { addresses = \"x\", prefix = 99 }\n[[host]]\nname = \"switch\"\n[[host]]\nnmae = 1\nssh = \"-x\"\n";
    let expected = [
        "1: bnech: unknown key, did you mean \"bench\"?",
        "2: vms.addresses: expected a range of IPv4 addresses as in \"192.0.2.100-192.0.2.119\", or one of them, found \"x\"",
        "2: vms.prefix: expected 1 to 30 bits, found 99",
        "3: host.ssh: missing, expected ssh = \"root@host-a.example\", or the like",
        "4: host.name: expected another name than \"bench\", \"switch\" and \"here\", found \"switch\"",
        "5: host.name: missing, expected name = \"host-a\", or the like",
        "6: host.nmae: unknown key, did you mean \"name\"?",
        "7: host.ssh: expected a destination as ssh takes it, \"[USER@]HOST\" or \"ssh://[USER@]HOST[:PORT]\", found \"-x\"",
    ];
    assert_eq!(told(text), expected.join("\n"));
    let names: String = (0..30).map(|_| "[[host]]\nname = 1\nssh = \"a\"\n").collect();
    assert!(told(&names).ends_with("\nand 10 more"));
}
