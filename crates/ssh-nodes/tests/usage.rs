//! The program for people. With this test it is built whenever the suite is, and tests of other rooms find it.

use std::process::{Command, Stdio};

#[test]
fn without_a_command_it_says_how_it_is_used() {
    let mut nodes = Command::new(env!("CARGO_BIN_EXE_dunlin-ssh-nodes"));
    let output = nodes.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("usage: dunlin-ssh-nodes"), "{said}");
}
