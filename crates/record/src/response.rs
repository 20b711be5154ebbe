//! How long a service took to answer, before, during and after a migration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A service's response times around a migration. A request belongs to the time in which it was sent, whenever its answer
/// came.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ResponsePhases {
    /// In the baseline, up to the migrate command.
    pub before: Responses,
    /// From the migrate command to the migration's end.
    pub during: Responses,
    /// From there to the end of settling.
    pub after: Responses,
}

/// How long requests took to be answered: from sending to the whole answer, in ms. One that was never answered has no such
/// time and is counted apart.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Responses {
    /// Requests that were answered.
    pub n: u64,
    /// Requests that were not.
    pub unanswered: u64,
    /// Requests answered, for each second of the time in which they were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_per_s: Option<f64>,
    /// Half of the requests took no longer, in ms.
    pub p50: Option<f64>,
    /// 90 % took no longer, in ms.
    pub p90: Option<f64>,
    /// 99 % took no longer, in ms.
    pub p99: Option<f64>,
    /// 99.9 % took no longer, in ms.
    pub p99_9: Option<f64>,
    /// The longest, in ms.
    pub max: Option<f64>,
    /// Upper bounds in ms, each with how many requests took no longer and longer than the bound below it: ten bounds
    /// between one power of ten and the next (1, 1.259, 1.585 …). Bounds that nothing falls under are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histogram: Vec<(f64, u64)>,
}
