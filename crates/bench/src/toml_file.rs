//! A TOML file that people write: its values with their places, and all that is wrong with it, told by file and line.

mod findings;
mod node;
mod problem;
mod words;

pub(crate) use findings::Findings;
pub(crate) use node::{Leaf, Node, Table, Value, parse};
pub use problem::{Problem, ProblemKind};
pub(crate) use problem::{impossible, in_lines, missing, wrong_type};
pub(crate) use words::{join, nearest, one_of, unknown_keys};
