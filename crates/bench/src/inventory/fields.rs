//! A table whose keys are known, read entry by entry into typed values; what does not fit is noted.

use crate::toml_file::{
    Findings, Node, ProblemKind, Table, Value, impossible, join, missing, unknown_keys, wrong_type,
};

/// A table of a file.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// Where it stands in the text.
    at: usize,
    /// Its own path, as in `host.service`; empty for the file.
    path: String,
    entries: &'a Table,
}

impl<'a> Fields<'a> {
    /// The file's own.
    pub(super) fn of_file(entries: &'a Table, known: &[&str], findings: &mut Findings) -> Self {
        unknown_keys(entries, known, "", findings);
        Self { at: 0, path: String::new(), entries }
    }

    /// Those of a value, if it is a table.
    pub(super) fn of(node: &'a Node, path: &str, known: &[&str], findings: &mut Findings) -> Option<Self> {
        let Value::Table(entries) = &node.value else { return None };
        unknown_keys(entries, known, path, findings);
        Some(Self { at: node.at, path: path.into(), entries })
    }

    /// Those of a table in it, if that is there.
    pub(super) fn table(&self, key: &str, known: &[&str], findings: &mut Findings) -> Option<Self> {
        let node = self.node(key)?;
        let path = self.path_of(key);
        let fields = Self::of(node, &path, known, findings);
        if fields.is_none() {
            findings.add(node.at, path, wrong_type("a table", node));
        }
        fields
    }

    /// An entry in its form, if it is there and has it.
    pub(super) fn read<T>(
        &self,
        key: &str,
        form: impl Fn(&Node) -> Result<T, ProblemKind>,
        findings: &mut Findings,
    ) -> Option<T> {
        let node = self.node(key)?;
        form(node).map_err(|kind| findings.add(node.at, self.path_of(key), kind)).ok()
    }

    /// The same for an entry that has to be there, as in this example.
    pub(super) fn require<T>(
        &self,
        key: &str,
        example: &str,
        form: impl Fn(&Node) -> Result<T, ProblemKind>,
        findings: &mut Findings,
    ) -> Option<T> {
        if !self.has(key) {
            findings.add(self.at, self.path_of(key), missing(&format!("{key} = {example}, or the like")));
        }
        self.read(key, form, findings)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        self.entries.get(key)
    }

    /// Notes that an entry contradicts others: what was expected of it. Where it is not there it is told of the table, or
    /// of the entry of a table in it, as in `["service", "address"]`.
    pub(super) fn contradiction(&self, keys: &[&str], expected: &str, findings: &mut Findings) {
        let (mut entries, mut path, mut found) = (Some(self.entries), self.path.clone(), None);
        for key in keys {
            path = join(&path, key);
            found = entries.and_then(|entries| entries.get(*key));
            entries = found.and_then(|node| match &node.value {
                Value::Table(entries) => Some(entries),
                _ => None,
            });
        }
        match found {
            Some(node) => findings.add(node.at, path, impossible(expected, node)),
            None => findings.add(self.at, path, missing(expected)),
        }
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }
}
