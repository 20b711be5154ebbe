//! How an agent is reached, and as whom.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dunlin_record::{Snmp, SnmpAuth, SnmpPrivacy};

use crate::{Result, WireError};

/// The community of an agent that asks for none in particular.
const USUAL_COMMUNITY: &str = "public";
/// The shortest password that version 3 allows (RFC 3414, section 11.2).
const PASSWORD_CHARACTERS_MIN: usize = 8;

/// An agent, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnmpAgent {
    /// Where it is.
    pub address: SocketAddr,
    /// As whom it is asked.
    pub access: SnmpAccess,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// As whom an agent is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnmpAccess {
    /// As whoever knows a community: version 2c.
    Community(Secret),
    /// As a user: version 3.
    User {
        /// The user's name.
        name: String,
        /// How the user's messages are authenticated; not at all if absent.
        authentication: Option<SnmpAuthentication>,
    },
}

/// How a user's messages are authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnmpAuthentication {
    /// By which code.
    pub protocol: SnmpAuth,
    /// With which password.
    pub password: Secret,
    /// How they are encrypted, and with which password; not at all if absent.
    pub privacy: Option<(SnmpPrivacy, Secret)>,
}

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be handed to whoever needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl SnmpAgent {
    /// The agent that settings describe, at `address`. `variable` looks up an environment variable.
    ///
    /// # Errors
    /// Where a secret is not in its variable, or is too short.
    pub fn of(settings: &Snmp, address: IpAddr, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let secret = |what: &'static str, name: &Option<String>| {
            let name = name.as_deref().unwrap_or_default();
            let text = variable(name).filter(|text| !text.is_empty());
            text.map(Secret).ok_or_else(|| WireError::Secret { what, variable: name.to_owned() })
        };
        let password = |what: &'static str, name: &Option<String>| {
            let password = secret(what, name)?;
            if password.0.chars().count() < PASSWORD_CHARACTERS_MIN {
                return Err(WireError::ShortSecret { what, characters: PASSWORD_CHARACTERS_MIN });
            }
            Ok(password)
        };
        let privacy = || {
            let protocol = settings.privacy?;
            Some(
                password("password of the encryption", &settings.privacy_password_env)
                    .map(|it| (protocol, it)),
            )
        };
        let authentication = || {
            let protocol = settings.auth?;
            let password = password("password of the authentication", &settings.auth_password_env);
            Some(password.and_then(|password| {
                Ok(SnmpAuthentication { protocol, password, privacy: privacy().transpose()? })
            }))
        };
        let access = match (&settings.user, &settings.community_env) {
            (Some(name), _) => {
                SnmpAccess::User { name: name.clone(), authentication: authentication().transpose()? }
            }
            (None, None) => SnmpAccess::Community(Secret::new(USUAL_COMMUNITY)),
            (None, name) => SnmpAccess::Community(secret("community", name)?),
        };
        Ok(Self {
            address: SocketAddr::new(address, settings.port),
            access,
            timeout: Duration::from_secs_f64(settings.timeout_ms.clamp(1.0, 60_000.0) / 1e3),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(settings: &Snmp) -> Result<SnmpAgent> {
        let variable = |name: &str| match name {
            "GOOD" => Some("long enough".to_owned()),
            "SHORT" => Some("short".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        SnmpAgent::of(settings, IpAddr::from([10, 0, 0, 1]), variable)
    }

    #[test]
    fn without_user_and_community_everybody_may_ask() {
        let agent = agent(&Snmp::default()).unwrap();
        assert_eq!(agent.access, SnmpAccess::Community(Secret::new("public")));
        assert_eq!((agent.address.port(), agent.timeout), (161, Duration::from_millis(500)));
    }

    #[test]
    fn a_secret_comes_from_the_environment_and_is_not_shown() {
        let settings = Snmp {
            user: Some("dunlin".into()),
            auth: Some(SnmpAuth::Sha256),
            auth_password_env: Some("GOOD".into()),
            privacy: Some(SnmpPrivacy::Aes128),
            privacy_password_env: Some("GOOD".into()),
            ..Snmp::default()
        };
        let good = agent(&settings).unwrap();
        let SnmpAccess::User { authentication: Some(authentication), .. } = &good.access else {
            panic!("{good:?}");
        };
        assert_eq!(authentication.password.reveal(), "long enough");
        assert!(authentication.privacy.is_some());
        assert!(!format!("{good:?}").contains("long enough"));
    }

    #[test]
    fn a_secret_that_is_not_there_is_told_by_its_variable() {
        let because = |name: &str| {
            let settings = Snmp { community_env: Some(name.into()), ..Snmp::default() };
            agent(&settings).unwrap_err().to_string()
        };
        assert!(because("NONE").contains("NONE") && because("EMPTY").contains("EMPTY"));
        let user = Snmp {
            user: Some("dunlin".into()),
            auth: Some(SnmpAuth::Sha1),
            auth_password_env: Some("SHORT".into()),
            ..Snmp::default()
        };
        assert!(agent(&user).unwrap_err().to_string().contains("8 characters"));
    }
}
