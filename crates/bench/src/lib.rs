//! Scenario to cases to trials: what is asked, resolved.

mod scenario;

pub use scenario::{
    Problem, ProblemKind, Scenario, ScenarioError, expected_case_duration, expected_duration, starter,
    trial_id,
};
