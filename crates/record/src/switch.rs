//! A managed switch, whose own counters are read beside a migration.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::HostId;

/// The switch of the migration network.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Switch {
    /// How its counters are read; not at all if absent.
    pub snmp: Option<Snmp>,
}

/// How a switch's counters are read by SNMP: with a community (v2c, RFC 3416) or as a user (v3, RFC 3414). Secrets are
/// told by the name of the environment variable that holds each, so that no record holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Snmp {
    /// The agent's address; the lab's own switch if absent.
    pub address: Option<IpAddr>,
    /// The agent's UDP port.
    pub port: u16,
    /// Where the community is; `public` if absent.
    pub community_env: Option<String>,
    /// The user, for version 3.
    pub user: Option<String>,
    /// How the user's messages are authenticated; not at all if absent.
    pub auth: Option<SnmpAuth>,
    /// Where the password of the authentication is.
    pub auth_password_env: Option<String>,
    /// How the user's messages are encrypted; not at all if absent.
    pub privacy: Option<SnmpPrivacy>,
    /// Where the password of the encryption is.
    pub privacy_password_env: Option<String>,
    /// The switch's port of each host, by the name, description or alias it has there (`ifName`, `ifDescr`, `ifAlias`).
    pub ports: BTreeMap<HostId, String>,
    /// Time between two questions, in milliseconds.
    pub interval_ms: f64,
    /// How long an answer is waited for, in milliseconds.
    pub timeout_ms: f64,
}

impl Default for Snmp {
    fn default() -> Self {
        Self {
            address: None,
            port: 161,
            community_env: None,
            user: None,
            auth: None,
            auth_password_env: None,
            privacy: None,
            privacy_password_env: None,
            ports: BTreeMap::new(),
            interval_ms: 100.0,
            timeout_ms: 500.0,
        }
    }
}

/// How a user's messages are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SnmpAuth {
    /// HMAC-SHA-1-96 (RFC 3414).
    Sha1,
    /// HMAC-SHA-256-192 (RFC 7860).
    Sha256,
}

/// How a user's messages are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SnmpPrivacy {
    /// AES-128 in CFB mode (RFC 3826).
    Aes128,
}
