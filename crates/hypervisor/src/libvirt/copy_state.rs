//! How far the copies of a VM's disks are, as libvirt tells it: its events, its counters, and the VM's XML.

use std::collections::HashMap;

use dunlin_testbed::DiskPlace;
use serde_json::Value;

/// What was heard of copies, each by the name that its disk has in the VM, as in `vda`.
#[derive(Debug, Default)]
pub(super) struct Heard {
    told: HashMap<String, Told>,
    /// QEMU's own words where one failed: libvirt's event has none.
    why: HashMap<String, String>,
}

/// What libvirt's event says of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// All was copied once.
    Ready,
    /// It has ended well.
    Completed,
    /// It has ended otherwise: the word for it, as in `failed`.
    Broken(String),
}

impl Heard {
    /// Takes note of what the event `block-job-2` says, as in `Block Copy for vda ready`.
    pub(super) fn hear_libvirt(&mut self, said: &str) {
        let Some((target, word)) =
            said.strip_prefix("Block Copy for ").and_then(|rest| rest.rsplit_once(' '))
        else {
            return;
        };
        let told = match word {
            "ready" => Told::Ready,
            "completed" => Told::Completed,
            other => Told::Broken(other.to_owned()),
        };
        self.told.insert(target.to_owned(), told);
    }

    /// Takes note of QEMU's event of a job that libvirt calls as in `copy-vda-libvirt-1-format`.
    pub(super) fn hear_qemu(&mut self, data: &Value) {
        let target = data["device"].as_str().and_then(|device| device.strip_prefix("copy-"));
        let target = target.and_then(|rest| rest.rsplit_once("-libvirt-"));
        if let (Some((target, _)), Some(why)) = (target, data["error"].as_str()) {
            self.why.insert(target.to_owned(), why.to_owned());
        }
    }

    pub(super) fn of(&self, target: &str) -> Option<&Told> {
        self.told.get(target)
    }

    pub(super) fn why(&self, target: &str) -> Option<&str> {
        self.why.get(target).map(String::as_str)
    }
}

/// What `virsh blockjob --raw --bytes` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) copied_bytes: i64,
    pub(super) total_bytes: i64,
    /// Its limit, in bytes a second; 0 = none.
    pub(super) speed: i64,
}

impl Counted {
    /// Reads it; nothing where there is no job.
    pub(super) fn read(said: &str) -> Option<Self> {
        let of = |name: &str| {
            let mut lines = said.lines().filter_map(|line| line.trim().split_once('='));
            lines.find_map(|(key, value)| (key == name).then(|| value.parse::<i64>().ok())?)
        };
        Some(Self { copied_bytes: of("cur")?, total_bytes: of("end")?, speed: of("bandwidth")? })
    }

    /// Whether all was copied once, as far as bytes tell: a job that has just begun does not know yet how many there are.
    pub(super) fn is_all(self) -> bool {
        self.total_bytes > 0 && self.copied_bytes >= self.total_bytes
    }
}

/// How a disk stands in the XML of a VM that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is being copied.
    Copied {
        /// Whether all was copied once.
        is_even: bool,
    },
    /// It is where it was to go.
    There,
    /// It is somewhere else, and nobody copies it.
    Elsewhere,
}

