//! What opens to this user what the system keeps closed: commands, where there is one.

use std::fs;
use std::io::ErrorKind;

use nix::unistd::geteuid;

use crate::device::TUN;

/// Opens namespaces.
pub(crate) fn namespaces() -> String {
    if geteuid().is_root() {
        return "give it CAP_SYS_ADMIN (in a container: docker run --privileged)".into();
    }
    // Each of these alone closes user namespaces; the others are then open or absent.
    let closed = [
        ("kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=10000"),
    ];
    let is = |name: &str, value: &str| {
        fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|text| text.trim() == value)
    };
    let mend = closed.into_iter().find(|(name, value, _)| is(name, value)).map(|(_, _, mend)| mend);
    mend.unwrap_or("run it as root, with sudo").into()
}

/// Opens taps, where opening the kernel's door to them failed like this.
pub(crate) fn tap(error: ErrorKind) -> String {
    match error {
        ErrorKind::PermissionDenied => format!("sudo chmod 0666 {TUN}"),
        _ => format!("sudo modprobe tun (in a container: docker run --device {TUN})"),
    }
}

/// Opens userfaultfd.
pub(crate) fn userfaultfd() -> String {
    "sudo sysctl vm.unprivileged_userfaultfd=1".into()
}

/// Brings netem.
pub(crate) fn netem() -> String {
    "sudo modprobe sch_netem; without it, dunlin delays frames itself".into()
}

/// Opens packet sockets.
pub(crate) fn packet_sockets() -> String {
    "sudo modprobe af_packet".into()
}
