//! A value with other numbers and words in it, by way of its JSON: so no field is forgotten.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Choices;

/// The most places of a value that are changed.
const MOST_CHANGES: usize = 8;
const MOST_TRIES: usize = 3;
/// Words that mean something to who reads a record, and some that nobody expects.
const WORDS: [&str; 22] = [
    "",
    "?",
    "host-a",
    "host-b",
    "vm0",
    "vm1",
    "migration",
    "service",
    "icmp",
    "udp",
    "http",
    "tcp_rr",
    "tcp_stream",
    "completed",
    "failed",
    "cancelled",
    "active",
    "device",
    "setup",
    "realtime",
    "tcg",
    "\u{1b}[2J\u{202e}<b>&\"é\u{0}",
];

/// The value with some of its numbers, words and switches changed; a change with which it would not be one is left out.
///
/// # Panics
/// Where the value cannot be written as JSON.
#[expect(clippy::expect_used, reason = "only tests have it")]
pub fn distort<T: Serialize + DeserializeOwned + Clone>(value: &T, choices: &mut Choices) -> T {
    let mut value = value.clone();
    let mut json = serde_json::to_value(&value).expect("a sample can be written");
    let mut places = Vec::new();
    find_places(&json, String::new(), &mut places);
    for _ in 0..choices.below(MOST_CHANGES + 1) {
        let place = &places[choices.below(places.len())];
        // Not every number is one for every place.
        let changed = (0..MOST_TRIES).find_map(|_| {
            let mut json = json.clone();
            let leaf = json.pointer_mut(place)?;
            *leaf = other(leaf, choices);
            T::deserialize(&json).ok().map(|value| (value, json))
        });
        if let Some(changed) = changed {
            (value, json) = changed;
        }
    }
    value
}

fn other(leaf: &Value, choices: &mut Choices) -> Value {
    match leaf {
        Value::Bool(is) => Value::Bool(!*is),
        Value::String(_) => choices.of(&WORDS).into(),
        _ => choices.json_number(),
    }
}

/// The JSON pointers (RFC 6901) to all that is neither a list nor an object.
fn find_places(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            find_places(value, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), places);
        }),
        Value::Array(values) => values.iter().enumerate().for_each(|(index, value)| {
            find_places(value, format!("{at}/{index}"), places);
        }),
        _ => places.push(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::event_kinds;

    #[test]
    fn without_choices_a_value_stays_as_it_is_and_with_them_it_changes() {
        for kind in event_kinds() {
            assert_eq!(distort(&kind, &mut Choices::new(&[])), kind);
        }
        let seed: Vec<u8> = (0..u8::MAX).map(|index| index.wrapping_mul(83).wrapping_add(5)).collect();
        let changed =
            event_kinds().iter().filter(|kind| distort(*kind, &mut Choices::new(&seed)) != **kind).count();
        assert!(changed > 20, "{changed}");
    }
}
