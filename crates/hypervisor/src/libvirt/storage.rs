//! What libvirt can do of what a case asks for the disks of our guests; the rest is refused, not passed over.

use dunlin_record::{Blocks, Case, StorageServer, Writes};

use crate::{HypervisorError, Result};

/// Refuses what libvirt would not do, or only seem to.
///
/// # Errors
/// The first thing that is not supported.
pub(super) fn check(case: &Case, version: &str) -> Result<()> {
    let storage = &case.storage;
    let no = |what: &str, because: &str| {
        Err(HypervisorError::Unsupported {
            what: what.into(),
            because: format!("{because} (libvirt {version})"),
        })
    };
    if storage.server != StorageServer::Folder {
        let because = "dunlin gives its guests there no disks of servers";
        return no(&format!("disks by {}", storage.server.name()), because);
    }
    if storage.blocks == Blocks::All {
        return no(
            "storage.blocks = \"all\"",
            "it leaves out what was never written, and cannot be told otherwise",
        );
    }
    if storage.writes == Writes::InStep {
        return no("storage.writes = \"in-step\"", "dunlin lets it copy in the background only");
    }
    if storage.two_steps && storage.blocks == Blocks::Overlay {
        return no(
            "storage.two_steps with storage.blocks = \"overlay\"",
            "the source would have to open what lies below the new image, which only the destination has",
        );
    }
    let in_one = "it copies disks and memory in one command of its own";
    let asked = [
        (storage.rate_mib_s.is_some() && !storage.two_steps, "storage.rate_mib_s", in_one),
        (
            storage.pause_after_s.is_some(),
            "storage.pause_after_s",
            "dunlin stops no VM of libvirt's for the copies of its disks",
        ),
        (storage.compare, "storage.compare", in_one),
    ];
    match asked.into_iter().find(|(is_asked, ..)| *is_asked) {
        Some((_, what, because)) => no(what, because),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(storage: &Value) -> Option<String> {
        let case: Case = serde_json::from_value(json!({
            "name": "one", "vm": {}, "libvirt": {}, "link": {}, "probes": {}, "workload": null,
            "storage": storage, "strategy": { "kind": "pre-copy" }, "trials": {}
        }))
        .unwrap();
        let error = check(&case, "9.0.0").err()?;
        assert!(error.is_unsupported(), "{error:?}");
        Some(error.to_string())
    }

    #[test]
    fn nothing_that_is_asked_is_passed_over() {
        for (storage, word) in [
            (json!({ "blocks": "all" }), "blocks"),
            (json!({ "writes": "in-step" }), "in-step"),
            (json!({ "two_steps": true, "blocks": "overlay" }), "two_steps"),
            (json!({ "two_steps": true, "blocks": "all" }), "blocks"),
            (json!({ "two_steps": true, "writes": "in-step" }), "in-step"),
            (json!({ "two_steps": true, "pause_after_s": 5.0 }), "pause_after_s"),
            (json!({ "rate_mib_s": 5.0 }), "rate_mib_s"),
            (json!({ "pause_after_s": 5.0 }), "pause_after_s"),
            (json!({ "compare": true }), "compare"),
            (json!({ "server": "nfs" }), "disks by nfs"),
        ] {
            assert!(refused(&storage).unwrap().contains(word), "{storage}");
        }
        for storage in [
            json!({}),
            json!({ "blocks": "overlay" }),
            json!({ "writes": "background" }),
            json!({ "two_steps": true }),
            json!({ "two_steps": true, "rate_mib_s": 5.0 }),
        ] {
            assert_eq!(refused(&storage), None);
        }
    }
}
