//! From settings with lists to cells with one value each: merging a case over the defaults, multiplying its lists.
//!
//! Everything here works on a file that [`super::check`] found nothing wrong with.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::keys::{Grammar, Takes};
use crate::toml_file::{Leaf, Node, Table, Value};

/// A list that multiplies.
#[derive(Debug)]
pub(super) struct Dial {
    /// The keys that lead to it.
    path: Vec<String>,
    at: usize,
    values: Vec<Node>,
}

/// One cell of the matrix.
#[derive(Debug)]
pub(super) struct Cell {
    /// Its settings, without lists that multiply.
    pub(super) settings: Table,
    /// The value of each dial, by the dial's name.
    pub(super) dials: BTreeMap<String, Json>,
}

/// The settings among `over`'s entries, deep over those among `base`'s.
pub(super) fn merge_settings(grammar: &Grammar<'_>, base: &Table, over: &Table) -> Table {
    let settings = |table: &Table| -> Table {
        let entry = |name: &str| Some((name.to_owned(), table.get(name)?.clone()));
        grammar.settings().iter().filter_map(|key| entry(key.name)).collect()
    };
    merge(settings(base), settings(over), &|key| grammar.takes(key))
}

/// `takes` says what the entry of a key takes.
fn merge(mut base: Table, over: Table, takes: &dyn Fn(&str) -> Option<Takes>) -> Table {
    for (key, node) in over {
        let merged = match (base.remove(&key), takes(&key)) {
            (Some(below), Some(takes)) => merge_node(below, node, &takes),
            _ => node,
        };
        base.insert(key, merged);
    }
    base
}

fn merge_node(below: Node, over: Node, takes: &Takes) -> Node {
    // `probes.icmp = true` wants the probe, as it was set up below.
    if matches!(takes, Takes::Switch(_))
        && over.as_bool() == Some(true)
        && matches!(below.value, Value::Table(_))
    {
        return below;
    }
    match (below.value, over.value) {
        // Another kind begins anew: the keys of the kind below mean nothing to it.
        (Value::Table(low), Value::Table(high)) if is_tagged(takes) && other_kind(&low, &high) => {
            Node { value: Value::Table(high), ..over }
        }
        (Value::Table(low), Value::Table(high)) => {
            Node { value: Value::Table(merge(low, high, &|key| takes.entry(key))), ..over }
        }
        (_, value) => Node { value, ..over },
    }
}

fn is_tagged(takes: &Takes) -> bool {
    matches!(takes, Takes::Tagged { .. })
}

fn other_kind(low: &Table, high: &Table) -> bool {
    let text = |table: &Table| Some(table.get("kind")?.text()?.to_owned());
    high.contains_key("kind") && text(low) != text(high)
}

/// The lists that multiply, in the order of the file.
pub(super) fn dials(grammar: &Grammar<'_>, settings: &Table) -> Vec<Dial> {
    let mut dials = Vec::new();
    collect(settings, &|key| grammar.takes(key), &mut Vec::new(), &mut dials);
    dials.sort_by_key(|dial| dial.at);
    dials
}

fn collect(
    table: &Table,
    takes: &dyn Fn(&str) -> Option<Takes>,
    path: &mut Vec<String>,
    dials: &mut Vec<Dial>,
) {
    for (key, node) in table {
        path.push(key.clone());
        collect_node(node, takes(key), path, dials);
        path.pop();
    }
}

fn collect_node(node: &Node, takes: Option<Takes>, path: &mut Vec<String>, dials: &mut Vec<Dial>) {
    match (&node.value, takes) {
        (Value::Table(table), Some(takes)) => collect(table, &|key| takes.entry(key), path, dials),
        (Value::List(items), Some(Takes::Each(each))) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                collect_node(item, Some(*each), path, dials);
                path.pop();
            }
        }
        (Value::List(values), takes) if multiplies(values, takes) => {
            dials.push(Dial { path: path.clone(), at: node.at, values: values.clone() });
        }
        _ => {}
    }
}

