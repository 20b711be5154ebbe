//! What of a migration under way can be set otherwise, in QEMU's words.

use std::time::Duration;

use serde_json::{Value, json};

use super::vm::UNLIMITED_BANDWIDTH;
use crate::Tuning;

/// The argument of `migrate-set-parameters`. Absent where the tuning asks for what would be no migration.
pub(super) fn parameters(tuning: Tuning) -> Option<Value> {
    Some(match tuning {
        Tuning::DowntimeLimit(limit) => json!({ "downtime-limit": whole_ms(limit) }),
        // 0 is no cap in most versions.
        Tuning::Bandwidth(Some(0)) => return None,
        Tuning::Bandwidth(bytes_s) => json!({ "max-bandwidth": bytes_s.unwrap_or(UNLIMITED_BANDWIDTH) }),
    })
}

/// Never less than was asked for: 0 ms is a limit that none keeps.
fn whole_ms(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command, Stdio};

    use dunlin_clock::Deadline;

    use super::*;
    use crate::qemu::Qmp;

    const QEMU: &str = "qemu-system-x86_64";
    const LIMIT: Duration = Duration::from_secs(60);
    const MEMORY_MIB: u32 = 512;

    #[test]
    fn limits_are_said_in_whole_milliseconds_and_bytes_a_second() {
        let words = |tuning| parameters(tuning).unwrap();
        let downtime = |us| words(Tuning::DowntimeLimit(Duration::from_micros(us)));
        assert_eq!(downtime(250_000), json!({ "downtime-limit": 250 }));
        assert_eq!(downtime(1), json!({ "downtime-limit": 1 }));
        assert_eq!(words(Tuning::Bandwidth(Some(5_000_000))), json!({ "max-bandwidth": 5_000_000 }));
        assert_eq!(words(Tuning::Bandwidth(None)), json!({ "max-bandwidth": 1_u64 << 40 }));
        assert_eq!(parameters(Tuning::Bandwidth(Some(0))), None);
    }

    /// A QEMU without a guest, whose monitor is a stream here; killed when dropped.
    struct Bare {
        qmp: Qmp,
        child: Child,
    }

    impl Bare {
        fn start(more: &[&str]) -> Result<Self, String> {
            let (ours, its) = UnixStream::pair().unwrap();
            let mut command = Command::new(QEMU);
            command.args(["-accel", "tcg", "-machine", "q35", "-m", &MEMORY_MIB.to_string(), "-S"]);
            command.args(["-nodefaults", "-display", "none", "-qmp", "stdio"]).args(more);
            command.stdin(OwnedFd::from(its.try_clone().unwrap())).stdout(OwnedFd::from(its));
            let child = command.stderr(Stdio::null()).spawn();
            let child = child.map_err(|error| format!("{QEMU} cannot be run: {error}"))?;
            let qmp = Qmp::negotiate(ours, Box::new(drop), Box::new(std::io::sink()), LIMIT).unwrap();
            Ok(Self { qmp, child })
        }

        fn ask(&self, command: &str, arguments: Value) -> Value {
            self.qmp.execute(command, arguments, LIMIT).unwrap()
        }

        fn tune(&self, tuning: Tuning) {
            self.ask("migrate-set-parameters", parameters(tuning).unwrap());
        }

        fn status(&self) -> String {
            self.ask("query-migrate", json!({}))["status"].as_str().unwrap_or_default().to_owned()
        }
    }

    impl Drop for Bare {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// One that a cap holds up at its begin is let go by its being lifted.
    #[test]
    fn a_real_migration_under_way_is_tuned() {
        let (source, destination) = match (Bare::start(&[]), Bare::start(&["-incoming", "defer"])) {
            (Ok(source), Ok(destination)) => (source, destination),
            (Err(why), _) | (_, Err(why)) => return dunlin_test_support::skip_vms(why),
        };
        // Before there is a migration they are settings as others are.
        source.tune(Tuning::Bandwidth(Some(10_000)));
        destination.ask("migrate-incoming", json!({ "uri": "tcp:127.0.0.1:0" }));
        let port = destination.ask("query-migrate", json!({}))["socket-address"][0]["port"].clone();
        source.ask("migrate", json!({ "uri": format!("tcp:127.0.0.1:{}", port.as_str().unwrap()) }));
        let deadline = Deadline::after(LIMIT);
        while source.status() != "active" {
            assert!(!deadline.passed(), "{}", source.status());
            std::thread::sleep(Duration::from_millis(10));
        }
        // Of 512 MiB there are more than a megabyte of headers alone: that is minutes at this rate.
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(source.status(), "active");
        source.tune(Tuning::DowntimeLimit(Duration::from_millis(123)));
        source.tune(Tuning::Bandwidth(None));
        while source.status() != "completed" {
            assert!(!deadline.passed(), "{}", source.status());
            std::thread::sleep(Duration::from_millis(10));
        }
        let set = source.ask("query-migrate-parameters", json!({}));
        assert_eq!((&set["downtime-limit"], &set["max-bandwidth"]), (&json!(123), &json!(1_u64 << 40)));
    }
}
