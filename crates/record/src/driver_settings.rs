//! Which driver a case is for, and that driver's own settings: opaque to all but the driver.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A driver's name and its settings, every default filled in by the driver.
///
/// In a case's JSON they are one key, which is the driver's name, as in `"qemu": { "binary": … }`. It is the only one there
/// that is not known to all drivers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "BTreeMap<String, Value>", into = "BTreeMap<String, Value>")]
#[schemars(with = "BTreeMap<String, Value>")]
pub struct DriverSettings {
    /// The driver's name.
    pub driver: String,
    /// Its settings, by its own keys.
    pub settings: Map<String, Value>,
}

impl DriverSettings {
    /// A driver with no settings of its own.
    #[must_use]
    pub fn of(driver: &str) -> Self {
        Self { driver: driver.to_owned(), settings: Map::new() }
    }
}

impl TryFrom<BTreeMap<String, Value>> for DriverSettings {
    type Error = String;

    /// Takes the one key whose value is a table; what a newer version may have put beside it is none.
    fn try_from(keys: BTreeMap<String, Value>) -> Result<Self, Self::Error> {
        let mut tables = keys.into_iter().filter_map(|(name, value)| match value {
            Value::Object(settings) => Some(Self { driver: name, settings }),
            _ => None,
        });
        match (tables.next(), tables.next()) {
            (Some(driver), None) => Ok(driver),
            (None, _) => Err("a table with the settings of a driver is missing".into()),
            (Some(one), Some(other)) => {
                Err(format!("settings of two drivers, {} and {}", one.driver, other.driver))
            }
        }
    }
}

impl From<DriverSettings> for BTreeMap<String, Value> {
    fn from(DriverSettings { driver, settings }: DriverSettings) -> Self {
        Self::from([(driver, Value::Object(settings))])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_driver_is_the_key_of_its_settings() {
        let text = json!({ "toy": { "speed": 3 }, "remark": "newer" });
        let read: DriverSettings = serde_json::from_value(text).unwrap();
        assert_eq!((read.driver.as_str(), &read.settings["speed"]), ("toy", &json!(3)));
        assert_eq!(serde_json::to_value(&read).unwrap(), json!({ "toy": { "speed": 3 } }));
        let wrong = |value| serde_json::from_value::<DriverSettings>(value).unwrap_err().to_string();
        assert!(wrong(json!({})).contains("missing"));
        assert!(wrong(json!({ "a": {}, "b": {} })).contains("two drivers, a and b"));
    }
}
