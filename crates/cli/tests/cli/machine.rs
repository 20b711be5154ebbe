//! What is said where the machine lacks something.

use std::path::Path;

use dunlin_test_support::skip;
use serde_json::Value;

use super::{dunlin, told};

/// A folder that, as the only one on the `PATH`, has what the lab needs but no QEMU.
fn path_without_qemu() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/usr/bin/true", folder.path().join("true")).unwrap();
    folder
}

#[test]
fn doctor_tells_the_lack_of_qemu_and_what_mends_it() {
    let (path, cache) = (path_without_qemu(), tempfile::tempdir().unwrap());
    let doctor = |words: &[&str]| {
        let mut command = dunlin(Path::new("/"));
        command.arg("doctor").args(words).env("PATH", path.path()).env("XDG_CACHE_HOME", cache.path());
        command
    };
    let output = doctor(&["--json"]).output().unwrap();
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let finding = |name: &str| findings.iter().find(|finding| finding["name"] == name);
    assert_eq!(output.status.code(), Some(4));
    if let Some(lack) = findings.iter().find(|finding| finding["required"] == true && finding["ok"] == false)
        && finding("kvm").is_none()
    {
        return skip(format!("no lab can be made here: {}", lack["because"]));
    }
    let qemu = finding("qemu").unwrap();
    assert_eq!((&qemu["ok"], &qemu["required"]), (&Value::Bool(false), &Value::Bool(true)));
    assert!(qemu["mend"].as_str().unwrap().contains("apt-get install qemu-system-x86"), "{qemu}");
    assert_eq!(finding("guest kernel").unwrap()["mend"], "dunlin guest fetch");
    // Without them nobody can tell.
    assert!(finding("kvm").unwrap()["ok"].is_null() && finding("tcg").unwrap()["ok"].is_null());
    let text = told(&mut doctor(&[]));
    assert!(text.contains("\nMISSING  qemu "), "{text}");
    assert!(text.ends_with("error: 2 things that a lab needs are missing\n"), "{text}");
}
