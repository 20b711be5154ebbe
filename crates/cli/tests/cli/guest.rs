//! `dunlin guest agent`: what is written, and what is said to do with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use dunlin_test_support::skip;

use super::{dunlin, told};

#[test]
fn the_agent_and_its_unit_are_written_once_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let first = told(dunlin(folder.path()).args(["guest", "agent", "for/my-vm"]));
    insta::assert_snapshot!(first);
    let path = |name: &str| folder.path().join("for/my-vm").join(name);
    let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("dunlin-agent"), mode("dunlin-agent.service")), (0o755, 0o644));

    let run = |arguments: &[&str]| {
        let output = Command::new(path("dunlin-agent")).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = run(&[]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("Usage: dunlin-agent run"), "{err}");
    let (code, out, _) = run(&["--version"]);
    assert_eq!((code, out), (Some(0), format!("dunlin-agent {}\n", env!("CARGO_PKG_VERSION"))));

    fs::write(path("dunlin-agent.service"), "mine").unwrap();
    fs::remove_file(path("dunlin-agent")).unwrap();
    let again = told(dunlin(folder.path()).args(["guest", "agent", "for/my-vm"]));
    assert!(
        again.contains("exit code 3") && again.contains("cannot create for/my-vm/dunlin-agent.service"),
        "{again}"
    );
    assert_eq!(fs::read_to_string(path("dunlin-agent.service")).unwrap(), "mine");
}

#[test]
fn systemd_finds_no_mistake_in_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    dunlin(folder.path()).args(["guest", "agent", "."]).assert().success();
    // What it starts must be there, or that would be the mistake.
    let unit = fs::read_to_string(folder.path().join("dunlin-agent.service")).unwrap();
    let agent = folder.path().join("dunlin-agent");
    let unit = unit.replace("/usr/local/sbin/dunlin-agent", agent.to_str().unwrap());
    fs::write(folder.path().join("dunlin-agent.service"), unit).unwrap();
    let verified = Command::new("systemd-analyze")
        .args(["verify", "./dunlin-agent.service"])
        .current_dir(&folder)
        .output();
    let output = match verified {
        Ok(output) => output,
        Err(error) => return skip(format!("systemd-analyze cannot be run: {error}")),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("dunlin-agent.service"), "{said}");
}
