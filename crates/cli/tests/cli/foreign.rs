//! Words of others on the terminal: what would steer it is shown instead.

use std::fs;

use super::{dunlin, fixture, told};

/// Clears the screen, in two ways; sets the clipboard; turns the line around.
const STEERING: &str = "x\u{1b}[2J\u{9b}2J\u{1b}]52;c;aGk=\u{7}\u{202e}y";
/// How it is shown.
const SHOWN: &str = "x\\u{1b}[2J\\u{9b}2J\\u{1b}]52;c;aGk=\\u{7}\\u{202e}y";
/// How JSON and TOML hold it.
const IN_QUOTES: &str = "x\\u001b[2J\\u009b2J\\u001b]52;c;aGk=\\u0007\\u202ey";

fn assert_harmless(told: &str, shown: &str) {
    let steers = |character: &char| character.is_control() && *character != '\n' || *character == '\u{202e}';
    assert_eq!(told.chars().find(steers), None, "{told:?}");
    assert!(told.contains(shown), "{told}");
}

#[test]
fn the_strings_of_a_foreign_run_do_not_steer_the_terminal() {
    let folder = fixture();
    let run = folder.path().join("run");
    for (file, from, to) in [
        (
            "run.json",
            "\"skipped\": []",
            format!("\"skipped\": [{{\"title\": \"{IN_QUOTES}\", \"because\": \"\"}}]"),
        ),
        (
            "trials.jsonl",
            "\"status\":\"completed\"",
            format!("\"status\":\"failed\",\"error\":\"{IN_QUOTES}\""),
        ),
        ("trials.jsonl", "\"case\":{\"name\":\"hybrid\"", format!("\"case\":{{\"name\":\"{IN_QUOTES}\"")),
    ] {
        let text = fs::read_to_string(run.join(file)).unwrap();
        assert!(text.contains(from), "{from} is not in {file}");
        fs::write(run.join(file), text.replacen(from, &to, 1)).unwrap();
    }
    let report = told(dunlin(folder.path()).args(["report", "run"]));
    assert_harmless(&report, SHOWN);
    assert!(report.matches("\\u{1b}]52").count() >= 2, "{report}");
    let json = told(dunlin(folder.path()).args(["report", "run", "--json"]));
    assert_harmless(&json, IN_QUOTES);
    let lines = run.join("trials.jsonl");
    fs::write(&lines, "no outcome\n").unwrap();
    fs::rename(&run, folder.path().join(STEERING)).unwrap();
    assert_harmless(
        &told(dunlin(folder.path()).args(["report", STEERING])),
        &format!("{SHOWN}/trials.jsonl"),
    );
}

#[test]
fn the_title_of_a_foreign_scenario_does_not_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| fs::write(folder.path().join("s.toml"), text).unwrap();
    write(&format!("name = \"s\"\ntitle = \"{IN_QUOTES}\"\n[[case]]\nname = \"idle\"\n"));
    let check =
        |words: &[&str]| told(dunlin(folder.path()).args(["scenario", "check", "s.toml"]).args(words));
    assert_harmless(&check(&[]), SHOWN);
    assert_harmless(&check(&["--json"]), IN_QUOTES);
    write(&format!("name = \"s\"\n\"{IN_QUOTES}\" = 1\n"));
    assert_harmless(&check(&[]), "\\u{1b}");
}

#[test]
fn names_and_comments_of_a_foreign_capture_do_not_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("foreign.pcapng"), capture()).unwrap();
    let wire = |words: &[&str]| told(dunlin(folder.path()).args(["wire", "foreign.pcapng"]).args(words));
    let text = wire(&[]);
    assert_harmless(&text, SHOWN);
    assert!(text.matches(SHOWN).count() >= 2, "the interface and the comment: {text}");
    assert_harmless(&wire(&["--json"]), IN_QUOTES);
}

/// A segment of TCP with a comment, on an interface with a name (pcapng, little-endian).
fn capture() -> Vec<u8> {
    let option = |code: u16, text: &str| {
        let mut bytes = code.to_le_bytes().to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let block = |kind: u32, parts: &[&[u8]]| {
        let body = parts.concat();
        let length = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, &body, &length].concat()
    };
    let end = [0; 4];
    let mut frame = [[2; 12].as_slice(), &[8, 0]].concat();
    frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x1f, 0x90, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0]);
    let length = (frame.len() as u32).to_le_bytes();
    frame.resize(frame.len().next_multiple_of(4), 0);
    [
        block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes(), &[1, 0, 0, 0], &[0xff; 8]]),
        block(1, &[&[1, 0, 0, 0, 0, 0, 4, 0], &option(2, STEERING), &end]),
        block(6, &[&[0; 12], &length, &length, &frame, &option(1, STEERING), &end]),
    ]
    .concat()
}
