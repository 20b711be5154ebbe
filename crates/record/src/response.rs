//! How a service answered before, during and after a migration: how long it took, and why it did not.

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

/// Why a request of a probe has no good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFailure {
    /// It was not sent: too many were under way, or it was far too late.
    NotSent,
    /// The connection was refused, reset or closed before the whole answer had come.
    Broken,
    /// What came was no answer, or one that said no (HTTP: a status other than 200).
    WrongAnswer,
    /// Nothing came for too long.
    TimedOut,
}

impl RequestFailure {
    const ALL: [Self; 4] = [Self::NotSent, Self::Broken, Self::WrongAnswer, Self::TimedOut];

    /// How a series names it: 0 not sent, 1 broken, 2 wrong answer, 3 timed out.
    #[must_use]
    pub fn code(self) -> i64 {
        self as i64
    }

    /// What a series means by this; none where it means nothing.
    #[must_use]
    pub fn of_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.code() == code)
    }
}

/// Requests of a probe that had no good answer, by why. Those that never had any answer at all, nor another end, are in
/// none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FailureCounts {
    /// Not sent, as too many were under way, or it was far too late.
    pub not_sent: u64,
    /// Refused, reset or closed before the whole answer had come.
    pub broken: u64,
    /// Answered with something else than what was asked for.
    pub wrong_answer: u64,
    /// Given up, as nothing came for too long.
    pub timed_out: u64,
}

impl FailureCounts {
    /// Counts one more.
    pub fn add(&mut self, failure: RequestFailure) {
        *match failure {
            RequestFailure::NotSent => &mut self.not_sent,
            RequestFailure::Broken => &mut self.broken,
            RequestFailure::WrongAnswer => &mut self.wrong_answer,
            RequestFailure::TimedOut => &mut self.timed_out,
        } += 1;
    }
}
