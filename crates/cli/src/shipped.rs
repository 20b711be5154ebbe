//! The scenarios that are shipped, held in the binary so that a copy of it has them too.

use std::path::Path;

use dunlin_bench::{Scenario, ScenarioError};
use dunlin_hypervisor::Registry;

/// A scenario that is shipped: its name, and its file's text.
pub(crate) struct Shipped {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// Names a file of `scenarios/`, and holds its text.
macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        &[$(Shipped { name: $name, text: include_str!(concat!("../../../scenarios/", $name, ".toml")) }),+]
    };
}

/// All of them, in the order in which they are listed.
pub(crate) const SHIPPED: &[Shipped] = shipped![
    "demo",
    "hosts",
    "existing",
    "hu2013-baseline",
    "hu2013-dirty-sweep",
    "hu2013-stress",
    "hu2013-storage",
    "hu2013-storage-sweep",
    "hu2013-cold",
    "rastogi-scenario-1",
    "rastogi-scenario-2",
    "xen-http-memory",
    "guestperf-matrix",
    "prakash-transport",
    "prakash-storage",
];

impl Shipped {
    /// The one with this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        SHIPPED.iter().find(|shipped| shipped.name == name)
    }

    /// The scenario it is.
    ///
    /// # Errors
    /// As [`Scenario::parse`]; a test holds that there is none.
    pub(crate) fn scenario(&self) -> Result<Scenario, ScenarioError> {
        self.scenario_for(&Registry::builtin())
    }

    fn scenario_for(&self, drivers: &Registry) -> Result<Scenario, ScenarioError> {
        Scenario::parse_for(self.text, &format!("{}.toml", self.name), drivers)
    }
}

/// A scenario by its file, or by the name of one that is shipped where there is no such file.
///
/// # Errors
/// As [`Scenario::load`].
pub(crate) fn load(scenario: &Path, drivers: &Registry) -> Result<Scenario, ScenarioError> {
    match scenario.to_str().and_then(Shipped::find) {
        Some(shipped) if !scenario.exists() => shipped.scenario_for(drivers),
        _ => Scenario::load_for(scenario, drivers),
    }
}

/// What may have been meant by a name that is neither a file nor shipped.
pub(crate) fn hint(name: &Path) -> String {
    let name = name.to_string_lossy();
    // One slip: a letter too many, too few, another, or two exchanged.
    let near = SHIPPED.iter().find(|shipped| is_near(shipped.name, &name));
    let near = near.map(|shipped| format!("did you mean {}? ", shipped.name)).unwrap_or_default();
    format!(
        "{near}`dunlin scenarios` lists those that are shipped, `dunlin scenario new FILE` begins one of your own"
    )
}

fn is_near(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let same_before = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let same_after = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    let longer = one.len().max(other.len());
    let is_exchanged = one.len() == other.len()
        && same_before + 2 + same_after >= longer
        && one.get(same_before) == other.get(same_before + 1)
        && one.get(same_before + 1) == other.get(same_before);
    one.len().abs_diff(other.len()) <= 1 && same_before + 1 + same_after >= longer || is_exchanged
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_scenarios_is_shipped_under_the_name_it_gives_itself() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        let names = SHIPPED.iter().map(|shipped| shipped.scenario().unwrap().name).collect();
        assert_eq!(files, names);
        assert!(SHIPPED.iter().all(|shipped| shipped.scenario().unwrap().name == shipped.name));
    }

    #[test]
    fn a_slip_is_told_from_another_name() {
        for near in ["dmeo", "demos", "deno", "dem", "demo"] {
            assert!(is_near("demo", near), "{near}");
        }
        for far in ["", "mode", "nonexist", "demolition"] {
            assert!(!is_near("demo", far), "{far}");
        }
        assert!(hint(Path::new("dmeo")).starts_with("did you mean demo? `dunlin scenarios`"));
        assert!(hint(Path::new("nonexist")).starts_with("`dunlin scenarios`"));
    }

    #[test]
    fn a_file_goes_before_a_shipped_scenario_of_its_name() {
        let drivers = Registry::builtin();
        assert_eq!(load(Path::new("demo"), &drivers).unwrap().name, "demo");
        assert!(load(Path::new("demos"), &drivers).is_err());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("demo");
        std::fs::write(&file, "name = \"mine\"\n[[case]]\nname = \"c\"\n").unwrap();
        assert_eq!(load(&file, &drivers).unwrap().name, "mine");
    }
}
