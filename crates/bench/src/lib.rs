//! Scenario to cases to trials: what is asked, resolved; runs made of it; the certificate of the probes.

mod calibrate;
mod captured;
mod error;
mod examine;
mod hold;
mod inventory;
mod ledger;
mod marks;
mod observer;
mod order;
mod plan;
mod recording;
mod resume;
mod runner;
mod scenario;
mod toml_file;
mod trial;
mod world;

pub use calibrate::{
    Calibration, CalibrationOrder, CalibrationProgress, Cell, Excluded, PingAccount, PingReading, ProbeCost,
    ProbeReading, Verdict, calibrate,
};
pub use captured::read_migration_capture;
pub use error::{BenchError, Mistake, Result};
pub use examine::{Examination, Found, Product, examine, examine_host};
pub use hold::{HeldVm, hold};
pub use inventory::{InventoryError, inventory_starter, load_inventory, parse_inventory};
pub use observer::Observer;
pub use runner::{Finished, Order, run};
pub use scenario::{Scenario, ScenarioError, expected_case_duration, expected_duration, starter, trial_id};
pub use toml_file::{Problem, ProblemKind};
pub use world::Ground;
