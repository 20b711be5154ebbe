//! Certificates by which the two ends of one migration know each other, made for it alone.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::{HypervisorError, Result};

/// The name that the destination's certificate is for.
pub(crate) const SERVER_NAME: &str = "dunlin-destination";
const CLIENT_NAME: &str = "dunlin-source";

/// What both ends of a migration need to know each other: an authority of its own, and a certificate of each, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Certificates {
    pub(crate) authority: String,
    /// Certificate and key of the destination.
    pub(crate) server: (String, String),
    /// Certificate and key of the source.
    pub(crate) client: (String, String),
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    /// Makes an authority and both certificates (ECDSA on P-256); the authority's key is forgotten at once.
    ///
    /// # Errors
    /// Where keys cannot be made.
    pub(crate) fn make() -> Result<Self> {
        make().map_err(|error| HypervisorError::Io {
            doing: "make the certificates of a migration".into(),
            source: std::io::Error::other(error),
        })
    }
}

fn make() -> Result<Certificates, rcgen::Error> {
    let mut params = named("dunlin-authority")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let end = |name: &str, purpose| {
        let mut params = named(name)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        Ok::<_, rcgen::Error>((params.signed_by(&key, &authority)?.pem(), key.serialize_pem()))
    };
    Ok(Certificates {
        server: end(SERVER_NAME, ExtendedKeyUsagePurpose::ServerAuth)?,
        client: end(CLIENT_NAME, ExtendedKeyUsagePurpose::ClientAuth)?,
        authority: authority.as_ref().pem(),
    })
}

fn named(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
