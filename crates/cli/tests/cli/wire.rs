//! `dunlin wire` on real captures.

use std::fs;
use std::path::PathBuf;

use super::{dunlin, repository, told};

/// Where the captures are.
fn captures() -> PathBuf {
    repository().join("crates/wire/tests/fixtures")
}

#[test]
fn a_capture_of_a_migration_is_tables_and_a_graph() {
    insta::assert_snapshot!(told(dunlin(&captures()).args(["wire", "migration.pcapng.zst"])));
}

#[test]
fn a_mixed_capture_has_protocols_and_cautions() {
    insta::assert_snapshot!(told(dunlin(&captures()).args(["wire", "mixed.pcapng", "--tick", "1s"])));
}

#[test]
fn one_conversation_is_shown_with_all_its_figures() {
    insta::assert_snapshot!(told(dunlin(&captures()).args(["wire", "lossy.pcap.gz", "--conversation", "1"])));
    let by_end = told(dunlin(&captures()).args(["wire", "lossy.pcap.gz", "--conversation", "10.9.0.2:5001"]));
    let by_number = told(dunlin(&captures()).args(["wire", "lossy.pcap.gz", "--conversation", "1"]));
    assert_eq!(by_end, by_number);
    let none = told(dunlin(&captures()).args(["wire", "lossy.pcap.gz", "--conversation", "7"]));
    assert!(none.starts_with("exit code 3\n") && none.contains("there is no TCP conversation 7\n"), "{none}");
}

#[test]
fn a_capture_is_json() {
    let output =
        dunlin(&captures()).args(["wire", "--json", "cooked.pcap", "stalled.pcap.gz"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let files: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(files[1]["conversations"][0]["from_b"]["zero_windows"], 68);
    insta::assert_snapshot!(format!("{:#}", files[0]));
}

#[test]
fn files_that_are_cut_or_no_captures_are_exit_code_3_and_the_rest_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(captures().join("cooked.pcap")).unwrap();
    fs::write(folder.path().join("cut.pcap"), &whole[..3000]).unwrap();
    fs::write(folder.path().join("notes.txt"), "not a capture\n").unwrap();
    insta::assert_snapshot!(told(dunlin(folder.path()).args([
        "wire",
        "cut.pcap",
        "notes.txt",
        "absent.pcap"
    ])));
}

/// Runs `dunlin wire` where it is to succeed, and hands out what it printed.
fn printed(args: &[&str]) -> String {
    let output = dunlin(&captures()).arg("wire").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn first_file(args: &[&str]) -> serde_json::Value {
    let mut files: Vec<serde_json::Value> =
        serde_json::from_str(&printed(&[&["--json"], args].concat())).unwrap();
    files.swap_remove(0)
}

fn packets(of: &serde_json::Value) -> u64 {
    of["total"]["packets"].as_u64().unwrap()
}

#[test]
fn a_filter_leaves_what_fits_and_what_it_leaves_out_is_told() {
    let all = packets(&first_file(&["mixed.pcapng"]));
    let parts = ["tcp", "udp", "icmp or icmp6", "not (tcp or udp or icmp or icmp6)"]
        .map(|filter| first_file(&["mixed.pcapng", "--filter", filter]));
    assert_eq!(parts.iter().map(packets).sum::<u64>(), all);
    for part in &parts {
        assert_eq!(packets(part) + part["not_selected"].as_u64().unwrap(), all);
    }
    assert!(parts[1]["conversations"].as_array().unwrap().is_empty(), "UDP has none");
    let wrong = told(dunlin(&captures()).args(["wire", "mixed.pcapng", "--filter", "tcp prot 80"]));
    assert!(wrong.starts_with("exit code 2\n") && wrong.contains("(at character 5)"), "{wrong}");
}

#[test]
fn from_and_to_part_a_file_in_two() {
    let all = first_file(&["lossy.pcap.gz"]);
    let before = first_file(&["lossy.pcap.gz", "--to", "50ms"]);
    let after = first_file(&["lossy.pcap.gz", "--from", "50ms"]);
    assert_eq!(packets(&before) + packets(&after), packets(&all));
    assert!(packets(&before) > 0 && packets(&after) > 0);
    // Times count from the file's first packet all the same.
    assert!(after["start_ms"].as_f64().unwrap() >= 50.0, "{}", after["start_ms"]);
    assert_eq!(after["start_epoch_ns"], all["start_epoch_ns"]);
    let none = told(dunlin(&captures()).args(["wire", "lossy.pcap.gz", "--to", "1970-01-01T00:00:00Z"]));
    assert!(none.contains("\n0 packets"), "{none}");
    let wrong = told(dunlin(&captures()).args(["wire", "lossy.pcap.gz", "--from", "soon"]));
    assert!(wrong.starts_with("exit code 2\n") && wrong.contains("or a date"), "{wrong}");
}

#[test]
fn csv_has_a_line_for_each_direction_protocol_tick_and_migration() {
    let json = first_file(&["lossy.pcap.gz"]);
    let csv = printed(&["lossy.pcap.gz", "--csv"]);
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let column =
        |name: &str| lines[0].iter().position(|of| *of == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(lines.len(), 1 + 2 * json["conversations"].as_array().unwrap().len());
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{csv}");
    let flow = &json["conversations"][0]["from_a"];
    assert_eq!(lines[1][column("goodput_bytes")], flow["overhead"]["goodput_bytes"].to_string());
    assert_eq!(lines[1][column("timeout")], flow["retransmissions"]["timeout"].to_string());
    assert_eq!(lines[1][column("rtt_p50_ms")], flow["rtt_ms"]["p50"].to_string());
    for (table, rows) in [
        ("protocols", json["protocols"].as_array().unwrap().len()),
        ("graph", json["graph"]["tick"].as_array().unwrap().len()),
        ("migrations", json["migrations"].as_array().unwrap().len()),
    ] {
        assert_eq!(
            printed(&["lossy.pcap.gz", &format!("--csv={table}")]).lines().count(),
            1 + rows,
            "{table}"
        );
    }
    let migrations = printed(&["migration.pcapng.zst", "--csv=migrations"]);
    assert!(migrations.lines().nth(1).is_some_and(|line| line.contains(",qemu-stream,")), "{migrations}");
}

#[test]
fn standard_input_is_read_as_a_file_is() {
    let file = fs::read(captures().join("lossy.pcap.gz")).unwrap();
    let output = dunlin(&captures()).args(["wire", "--json", "-"]).write_stdin(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut files: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    files[0]["file"] = "lossy.pcap.gz".into();
    assert_eq!(files[0], first_file(&["lossy.pcap.gz"]));
    let none = told(dunlin(&captures()).args(["wire", "-"]).write_stdin(""));
    assert!(none.starts_with("exit code 3\n") && none.contains("standard input"), "{none}");
}
