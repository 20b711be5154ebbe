//! Certificates by which libvirt's daemons and QEMUs know each other: an authority of the lab's, and each node's own for both
//! ends of a connection.

use std::net::Ipv4Addr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::{Result, SshNodesError};

/// The authority of a lab.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// What a node has, as PEM: each a certificate and its key.
pub(super) struct Certificates {
    pub(super) server: (String, String),
    pub(super) client: (String, String),
}

impl Authority {
    /// Makes an authority that nobody trusts yet.
    pub(super) fn make() -> Result<Self> {
        let make = || {
            let mut params = named("dunlin-libvirt-authority", Vec::new())?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            CertifiedIssuer::self_signed(params, KeyPair::generate()?)
        };
        make().map(Self).map_err(failed("make an authority"))
    }

    /// Its certificate, as PEM.
    pub(super) fn certificate(&self) -> String {
        self.0.as_ref().pem()
    }

    /// Certificates of a node that is reached under its name, its names on both networks, and its addresses.
    pub(super) fn issue(&self, node: &str, addresses: [Ipv4Addr; 2]) -> Result<Certificates> {
        let names = ["", ".service", ".migration"].map(|end| format!("{node}{end}"));
        let names: Vec<String> =
            names.into_iter().chain(addresses.map(|address| address.to_string())).collect();
        let end = |purpose| {
            let mut params = named(node, names.clone())?;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
            params.extended_key_usages = vec![purpose];
            let key = KeyPair::generate()?;
            Ok::<_, rcgen::Error>((params.signed_by(&key, &self.0)?.pem(), key.serialize_pem()))
        };
        let both = || {
            Ok(Certificates {
                server: end(ExtendedKeyUsagePurpose::ServerAuth)?,
                client: end(ExtendedKeyUsagePurpose::ClientAuth)?,
            })
        };
        both().map_err(failed(&format!("make certificates for {node}")))
    }
}

fn named(name: &str, alternatives: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(alternatives)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn failed(doing: &str) -> impl FnOnce(rcgen::Error) -> SshNodesError {
    move |error| SshNodesError::io(doing)(std::io::Error::other(error))
}
