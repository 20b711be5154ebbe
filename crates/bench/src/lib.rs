//! Scenario to cases to trials: what is asked, resolved; runs made of it; the certificate of the probes.

mod calibrate;
mod captured;
mod definition;
mod elsewhere;
mod error;
mod examine;
mod existing;
mod hold;
mod inventory;
mod lacks;
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
pub use dunlin_record::ExistingVm as Existing;
pub use elsewhere::Elsewhere;
pub use error::{BenchError, Mistake, Result, VmObstacle};
pub use examine::{Examination, ExaminedVm, Found, Product, examine, examine_host, examine_vms, plain_case};
pub use existing::check_stay;
pub use hold::{HeldVm, hold};
pub use inventory::{InventoryError, inventory_starter, load_inventory, parse_inventory};
pub use observer::Observer;
pub use runner::{Finished, Order, run};
pub use scenario::{Scenario, ScenarioError, expected_case_duration, expected_duration, starter, trial_id};
pub use toml_file::{Problem, ProblemKind};
pub use world::Ground;
