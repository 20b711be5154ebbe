//! Disks as QEMU opens them: block nodes (`qapi/block-core.json`, `BlockdevOptions`), on the command line and by its monitor.

use std::path::Path;

use dunlin_testbed::DiskPlace;
use serde_json::{Value, json};

use crate::VmDisk;

/// How long a disk's server may be away before the guest hears of it, in seconds, where QEMU would tell at once (NBD).
const RECONNECT_S: u32 = 60;
/// How long a server may take to answer when a disk is opened, in seconds (NBD).
pub(super) const CONNECT_LIMIT_S: u32 = 10;

/// A VM's disk, by the name that its node is to have. What lies below an image is what is said here: nothing that its own header
/// says is followed.
pub(super) fn node(disk: &VmDisk, name: &str) -> Value {
    let VmDisk { format, place, backing, direct, .. } = disk;
    let cache = json!({ "direct": direct, "no-flush": false });
    let mut node = json!({
        "driver": format.name(),
        "node-name": name,
        "discard": "unmap",
        "cache": cache,
        "file": storage(place),
    });
    match backing {
        Some(below) => {
            let mut backing = json!({
                "driver": below.format.name(),
                "read-only": true,
                "cache": cache,
                "file": file(&below.path),
            });
            if below.format.has_backing() {
                backing["backing"] = Value::Null;
            }
            node["backing"] = backing;
        }
        None if format.has_backing() => node["backing"] = Value::Null,
        None => {}
    }
    node
}

/// Where a disk's image lies.
fn storage(place: &DiskPlace) -> Value {
    match place {
        DiskPlace::File(path) => file(path),
        DiskPlace::Nfs { server, path } => json!({
            "driver": "nfs",
            "server": { "type": "inet", "host": server.to_string() },
            "path": path.to_string_lossy(),
        }),
        DiskPlace::Iscsi { portal, target, lun } => json!({
            "driver": "iscsi",
            "transport": "tcp",
            "portal": portal.to_string(),
            "target": target,
            "lun": lun,
        }),
        DiskPlace::Nbd { server, export } => json!({
            "driver": "nbd",
            "server": { "type": "inet", "host": server.ip().to_string(), "port": server.port().to_string() },
            "export": export,
            "reconnect-delay": RECONNECT_S,
            "open-timeout": CONNECT_LIMIT_S,
        }),
    }
}

/// A file of the host's: who else has it open for writing is refused.
fn file(path: &Path) -> Value {
    json!({ "driver": "file", "filename": path.to_string_lossy(), "locking": "on" })
}

/// What people call a place.
pub(super) fn shown(place: &DiskPlace) -> String {
    match place {
        DiskPlace::File(path) => path.display().to_string(),
        DiskPlace::Nfs { server, path } => format!("nfs://{server}{}", path.display()),
        DiskPlace::Iscsi { portal, target, lun } => format!("iscsi://{portal}/{target}/{lun}"),
        DiskPlace::Nbd { server, export } => format!("nbd://{server}/{export}"),
    }
}

#[cfg(test)]
mod tests {
    use dunlin_record::ImageFormat;

    use super::*;
    use crate::BackingImage;

    fn disk(format: ImageFormat, place: DiskPlace) -> VmDisk {
        VmDisk { serial: "data".into(), size_mib: 8, format, place, backing: None, direct: true }
    }

    #[test]
    fn a_header_is_never_asked_what_lies_below() {
        let raw = node(&disk(ImageFormat::Raw, DiskPlace::File("/a,b:c".into())), "data");
        assert_eq!(raw["file"], json!({ "driver": "file", "filename": "/a,b:c", "locking": "on" }));
        assert_eq!((raw.get("backing"), &raw["cache"]["direct"]), (None, &Value::Bool(true)));

        let mut over = disk(ImageFormat::Qcow2, DiskPlace::File("/top".into()));
        assert_eq!(node(&over, "data").get("backing"), Some(&Value::Null));
        let below = |format| BackingImage { format, path: "/below".into() };
        over.backing = Some(below(ImageFormat::Raw));
        let raw_below = &node(&over, "data")["backing"];
        assert_eq!((&raw_below["driver"], &raw_below["read-only"]), (&"raw".into(), &true.into()));
        assert_eq!((&raw_below["file"]["filename"], raw_below.get("backing")), (&"/below".into(), None));
        over.backing = Some(below(ImageFormat::Qcow2));
        assert_eq!(node(&over, "data")["backing"].get("backing"), Some(&Value::Null));
    }

    #[test]
    fn each_place_has_its_driver() {
        let portal = "10.79.0.9:3260".parse().unwrap();
        let nbd = "10.79.0.9:10810".parse().unwrap();
        for (place, expected, url) in [
            (
                DiskPlace::Nfs { server: [10, 79, 0, 9].into(), path: "/export/a.qcow2".into() },
                json!({
                    "driver": "nfs", "server": { "type": "inet", "host": "10.79.0.9" }, "path": "/export/a.qcow2"
                }),
                "nfs://10.79.0.9/export/a.qcow2",
            ),
            (
                DiskPlace::Iscsi { portal, target: "iqn.2026-11.dunlin:disk".into(), lun: 1 },
                json!({
                    "driver": "iscsi", "transport": "tcp", "portal": "10.79.0.9:3260",
                    "target": "iqn.2026-11.dunlin:disk", "lun": 1
                }),
                "iscsi://10.79.0.9:3260/iqn.2026-11.dunlin:disk/1",
            ),
            (
                DiskPlace::Nbd { server: nbd, export: "a".into() },
                json!({
                    "driver": "nbd", "server": { "type": "inet", "host": "10.79.0.9", "port": "10810" },
                    "export": "a", "reconnect-delay": 60, "open-timeout": 10
                }),
                "nbd://10.79.0.9:10810/a",
            ),
        ] {
            assert_eq!(node(&disk(ImageFormat::Raw, place.clone()), "data")["file"], expected);
            assert_eq!(shown(&place), url);
        }
    }
}
