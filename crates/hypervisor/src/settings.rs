//! A driver's table in a scenario as a type of the driver's own: what all drivers do with theirs.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::registry::{SettingKey, SettingKind, WrongSetting};
use crate::{HypervisorError, Result};

/// A key of a table.
pub(crate) const fn key(name: &'static str, takes: SettingKind) -> SettingKey {
    SettingKey { name, takes }
}

/// The settings of a case for a product.
pub(crate) fn of<T: DeserializeOwned>(product: &str, settings: &Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(settings.clone())).map_err(|error| HypervisorError::Unsupported {
        what: format!("the settings of {product} in this case"),
        because: error.to_string(),
    })
}

/// The same of a table that somebody has just written.
pub(crate) fn read<T: DeserializeOwned>(settings: &Map<String, Value>) -> Result<T, WrongSetting> {
    serde_json::from_value(Value::Object(settings.clone())).map_err(|error| whole_is_wrong(error.to_string()))
}

/// Them with every default, for the record.
pub(crate) fn whole(settings: impl Serialize) -> Result<Map<String, Value>, WrongSetting> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(whole)) => Ok(whole),
        _ => Err(whole_is_wrong("it cannot be recorded".into())),
    }
}

fn whole_is_wrong(message: String) -> WrongSetting {
    WrongSetting { path: String::new(), message }
}
