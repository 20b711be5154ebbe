//! A TOML file as a tree in which every value knows its place in the text.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::{DeArray, DeTable, DeValue};

use super::{Findings, ProblemKind};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Offset of the value in the text, in bytes.
    pub(crate) at: usize,
    /// Offset of the key it was given by; its own where it has none.
    pub(crate) key_at: usize,
    pub(crate) value: Value,
}

/// A table's entries by key.
pub(crate) type Table = BTreeMap<String, Node>;

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Leaf(Leaf),
    List(Vec<Node>),
    Table(Table),
}

/// A value without parts.
#[derive(Debug, Clone)]
pub(crate) enum Leaf {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// What no setting takes: a date, or a number beyond 64 bits.
    Other(String),
}

impl Node {
    /// Whether this is a plain `true` or `false`, and which.
    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Leaf(Leaf::Bool(flag)) => Some(flag),
            _ => None,
        }
    }

    /// The text that this is, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Leaf(Leaf::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The entries of a list that is not empty, else this alone.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) if !items.is_empty() => items,
            _ => std::slice::from_ref(self),
        }
    }
}

impl fmt::Display for Node {
    /// As a message quotes it: short, in the file's own notation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::List(nodes) if nodes.is_empty() => f.write_str("an empty list"),
            Value::List(_) => f.write_str("a list"),
            Value::Table(_) => f.write_str("a table"),
            Value::Leaf(leaf) => leaf.fmt(f),
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const QUOTED_MAX: usize = 40;
        match self {
            Self::Bool(flag) => flag.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Float(number) if number.is_nan() => f.write_str("nan"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Text(text) if text.chars().count() > QUOTED_MAX => {
                write!(f, "{:?} and so on", text.chars().take(QUOTED_MAX).collect::<String>())
            }
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Parses TOML. What is no TOML is added to the findings.
pub(crate) fn parse(text: &str, findings: &mut Findings) -> Option<Table> {
    match DeTable::parse(text) {
        Ok(table) => Some(from_table(table.get_ref())),
        Err(error) => {
            // An error without a place is about an end that came too soon.
            let at = error.span().map_or(text.len(), |span| span.start);
            let (column, source_line) = findings.column_and_line(at);
            let message = error.message().to_owned();
            findings.add(at, "", ProblemKind::Syntax { column, message, source_line });
            None
        }
    }
}

fn from_table(table: &DeTable<'_>) -> Table {
    table
        .iter()
        .map(|(key, value)| {
            let node =
                Node { at: value.span().start, key_at: key.span().start, value: from_value(value.get_ref()) };
            (key.get_ref().to_string(), node)
        })
        .collect()
}

fn from_list(list: &DeArray<'_>) -> Vec<Node> {
    list.iter()
        .map(|value| {
            let at = value.span().start;
            Node { at, key_at: at, value: from_value(value.get_ref()) }
        })
        .collect()
}

fn from_value(value: &DeValue<'_>) -> Value {
    Value::Leaf(match value {
        DeValue::Array(list) => return Value::List(from_list(list)),
        DeValue::Table(table) => return Value::Table(from_table(table)),
        DeValue::String(text) => Leaf::Text(text.to_string()),
        DeValue::Boolean(flag) => Leaf::Bool(*flag),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Leaf::Other(number.to_string()), Leaf::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Leaf::Other(number.to_string()), Leaf::Float)
        }
        DeValue::Datetime(date) => Leaf::Other(date.to_string()),
    })
}
