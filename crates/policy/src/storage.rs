//! When the guest may no longer write its disks faster than they are copied.

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

/// Whether from now on a write of the guest must wait until it is on both hosts, and why. Asked for as late as that goes:
/// it slows the guest's disks down to the link, but without it a guest that writes faster than the link carries is never
/// caught up with.
#[must_use]
pub fn keep_in_step(now: &DisksCopied) -> Option<String> {
    if now.even {
        return Some("the disks are even: the memory's copy must not let them fall behind".into());
    }
    let once_over =
        now.first_total_bytes.zip(now.copied_bytes).is_some_and(|(first, copied)| copied >= first);
    once_over.then(|| "all disks were copied once: what is left was written meanwhile".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_is_held_back_only_when_all_was_copied_once() {
        let copied = |copied_bytes, even| DisksCopied {
            first_total_bytes: Some(100),
            copied_bytes: Some(copied_bytes),
            even,
        };
        assert_eq!(keep_in_step(&copied(99, false)), None);
        assert!(keep_in_step(&copied(100, false)).unwrap().contains("meanwhile"));
        assert!(keep_in_step(&copied(100, true)).unwrap().contains("even"));
        let untold = DisksCopied { first_total_bytes: None, ..copied(0, false) };
        assert_eq!(keep_in_step(&untold), None);
        assert_eq!(keep_in_step(&DisksCopied { copied_bytes: None, ..copied(0, false) }), None);
        assert!(
            keep_in_step(&DisksCopied { even: true, ..untold }).is_some(),
            "blank disks are even at once"
        );
    }
}
