//! What can be wrong between two daemons, each as it is met on real hosts.

use super::LibvirtNodes;
use super::certificates::Authority;
use super::settings::Tcp;
use crate::Result;

/// Why a node's libvirt does not reach another one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFault {
    /// The node's sshd lets no other node in.
    UntrustedKey,
    /// The node knows no other node's sshd.
    UnknownHost,
    /// The node's daemon asks by SASL who comes over TCP, and nobody can answer.
    TcpAsks,
    /// The node has no certificate to show to others.
    NoClientCertificate,
    /// The node's certificate for others is of an authority that nobody trusts, the node itself included: its own libvirt
    /// refuses to show it.
    ForeignClientCertificate,
}

impl LibvirtNodes {
    /// Makes access to a node, or from it, wrong in one thing. Its libvirtd is started anew where that takes it; domains run
    /// on.
    ///
    /// # Errors
    /// Where the node does not do it.
    pub fn refuse_access(&self, name: &str, fault: AccessFault) -> Result<()> {
        let daemon = self.daemon(name)?;
        match fault {
            AccessFault::UntrustedKey => daemon.write_authorized(&[]),
            AccessFault::UnknownHost => daemon.forget_host_keys(),
            AccessFault::TcpAsks => {
                daemon.write_settings(Tcp::Asking)?;
                self.restart(name)
            }
            AccessFault::NoClientCertificate => daemon.remove_client_certificate(),
            AccessFault::ForeignClientCertificate => {
                daemon.write_client_certificate(&daemon.issue(&Authority::make()?)?.client)
            }
        }
    }

    /// Gives a node all again that it had at first.
    ///
    /// # Errors
    /// Where the node does not do it.
    pub fn mend_access(&self, name: &str) -> Result<()> {
        self.give_access(self.daemon(name)?)?;
        self.restart(name)
    }
}
