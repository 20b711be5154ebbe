//! What is said where the machine lacks something.

use std::fs;
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

#[test]
fn the_cache_is_listed_and_pruned() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["templates/t", "kernels/k"] {
        let path = folder.path().join("cache").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![0; 2_000_000]).unwrap();
    }
    let cache = |word| told(dunlin(folder.path()).env("DUNLIN_CACHE", "cache").args(["cache", word]));
    let listed = cache("list");
    assert!(
        listed.contains("templates     1 2.00 removes it") && listed.contains("4.00 MB in cache"),
        "{listed}"
    );
    let pruned = cache("prune");
    assert!(pruned.contains("removed 1 file (2.00 MB) from cache"), "{pruned}");
    assert!(
        folder.path().join("cache/kernels/k").exists() && !folder.path().join("cache/templates/t").exists()
    );
}
