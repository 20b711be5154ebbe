//! When the guest may no longer write its disks faster than they are copied, and when it is stopped so that their copy ends.

use dunlin_record::Writes;

/// How far the copy of a VM's disks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DisksCopied {
    /// What there was to copy when the copy began, holes included; absent where nobody has told yet.
    pub first_total_bytes: Option<i64>,
    /// Copied since, again and again where the guest writes; absent where it is not told.
    pub copied_bytes: Option<i64>,
    /// Whether both hosts' disks were even once.
    pub even: bool,
}

/// Whether from now on a write of the guest must wait until it is on both hosts, and why. Where that is not so from the begin,
/// or never to be, it is asked for as late as that goes: it slows the guest's disks down to the link, but without it a guest
/// that writes faster than the link carries is never caught up with.
#[must_use]
pub fn keep_in_step(writes: Writes, now: &DisksCopied) -> Option<String> {
    if writes != Writes::WhenDue {
        return None;
    }
    if now.even {
        return Some("the disks are even: the memory's copy must not let them fall behind".into());
    }
    let once_over =
        now.first_total_bytes.zip(now.copied_bytes).is_some_and(|(first, copied)| copied >= first);
    once_over.then(|| "all disks were copied once: what is left was written meanwhile".into())
}

/// Whether the guest's writes wait until they are on both hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InStep {
    /// They do.
    Yes,
    /// Not yet: it is not due.
    NotYet,
    /// They are not to.
    NotAsked,
    /// They should, but this hypervisor cannot begin with that so late.
    Cannot,
}

/// Copies of a VM's disks that are not even yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CopiesBehind {
    /// Since they began, in ms.
    pub elapsed_ms: f64,
    /// After how long the VM is to be stopped, in seconds; never if absent.
    pub pause_after_s: Option<f64>,
    /// Whether the guest's writes wait for them.
    pub in_step: InStep,
    /// Whether the VM runs, so that it can be stopped.
    pub running: bool,
}

/// Whether the VM must be stopped so that the copies of its disks end, and why. One whose writes wait for them, or will in time,
/// is caught up with without that.
#[must_use]
pub fn pause_for_copies(now: &CopiesBehind) -> Option<String> {
    let pause_after_s = now.pause_after_s.filter(|seconds| now.elapsed_ms >= seconds * 1e3)?;
    let why = match now.in_step {
        InStep::Yes | InStep::NotYet => return None,
        InStep::NotAsked => "its writes are not to wait for them",
        InStep::Cannot => "this hypervisor cannot let its writes wait for them",
    };
    now.running.then(|| format!("its disks' copies have not caught up within {pause_after_s} s, and {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_is_held_back_only_when_all_was_copied_once() {
        let keep = |now: &DisksCopied| keep_in_step(Writes::WhenDue, now);
        let copied = |copied_bytes, even| DisksCopied {
            first_total_bytes: Some(100),
            copied_bytes: Some(copied_bytes),
            even,
        };
        assert_eq!(keep(&copied(99, false)), None);
        assert!(keep(&copied(100, false)).unwrap().contains("meanwhile"));
        assert!(keep(&copied(100, true)).unwrap().contains("even"));
        let untold = DisksCopied { first_total_bytes: None, ..copied(0, false) };
        assert_eq!(keep(&untold), None);
        assert_eq!(keep(&DisksCopied { copied_bytes: None, ..copied(0, false) }), None);
        assert!(keep(&DisksCopied { even: true, ..untold }).is_some(), "blank disks are even at once");
        for writes in [Writes::Background, Writes::InStep] {
            assert_eq!(keep_in_step(writes, &copied(100, true)), None, "not to be, or so from the begin");
        }
    }

    #[test]
    fn the_vm_is_stopped_only_where_nothing_else_lets_the_copies_catch_up() {
        let behind = CopiesBehind {
            elapsed_ms: 2_000.0,
            pause_after_s: Some(2.0),
            in_step: InStep::NotAsked,
            running: true,
        };
        assert!(pause_for_copies(&behind).unwrap().contains("within 2 s, and its writes are not to wait"));
        let cannot = CopiesBehind { in_step: InStep::Cannot, ..behind };
        assert!(pause_for_copies(&cannot).unwrap().contains("cannot let its writes wait"));
        for not in [
            CopiesBehind { elapsed_ms: 1_999.0, ..behind },
            CopiesBehind { pause_after_s: None, ..behind },
            CopiesBehind { in_step: InStep::Yes, ..behind },
            CopiesBehind { in_step: InStep::NotYet, ..behind },
            CopiesBehind { running: false, ..behind },
        ] {
            assert_eq!(pause_for_copies(&not), None, "{not:?}");
        }
    }
}
