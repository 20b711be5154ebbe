//! `virsh` on a host: short calls, and what it means when one does not succeed.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dunlin_record::VmId;
use dunlin_testbed::{Host, LastWill, Output, TestbedError};

use crate::{HypervisorError, Result};

/// Limit of a question whose answer is waited for while a VM's place is not known.
pub(super) const ASK_LIMIT: Duration = Duration::from_millis(2500);
/// Limit of what changes something, or takes the daemon a while.
pub(super) const ACT_LIMIT: Duration = Duration::from_secs(6);
/// Limit of what may take a daemon that has just started a while: it asks its QEMU what that can do.
pub(super) const SLOW_LIMIT: Duration = Duration::from_secs(25);

/// `virsh` on a host, connected to the daemon there.
#[derive(Clone)]
pub(super) struct Virsh {
    pub(super) host: Arc<dyn Host>,
    /// How it finds its daemon.
    pub(super) uri: String,
}

/// Why a call of `virsh` did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The daemon says no.
    Refused,
    /// There is no such VM, the daemon says.
    NoDomain,
    /// The daemon did not answer, or its answer did not come: anything may be true.
    Lost,
}

impl Virsh {
    /// The words that run it: `program`, then its arguments. Its language is nobody's.
    pub(super) fn words<S: AsRef<str>>(&self, args: &[S]) -> (&'static Path, Vec<OsString>) {
        let mut words: Vec<OsString> =
            ["LC_ALL=C", "virsh", "-q", "-c"].into_iter().map(OsString::from).collect();
        words.push(self.uri.clone().into());
        words.extend(args.iter().map(|arg| arg.as_ref().into()));
        (Path::new("env"), words)
    }

    /// Runs it to its end.
    pub(super) fn run<S: AsRef<str>>(&self, args: &[S], limit: Duration) -> Result<Output> {
        let (program, words) = self.words(args);
        self.host.run(program, &words, limit).map_err(|error| match error {
            TestbedError::Timeout { after_s, .. } => HypervisorError::Timeout {
                host: self.host.id().clone(),
                waiting_for: format!("virsh {}", command(args)),
                after_s,
            },
            other => other.into(),
        })
    }

    /// Runs it and gives what it says.
    pub(super) fn say<S: AsRef<str>>(&self, args: &[S], limit: Duration) -> Result<String> {
        let output = self.run(args, limit)?;
        if output.success {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned());
        }
        Err(self.error(args, &output))
    }

    /// Has a VM destroyed at the testbed's end, however that comes about: a daemon keeps its VMs. Only ever asked for one that
    /// we make, by a UUID that we made up: nobody else's has it.
    pub(super) fn destroy_at_end(&self, uuid: &str) -> Result<LastWill> {
        let (program, words) = self.words(&["destroy", uuid]);
        Ok(self.host.at_end(program, &words)?)
    }

    /// What a call that did not succeed means.
    pub(super) fn error<S: AsRef<str>>(&self, args: &[S], output: &Output) -> HypervisorError {
        let words = last_words(&String::from_utf8_lossy(&output.stderr));
        let host = self.host.id().clone();
        let command = format!("virsh {}", command(args));
        match failure(output, &words) {
            Failure::Refused | Failure::NoDomain => {
                HypervisorError::Refused { host, command, description: words }
            }
            Failure::Lost => HypervisorError::Monitor {
                vm: VmId::new("libvirt"),
                host,
                // As in "the monitor of libvirt on host-b failed while it was asked (virsh domstate)".
                doing: format!("it was asked ({command})"),
                source: io::Error::other(if words.is_empty() { output.how.clone() } else { words }),
            },
        }
    }
}

/// A call's command, without what may be secret or long.
fn command<S: AsRef<str>>(args: &[S]) -> String {
    let mut words = args.iter().map(AsRef::as_ref);
    words.next().unwrap_or_default().to_owned()
}

/// What the error lines say, in one line.
pub(super) fn last_words(stderr: &str) -> String {
    let lines = stderr.lines().map(|line| line.trim().trim_start_matches("error:").trim());
    let mut said: Vec<&str> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if !said.contains(&line) {
            said.push(line);
        }
    }
    said.join(": ")
}

/// How a connection to a daemon that ends, or cannot be made, is told (libvirt's `virNetClient` and `virNetSocket`).
const LOST: &[&str] = &[
    "failed to connect to the hypervisor",
    "Failed to connect socket",
    "Cannot recv data",
    "Cannot write data",
    "End of file while reading data",
    "client socket is closed",
    "received hangup event on socket",
    "received error event on socket",
    // Before libvirt 9.
    "received hangup / error event on socket",
    "connection closed due to keepalive timeout",
    "Disconnected from",
    "Broken pipe",
    "Connection reset by peer",
];

/// What a call that did not succeed means. Only words of the daemon's own make it a refusal.
pub(super) fn failure(output: &Output, words: &str) -> Failure {
    let is_lost = words.is_empty()
        || !output.how.starts_with("exit status")
        || LOST.iter().any(|lost| words.contains(lost));
    if is_lost {
        Failure::Lost
    } else if words.contains("Domain not found") || words.starts_with("failed to get domain") {
        Failure::NoDomain
    } else {
        Failure::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(how: &str, stderr: &str) -> Failure {
        let output = Output { how: how.into(), success: false, stdout: Vec::new(), stderr: Vec::new() };
        failure(&output, &last_words(stderr))
    }

    /// Words of virsh 9.0.0.
    #[test]
    fn only_the_daemons_own_no_is_a_refusal() {
        let refused = "error: Requested operation is not valid: no job is active on the domain\n";
        assert_eq!(judged("exit status 1", refused), Failure::Refused);
        let unknown = "error: failed to get domain 'x'\n\n";
        assert_eq!(judged("exit status 1", unknown), Failure::NoDomain);
        let gone = "error: Domain not found: no domain with matching uuid '1' (t1)\n";
        assert_eq!(judged("exit status 1", gone), Failure::NoDomain);
        for lost in [
            "error: failed to connect to the hypervisor\nerror: Failed to connect socket to \
             '/var/run/libvirt/libvirt-sock': Connection refused\n",
            "error: Disconnected from qemu:///system due to end of file\nerror: End of file while reading data: \
             Input/output error\n",
            "error: failed to get domain 'x'\nerror: Cannot recv data: Connection reset by peer\n",
            "error: internal error: received hangup event on socket\n",
            "",
        ] {
            assert_eq!(judged("exit status 1", lost), Failure::Lost, "{lost}");
        }
        assert_eq!(judged("signal 9", "error: operation failed\n"), Failure::Lost);
    }

    #[test]
    fn what_it_says_is_one_line_said_once() {
        assert_eq!(last_words("error: a\nerror: b\n\nerror: a\n"), "a: b");
    }
}
