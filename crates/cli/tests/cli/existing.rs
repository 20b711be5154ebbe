//! VMs that exist already: what is told before any host is asked.

use std::fs;
use std::path::Path;

use super::{dunlin, fixture, told};

/// Two hosts that nobody can log in to: where they are asked, that is refused at once.
const INVENTORY: &str = "[ssh]\nconfig = \"ssh_config\"\n\
    [[host]]\nname = \"host-a\"\nssh = \"host-a\"\ndriver = \"qemu\"\n\
    [host.migration]\naddress = \"192.0.2.11\"\n\
    [[host]]\nname = \"host-b\"\nssh = \"host-b\"\ndriver = \"qemu\"\n\
    [host.migration]\naddress = \"192.0.2.12\"\n";
const SSH_CONFIG: &str = "Host *\n HostName 127.0.0.1\n Port 1\n";
const SHAPED: &str =
    "name = \"shaped\"\n[link.migration]\nrate_mbit = 1000\n[[case]]\nname = \"c\"\ntrials = { count = 1 }\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("hosts.toml", INVENTORY), ("ssh_config", SSH_CONFIG), ("shaped.toml", SHAPED)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn bench(folder: &Path, words: &[&str]) -> String {
    told(dunlin(folder).arg("bench").args(words))
}

#[test]
fn what_cannot_be_meant_of_vms_that_exist_is_told_before_any_host_is_asked() {
    let folder = folder();
    let existing = ["existing", "--inventory", "hosts.toml", "--vm", "db"];
    let with = |words: &[&str]| bench(folder.path(), &[&existing[..], words].concat());
    let mut all = String::new();
    for words in [
        &["--vm-address", "192.0.2.7", "--vm-address", "192.0.2.8"][..],
        &["--vm", "db"],
        &["--stay"],
        &["--stay", "--trials", "1"],
    ] {
        all.push_str(&format!("$ … {}\n{}\n", words.join(" "), with(words)));
    }
    insta::assert_snapshot!(all);
    for wrong in [
        &["existing", "--vm", "db"][..],
        &["existing", "--inventory", "hosts.toml", "--vm", ""],
        &["existing", "--inventory", "hosts.toml", "--vm", "\u{1b}[2J"],
        &["existing", "--inventory", "hosts.toml", "--vm-address", "192.0.2.7"],
        &["existing", "--inventory", "hosts.toml", "--stay"],
        &["--resume", "run", "--inventory", "hosts.toml", "--vm", "db"],
        &["existing", "--links-as-they-are"],
    ] {
        let told = bench(folder.path(), wrong);
        assert!(told.starts_with("exit code 2\n"), "{wrong:?}: {told}");
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn links_of_real_hosts_are_not_shaped_and_may_be_passed_over_where_that_is_said() {
    let folder = folder();
    let refused = bench(folder.path(), &["shaped.toml", "--inventory", "hosts.toml"]);
    insta::assert_snapshot!(refused);
    let passed = bench(folder.path(), &["shaped.toml", "--inventory", "hosts.toml", "--links-as-they-are"]);
    // It goes on to the hosts, which cannot be reached.
    assert!(passed.starts_with("exit code 4\n") && passed.contains("connecting to the hosts"), "{passed}");
}

#[test]
fn a_run_of_vms_that_exist_is_gone_on_with_on_its_hosts_only() {
    let folder = fixture();
    let path = folder.path().join("run/run.json");
    let mut run: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    run["existing"] = serde_json::json!([{ "name": "db", "address": "192.0.2.7" }]);
    fs::write(&path, run.to_string()).unwrap();
    let told = bench(folder.path(), &["--resume", "run"]);
    insta::assert_snapshot!(told);
}

#[test]
fn the_doctor_of_hosts_that_cannot_be_reached_could_not_look_at_a_vm() {
    let folder = folder();
    let doctor = |words: &[&str]| told(dunlin(folder.path()).arg("doctor").args(words));
    let text = doctor(&["existing", "--inventory", "hosts.toml", "--vm", "db"]);
    assert!(text.starts_with("exit code 4\n"), "{text}");
    assert!(text.contains("\n?        db ") && text.contains("not tried: both hosts are needed"), "{text}");
    let given = ["--vm-address", "192.0.2.7"];
    let text = doctor(&[&["existing", "--inventory", "hosts.toml", "--vm", "db"][..], &given].concat());
    assert!(text.contains("\n?        db "), "{text}");
    let text = doctor(&[&["--inventory", "hosts.toml", "--vm", "db"][..], &given, &given].concat());
    assert!(
        text.starts_with("exit code 3\n") && text.contains("2 addresses (--vm-address) for 1 VM"),
        "{text}"
    );
    let text = doctor(&[&["--inventory", "hosts.toml"][..], &given].concat());
    assert!(text.starts_with("exit code 2\n"), "{text}");
    // A file that is none is told first.
    let text = doctor(&["none.toml", "--inventory", "hosts.toml", "--vm", "db"]);
    assert!(text.starts_with("exit code 3\n"), "{text}");
}
