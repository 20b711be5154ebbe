//! The files by which libvirt's daemon and its QEMUs are set up on a node.

/// Where Debian's package has them.
pub(super) const FOLDER: &str = "/etc/libvirt";
/// The daemon's own log.
pub(super) const LOG: &str = "/var/log/libvirt/libvirtd.log";

/// Whether the daemon's TCP port asks who comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tcp {
    /// Whoever comes is let in.
    Open,
    /// It asks by SASL, which nobody here can answer.
    Asking,
}

/// `libvirtd.conf`. By its host's UUID a daemon knows that another one is not itself; nodes have the same machine's.
pub(super) fn libvirtd(host_uuid: &str, tcp: Tcp) -> String {
    let auth_tcp = match tcp {
        Tcp::Open => "none",
        Tcp::Asking => "sasl",
    };
    format!(
        "listen_tls = 1\nlisten_tcp = 1\nauth_tcp = \"{auth_tcp}\"\nauth_tls = \"none\"\n\
         auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\nhost_uuid = \"{host_uuid}\"\n\
         log_outputs = \"2:file:{LOG}\"\n"
    )
}

/// `qemu.conf`: what a machine takes for granted and a node cannot give, is left out. There is no virtlogd, so that QEMU
/// writes its files itself.
pub(super) const QEMU: &str = "\
user = \"root\"
group = \"root\"
dynamic_ownership = 0
remember_owner = 0
security_driver = \"none\"
seccomp_sandbox = 0
namespaces = []
cgroup_controllers = []
stdio_handler = \"file\"
";
