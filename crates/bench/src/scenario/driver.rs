//! Which hypervisor's driver a case is for: the one that `driver` names, else the one whose table it has, else the first.

use dunlin_hypervisor::Driver;
use serde_json::Value as Json;

use super::keys::{DRIVER, Grammar};
use crate::toml_file::{Findings, ProblemKind, Table, Value, one_of};

/// A driver of a case, with the case's settings for it.
pub(super) struct Choice<'r> {
    pub(super) driver: &'r dyn Driver,
    /// Without `driver`, and without the tables of other drivers.
    pub(super) settings: Table,
    is_dial: bool,
}

impl Choice<'_> {
    /// The dial that a list of drivers is.
    pub(super) fn dial(&self) -> Option<(String, Json)> {
        self.is_dial.then(|| (DRIVER.to_owned(), self.driver.name().into()))
    }
}

/// The drivers of a case: several where a list names them. `own` is what stands in the case itself, `settings` what that
/// comes to over the defaults. None where it cannot be told.
pub(super) fn choices<'r>(
    mut settings: Table,
    own: &Table,
    grammar: &Grammar<'r>,
    findings: &mut Findings,
) -> Vec<Choice<'r>> {
    let asked = settings.remove(DRIVER);
    let is_dial = asked.as_ref().is_some_and(|node| matches!(node.value, Value::List(_)));
    let named = |name: &str| grammar.drivers().find(|driver| driver.name() == name);
    let drivers: Vec<&dyn Driver> = match &asked {
        Some(node) => node.items().iter().filter_map(|item| named(item.text()?)).collect(),
        None => by_table(&settings, grammar, findings).into_iter().collect(),
    };
    if asked.is_some() {
        let names: Vec<&str> = drivers.iter().map(|driver| driver.name()).collect();
        // Those among the defaults are for other cases; one that stands in the case itself is a mistake.
        let others = grammar.drivers().map(Driver::name).filter(|name| !names.contains(name));
        for (name, node) in others.filter_map(|name| Some((name, own.get(name)?))) {
            findings.add(node.key_at, name, ProblemKind::OtherDriver { expected: one_of(&names) });
        }
    }
    let choice = |driver: &'r dyn Driver| {
        let mut settings = settings.clone();
        let others = grammar.drivers().filter(|other| other.name() != driver.name());
        others.for_each(|other| drop(settings.remove(other.name())));
        Choice { driver, settings, is_dial }
    };
    drivers.into_iter().map(choice).collect()
}

/// The driver whose table is there; the first where none is.
fn by_table<'r>(settings: &Table, grammar: &Grammar<'r>, findings: &mut Findings) -> Option<&'r dyn Driver> {
    let mut found: Vec<_> =
        grammar.drivers().filter_map(|driver| Some((settings.get(driver.name())?.key_at, driver))).collect();
    found.sort_by_key(|(at, _)| *at);
    if let [(_, first), (at, second), ..] = found.as_slice() {
        findings.add(*at, second.name(), ProblemKind::TwoDrivers { beside: first.name().into() });
        return None;
    }
    found.first().map(|(_, driver)| *driver).or_else(|| grammar.drivers().next())
}
