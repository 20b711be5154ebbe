//! Inventories as they are written: what each comes to, and what is said of those that cannot be.

mod mistakes;
mod properties;

use super::*;

const DOCS: &str = include_str!("../../../../docs/inventory.md");

fn parse(text: &str) -> Result<Inventory, InventoryError> {
    parse_inventory(text, "h.toml", &Registry::builtin())
}

fn good(text: &str) -> Inventory {
    parse(text).unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

/// What is said of a text, without the file's name.
fn told(text: &str) -> String {
    parse(text).expect_err(text).to_string().replace("h.toml:", "")
}

/// Two hosts, with these lines at the top of the file (from line 1) and these in the first host (from the line after).
fn two_hosts(top: &str, first: &str) -> String {
    format!(
        "{top}\n[[host]]\n{first}\n[[host]]\nname = \"host-b\"\nssh = \"b\"\nservice.address = \"192.0.2.12\"\n"
    )
}

/// The same with a first host that has what it must, on line 3.
fn first_host(lines: &str) -> String {
    two_hosts("", &format!("name = \"host-a\"\nssh = \"a\"\n{lines}"))
}

/// The same with these lines at the top.
fn at_top(lines: &str) -> String {
    two_hosts(lines, "name = \"host-a\"\nssh = \"a\"\nservice.address = \"192.0.2.11\"")
}

fn assert_told(text: impl Fn(&str) -> String, table: &[(&str, &str)]) {
    for (lines, expected) in table {
        assert_eq!(told(&text(lines)), *expected, "{lines}");
    }
}

/// The documentation's examples.
fn examples() -> impl Iterator<Item = &'static str> {
    DOCS.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

#[test]
fn the_documented_example_is_what_it_says() {
    let attachment = |address: [u8; 4], interface: &str, port: &str| {
        Some(Attachment {
            address: address.into(),
            interface: Some(interface.into()),
            port: Some(port.into()),
        })
    };
    let expected = Inventory {
        bench: BenchPlace::Apart,
        vm_addresses: Some(VmAddresses {
            first: [192, 0, 2, 100].into(),
            last: [192, 0, 2, 119].into(),
            prefix: 24,
        }),
        ssh_config: Some("ssh_config".into()),
        hosts: vec![
            InventoryHost {
                name: HostId::new("host-a"),
                ssh: "root@host-a.example".into(),
                driver: Some("qemu".into()),
                sudo: false,
                folder: "/var/tmp".into(),
                source: true,
                destination: true,
                bridge: Some("br0".into()),
                shared: Some("/srv/vms".into()),
                service: attachment([192, 0, 2, 11], "eth0", "Gi1/0/1"),
                migration: attachment([198, 51, 100, 11], "eth1", "Gi1/0/2"),
            },
            InventoryHost {
                name: HostId::new("host-b"),
                ssh: "ssh://operator@host-b.example:2222".into(),
                driver: Some("qemu".into()),
                sudo: true,
                folder: "/srv/tmp".into(),
                source: false,
                destination: true,
                bridge: Some("br0".into()),
                shared: Some("/mnt/vms".into()),
                service: attachment([192, 0, 2, 12], "eth0", "Gi1/0/3"),
                migration: attachment([198, 51, 100, 12], "eth1", "Gi1/0/4"),
            },
        ],
    };
    assert_eq!(good(examples().next().unwrap()), expected);
}

#[test]
fn all_examples_and_the_starter_parse_and_every_key_is_documented() {
    assert_eq!(examples().map(good).map(|inventory| inventory.hosts.len()).sum::<usize>(), 4);
    let starter = good(inventory_starter());
    assert_eq!(
        starter.route().map(|(from, to)| (from.name.as_str(), to.name.as_str())),
        Some(("host-a", "host-b"))
    );
    for key in [FILE_KEYS, VMS_KEYS, SSH_KEYS, HOST_KEYS, ATTACHMENT_KEYS].concat() {
        let forms = [
            format!("| `{key}` |"),
            format!("### `{key}`"),
            format!("### `[{key}]`"),
            format!("### `[[{key}]]`"),
        ];
        assert!(forms.iter().any(|form| DOCS.contains(form)), "{key} is not in docs/inventory.md");
        assert!(inventory_starter().contains(key), "{key} is not in the starter");
    }
}

#[test]
fn the_order_of_the_file_is_that_of_the_hosts_and_a_relative_path_is_meant_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hosts.toml");
    let hosts = ["zeta", "alpha", "mid"]
        .map(|name| format!("[[host]]\nname = \"{name}\"\nssh = \"{name}\"\n"))
        .concat();
    let load = |top: &str| {
        std::fs::write(&path, format!("{top}\n{hosts}")).unwrap();
        load_inventory(&path, &Registry::builtin()).unwrap()
    };
    let inventory = load("ssh.config = \"keys/config\"\nbench = \"alpha\"");
    assert_eq!(
        inventory.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(),
        ["zeta", "alpha", "mid"]
    );
    assert_eq!(inventory.bench, BenchPlace::OnHost(HostId::new("alpha")));
    assert_eq!(inventory.ssh_config, Some(folder.path().join("keys/config")));
    assert_eq!(load("ssh.config = \"/etc/config\"").ssh_config, Some("/etc/config".into()));
    assert_eq!(load("ssh = {}\nvms = {}").ssh_config, None);
}

#[test]
fn a_file_that_is_not_there_is_an_error_that_names_it() {
    let error = load_inventory(Path::new("no/such/hosts.toml"), &Registry::builtin()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the inventory no/such/hosts.toml");
    assert!(matches!(error, InventoryError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound));
}
