//! What a managed switch counts of a real migration: the lab's own, with net-snmp's agent on it.

mod harness;

use dunlin_test_support::skip_vms;
use harness::Run;
use serde_json::Value;

/// An environment variable that every test has, and that is long enough for a password.
const SECRET: &str = "CARGO_MANIFEST_DIR";

const CASES: &str = r#"
[vm]
memory_mib = 128
[run]
shuffle = false
[trials]
count = 1
baseline_s = 0.6
settle_s = 0.6
[[case]]
name = "community"
switch.snmp = true
[[case]]
name = "user"
[case.switch.snmp]
user = "dunlin"
auth = "sha256"
auth_password_env = "SECRET"
privacy = "aes128"
privacy_password_env = "SECRET"
interval_ms = 50
[[case]]
name = "silent"
[case.switch.snmp]
address = "10.77.0.2"
port = 9
timeout_ms = 50
ports = { host-a = "11-migration", host-b = "12-migration" }
[[case]]
name = "no-secret"
switch.snmp.community_env = "DUNLIN_TEST_IS_NOT_SET"
"#;

#[test]
fn vm_a_switchs_counters_agree_with_the_interfaces() {
    need_vms!();
    if !["/usr/sbin/snmpd", "/usr/local/sbin/snmpd"].iter().any(|it| std::path::Path::new(it).exists()) {
        return skip_vms("snmpd is not installed");
    }
    let run = Run::start("switch", &CASES.replace("SECRET", SECRET)).finish();
    assert_eq!(run.code, Some(0), "{}", run.story());
    let outcomes = run.outcomes();
    let [community, user, silent] = &outcomes[..] else { panic!("{}", run.story()) };
    for outcome in [community, user] {
        let bytes = |pointer: &str| outcome.pointer(pointer).and_then(Value::as_f64).unwrap();
        // Both count frames of a wire without check sequences, and nothing else passes there.
        for way in ["source_tx", "source_rx"] {
            let [switch, host] = ["wire_bytes_snmp", "wire_bytes"].map(|by| bytes(&format!("/{by}/{way}")));
            assert!(host > 0.0 && (switch / host - 1.0).abs() < 0.02, "{way} {switch} {host}: {outcome:#}");
        }
        assert!(bytes("/wire_bytes_snmp/difference_percent").abs() < 1.0, "{outcome:#}");
        assert!(bytes("/wire_bytes_snmp/asked") >= 10.0 && bytes("/wire_bytes_snmp/counter_bits") == 64.0);
        assert!(!flags(outcome).contains("switch"), "{outcome:#}");
    }
    assert_eq!((silent["status"].as_str(), silent.get("wire_bytes_snmp")), (Some("completed"), None));
    assert!(flags(silent).contains("switch-silent"), "{silent:#}");

    let record = std::fs::read_to_string(run.folder.join("run.json")).unwrap();
    assert!(record.contains(SECRET) && !record.contains(env!("CARGO_MANIFEST_DIR")), "{record}");
    assert!(record.contains("DUNLIN_TEST_IS_NOT_SET, which is not set"), "the skipped case: {record}");
}

fn flags(outcome: &Value) -> String {
    outcome["flags"].to_string()
}
