//! A small domain for tests, as plain virsh takes it.

use std::path::Path;

/// A domain without a disk that boots a kernel directly, emulated (TCG).
#[derive(Debug, Clone)]
pub struct Domain<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its UUID.
    pub uuid: &'a str,
    /// The kernel it boots, where both ends of a migration see it.
    pub kernel: &'a Path,
    /// The kernel's initial file system, likewise.
    pub initrd: &'a Path,
    /// The kernel's command line.
    pub cmdline: &'a str,
    /// Its memory.
    pub memory_mib: u32,
    /// The host's bridge to which its network device is joined, and that device's address; none has no network device.
    pub bridge: Option<(&'a str, &'a str)>,
    /// The host's file to which its first serial port writes.
    pub console: &'a Path,
    /// More devices, as XML.
    pub devices: &'a str,
}

impl Domain<'_> {
    /// As XML.
    #[must_use]
    pub fn xml(&self) -> String {
        let Self { memory_mib, devices, .. } = self;
        let [name, uuid, cmdline] = [self.name, self.uuid, self.cmdline].map(escaped);
        let [kernel, initrd, console] =
            [self.kernel, self.initrd, self.console].map(|path| escaped(&path.display().to_string()));
        let interface = self.bridge.map(|(bridge, mac)| {
            let (bridge, mac) = (escaped(bridge), escaped(mac));
            format!(
                "    <interface type='bridge'><source bridge='{bridge}'/><mac address='{mac}'/><model type='virtio'/>\
                 </interface>\n"
            )
        });
        let interface = interface.unwrap_or_default();
        format!(
            "\
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact'><model>Nehalem</model></cpu>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <controller type='usb' model='none'/>
    <serial type='file'><source path='{console}' append='on'/></serial>
    <memballoon model='none'/>
{interface}{devices}  </devices>
</domain>
"
        )
    }
}

/// A text as XML has it between tags and in attributes.
fn escaped(text: &str) -> String {
    let escape = |c| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '\'' => "&apos;".to_owned(),
        '"' => "&quot;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_stands_in_the_text_and_ends_no_element() {
        let path = Path::new("/a & b");
        let domain = Domain {
            name: "t<1",
            uuid: "u",
            kernel: path,
            initrd: path,
            cmdline: "a='b'",
            memory_mib: 96,
            bridge: Some(("service", "52:54:00:00:00:01")),
            console: path,
            devices: "    <rng/>\n",
        };
        let xml = domain.xml();
        for part in [
            "<name>t&lt;1</name>",
            "<kernel>/a &amp; b</kernel>",
            "<cmdline>a=&apos;b&apos;</cmdline>",
            "<source bridge='service'/><mac address='52:54:00:00:00:01'/>",
            "</interface>\n    <rng/>\n  </devices>",
        ] {
            assert!(xml.contains(part), "{part}: {xml}");
        }
        assert!(!Domain { bridge: None, ..domain }.xml().contains("interface"));
    }
}