/// A list does, unless it is one by nature and not a list of such lists.
fn multiplies(values: &[Node], takes: Option<Takes>) -> bool {
    let nested = || values.iter().any(|value| matches!(value.value, Value::List(_)));
    !matches!(takes, Some(Takes::Texts)) || nested()
}

/// How many cells the dials make; nothing where that is beyond counting.
pub(super) fn cell_count(dials: &[Dial]) -> Option<usize> {
    dials.iter().try_fold(1_usize, |cells, dial| cells.checked_mul(dial.values.len()))
}

/// Every cell; the last dial varies fastest.
pub(super) fn cells(settings: &Table, dials: &[Dial]) -> impl Iterator<Item = Cell> {
    let names = dial_names(dials);
    let count = cell_count(dials).unwrap_or(0);
    (0..count).map(move |index| {
        let mut cell = Cell { settings: settings.clone(), dials: BTreeMap::new() };
        let mut rest = index;
        for (dial, name) in dials.iter().zip(&names).rev() {
            let value = &dial.values[rest % dial.values.len()];
            rest /= dial.values.len();
            put(&mut cell.settings, &dial.path, value);
            cell.dials.insert(name.clone(), plain_json(value));
        }
        cell
    })
}

/// The last key of each dial's path, or the whole path where two dials have the same last key.
fn dial_names(dials: &[Dial]) -> Vec<String> {
    let last = |dial: &Dial| dial.path.last().cloned().unwrap_or_default();
    let unique = |dial: &&Dial| dials.iter().filter(|other| last(other) == last(dial)).count() == 1;
    dials.iter().map(|dial| if unique(&dial) { last(dial) } else { dial.path.join(".") }).collect()
}

fn put(table: &mut Table, path: &[String], value: &Node) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value.clone());
        }
        [key, rest @ ..] => {
            if let Some(node) = table.get_mut(key) {
                put_below(node, rest, value);
            }
        }
    }
}

fn put_below(node: &mut Node, path: &[String], value: &Node) {
    match (&mut node.value, path) {
        (Value::Table(inner), path) => put(inner, path, value),
        (Value::List(items), [index, rest @ ..]) => {
            if let Some(item) = index.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                put_below(item, rest, value);
            }
        }
        _ => {}
    }
}

/// A cell's settings as the record's types read them.
pub(super) fn to_json(grammar: &Grammar<'_>, settings: &Table) -> Json {
    table_json(settings, &|key| grammar.takes(key))
}

fn table_json(table: &Table, takes: &dyn Fn(&str) -> Option<Takes>) -> Json {
    let entry = |(key, node): (&String, &Node)| {
        let value = takes(key).map_or_else(|| plain_json(node), |takes| node_json(node, &takes));
        (key.clone(), value)
    };
    Json::Object(table.iter().map(entry).collect())
}

/// The words by which a file says "none of it" are absence to the record.
fn node_json(node: &Node, takes: &Takes) -> Json {
    match (takes, &node.value) {
        (takes, Value::Table(table)) => table_json(table, &|key| takes.entry(key)),
        (Takes::Each(each), Value::List(items)) => items.iter().map(|item| node_json(item, each)).collect(),
        (Takes::Switch(_), Value::Leaf(Leaf::Bool(true))) => Json::Object(serde_json::Map::new()),
        (Takes::Switch(_) | Takes::Tagged { .. }, Value::Leaf(Leaf::Bool(false))) => Json::Null,
        (Takes::NumberOr { word: "none", .. }, Value::Leaf(Leaf::Text(_))) => Json::Null,
        _ => plain_json(node),
    }
}

fn plain_json(node: &Node) -> Json {
    match &node.value {
        Value::Leaf(Leaf::Bool(flag)) => (*flag).into(),
        Value::Leaf(Leaf::Integer(number)) => (*number).into(),
        Value::Leaf(Leaf::Float(number)) => (*number).into(),
        Value::Leaf(Leaf::Text(text) | Leaf::Other(text)) => text.clone().into(),
        Value::List(items) => items.iter().map(plain_json).collect(),
        Value::Table(table) => table.iter().map(|(key, node)| (key.clone(), plain_json(node))).collect(),
    }
}