/// How a disk of a VM stands that is to go to a place; nothing where the XML has no such disk.
pub(super) fn standing(xml: &str, target: &str, place: &DiskPlace) -> Option<Standing> {
    let document = roxmltree::Document::parse(xml).ok()?;
    let child = |node: roxmltree::Node<'_, '_>, name: &str| {
        node.children().find(|child| child.has_tag_name(name)).map(|found| found.id())
    };
    let get = |id| document.get_node(id);
    let disk = document.descendants().find(|node| {
        node.has_tag_name("disk")
            && child(*node, "target").and_then(get).is_some_and(|at| at.attribute("dev") == Some(target))
    })?;
    if let Some(mirror) = child(disk, "mirror").and_then(get) {
        return Some(Standing::Copied { is_even: mirror.attribute("ready") == Some("yes") });
    }
    let source = child(disk, "source").and_then(get)?;
    let is_there = match place {
        DiskPlace::Nbd { server, export } => {
            let host = child(source, "host").and_then(get);
            let of_host = |name| host.and_then(|host| host.attribute(name));
            source.attribute("protocol") == Some("nbd")
                && source.attribute("name") == Some(export)
                && of_host("name") == Some(&server.ip().to_string())
                && of_host("port") == Some(&server.port().to_string())
        }
        _ => false,
    };
    Some(if is_there { Standing::There } else { Standing::Elsewhere })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// virsh 9.0.0 with QEMU 10.0.2.
    #[test]
    fn what_events_say_of_a_copy_is_heard() {
        let mut heard = Heard::default();
        heard.hear_libvirt("Block Copy for vda ready");
        assert_eq!((heard.of("vda"), heard.of("vdb")), (Some(&Told::Ready), None));
        heard.hear_libvirt("Block Copy for vda completed");
        assert_eq!(heard.of("vda"), Some(&Told::Completed));
        heard.hear_libvirt("Block Copy for vdb canceled");
        assert_eq!(heard.of("vdb"), Some(&Told::Broken("canceled".into())));
        heard.hear_libvirt("Active Block Commit for vdc completed");
        assert_eq!(heard.of("vdc"), None);
        heard.hear_qemu(&json!({ "device": "copy-vdb-libvirt-1-format", "error": "Input/output error" }));
        heard.hear_qemu(&json!({ "device": "drive-virtio-disk0", "error": "no" }));
        heard.hear_qemu(&json!({ "device": "copy-vda-libvirt-3-format", "len": 1 }));
        assert_eq!((heard.why("vdb"), heard.why("vda")), (Some("Input/output error"), None));
    }

    #[test]
    fn counters_are_read_and_no_job_has_none() {
        let said = " type=Block Copy\n bandwidth=5242880\n cur=16777216\n end=67108864\n";
        let counted = Counted { copied_bytes: 16 << 20, total_bytes: 64 << 20, speed: 5 << 20 };
        assert_eq!(Counted::read(said), Some(counted));
        assert!(!counted.is_all() && Counted { copied_bytes: 64 << 20, ..counted }.is_all());
        assert!(!Counted { copied_bytes: 0, total_bytes: 0, speed: 0 }.is_all(), "it has just begun");
        assert_eq!(Counted::read(""), None);
    }

    #[test]
    fn a_disk_is_there_only_once_it_lies_where_it_was_to_go() {
        let there = DiskPlace::Nbd { server: "10.66.7.2:10809".parse().unwrap(), export: "vm0-disk".into() };
        let of = |disk: &str| {
            let xml = format!(
                "<domain><devices><disk><target dev='vdb'/></disk><disk>{disk}<target dev='vda'/></disk></devices></domain>"
            );
            standing(&xml, "vda", &there)
        };
        let nbd = "<source protocol='nbd' name='vm0-disk' tls='no' index='4'><host name='10.66.7.2' port='10809'/></source>";
        let mirror = |ready: &str| {
            format!("<source file='/s'/><mirror type='network' job='copy'{ready}>{nbd}</mirror>")
        };
        assert_eq!(of(&mirror("")), Some(Standing::Copied { is_even: false }));
        assert_eq!(of(&mirror(" ready='yes'")), Some(Standing::Copied { is_even: true }));
        assert_eq!(of(&mirror(" ready='abort'")), Some(Standing::Copied { is_even: false }));
        assert_eq!(of(nbd), Some(Standing::There));
        assert_eq!(of("<source file='/s'/>"), Some(Standing::Elsewhere));
        assert_eq!(of(&nbd.replace("vm0", "vm1")), Some(Standing::Elsewhere));
        assert_eq!(of(&nbd.replace("10809", "10810")), Some(Standing::Elsewhere));
        assert_eq!(standing("<domain/>", "vda", &there), None);
    }
}
