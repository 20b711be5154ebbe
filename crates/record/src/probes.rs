//! The outside observers: what is asked of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{RequestResponse, StreamProbe, TcpProbe};

/// The outside observers of the VM's service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Probes {
    /// ICMP echo.
    pub icmp: Option<Probe>,
    /// UDP echo, answered by the agent.
    pub udp: Option<Probe>,
    /// HTTP requests, answered by the workload `http-server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    /// TCP request/response between bench and guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_rr: Option<RequestResponse>,
    /// A TCP stream between bench and guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_stream: Option<StreamProbe>,
    /// TCP request/response between the hosts, on the migration network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts_tcp_rr: Option<RequestResponse>,
    /// A TCP stream between the hosts, on the migration network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts_tcp_stream: Option<StreamProbe>,
}

/// Between which two ends a TCP probe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpPath {
    /// Bench and guest, on the service network: it observes the VM's service.
    Service,
    /// Source and destination host, on the migration network: it observes what the migration leaves to others.
    Hosts,
}

impl Probes {
    /// Whether any of them uses the migration network.
    #[must_use]
    pub fn between_hosts(&self) -> bool {
        self.hosts_tcp_rr.is_some() || self.hosts_tcp_stream.is_some()
    }

    /// The TCP probes that are asked for, each with its name.
    #[must_use]
    pub fn tcp(&self) -> Vec<(&'static str, TcpPath, TcpProbe)> {
        let all = [
            ("tcp_rr", TcpPath::Service, self.tcp_rr.map(TcpProbe::RequestResponse)),
            ("tcp_stream", TcpPath::Service, self.tcp_stream.map(TcpProbe::Stream)),
            ("hosts_tcp_rr", TcpPath::Hosts, self.hosts_tcp_rr.map(TcpProbe::RequestResponse)),
            ("hosts_tcp_stream", TcpPath::Hosts, self.hosts_tcp_stream.map(TcpProbe::Stream)),
        ];
        all.into_iter().filter_map(|(name, path, probe)| Some((name, path, probe?))).collect()
    }
}

/// One observer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// Time between two requests, in milliseconds; 0.1 at least.
    pub interval_ms: f64,
}

impl Default for Probe {
    fn default() -> Self {
        Self { interval_ms: 1.0 }
    }
}

/// The observer that asks for a page, each time on a connection of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpProbe {
    /// Time between two requests, in milliseconds; 1 at least.
    pub interval_ms: f64,
    /// The page, as in `/matrix?order=5`.
    pub path: String,
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self { interval_ms: 10.0, path: "/".into() }
    }
}
