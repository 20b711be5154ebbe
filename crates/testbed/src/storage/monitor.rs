//! What is said to a storage daemon of QEMU's through its monitor: lines of JSON (QMP, docs/interop/qmp-spec.rst there).

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use dunlin_clock::Deadline;
use serde_json::{Value, json};

use crate::{Result, TestbedError};

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The longest line there can be.
const LINE_BYTES: u64 = 1 << 20;

/// A connection to a monitor.
pub(super) struct Monitor {
    stream: BufReader<UnixStream>,
    /// The daemon's major version.
    pub(super) major: u64,
}

impl Monitor {
    pub(super) fn greet(stream: UnixStream) -> Result<Self> {
        let mut monitor = Self { stream: BufReader::new(stream), major: 0 };
        let deadline = Deadline::after(ANSWER_LIMIT);
        let greeting = monitor.hear(deadline)?;
        monitor.major = greeting["QMP"]["version"]["qemu"]["major"].as_u64().unwrap_or_default();
        monitor.ask("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Has a command carried out.
    pub(super) fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let deadline = Deadline::after(ANSWER_LIMIT);
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        let doing = || TestbedError::io(format!("say {command} to a storage daemon"));
        self.stream.get_mut().write_all(line.as_bytes()).map_err(doing())?;
        loop {
            let mut answer = self.hear(deadline)?;
            if let Some(said) = answer.get("error") {
                let said = said["desc"].as_str().unwrap_or_default().to_owned();
                return Err(doing()(std::io::Error::other(said)));
            }
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            // An event, which nobody waits for.
        }
    }

    fn hear(&mut self, deadline: Deadline) -> Result<Value> {
        let doing = || TestbedError::io("hear a storage daemon");
        let left = deadline.left().max(Duration::from_millis(1));
        self.stream.get_mut().set_read_timeout(Some(left)).map_err(doing())?;
        let mut line = Vec::new();
        self.stream.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line).map_err(doing())?;
        serde_json::from_slice(&line).map_err(|error| doing()(error.into()))
    }
}
