//! Scenarios: a TOML file that names a matrix, and the cases it comes to.
//!
//! The file is read in four steps, each a module: [`toml_file`] keeps every value with its place in the text, [`keys`]
//! says what may stand where, [`check`] compares the two, [`matrix`] merges the defaults and multiplies the lists;
//! [`driver`] says which hypervisor's driver a case is for. What a resolved case must still obey as a whole is in
//! [`rules`].

mod check;
mod driver;
mod error;
mod estimate;
mod keys;
mod matrix;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use dunlin_hypervisor::Registry;
use dunlin_record::{Case, RunInfo, TrialId};

pub use error::ScenarioError;
pub(crate) use estimate::expected_trial_duration;
pub use estimate::{expected_case_duration, expected_duration};

use crate::toml_file::{self, Findings, Leaf, Node, ProblemKind, Table, Value};
use keys::Grammar;

/// The built-in defaults, as if they stood in every file.
const DEFAULTS: &str = include_str!("scenario/defaults.toml");

/// The most cases a scenario may come to.
const CASES_MAX: usize = 10_000;

/// The longest name of a scenario or a case, in characters.
const NAME_MAX: usize = 64;

/// A matrix of cases, resolved: every list multiplied, every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name; part of file names, so only letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The file that it stands in, as messages call it.
    pub file: String,
    /// What it is about; the name where the file gives none.
    pub title: String,
    /// Whether the order of the trials is shuffled.
    pub shuffle: bool,
    /// The seed of the order; one is chosen for each run if absent.
    pub seed: Option<u32>,
    /// The first line that asks for links of a certain kind; absent where none does.
    pub links_at: Option<usize>,
    /// Its cases in the order of the file; within one `[[case]]` the last list varies fastest.
    pub cases: Vec<Case>,
}

impl Scenario {
    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// Where the file cannot be read, or as [`Scenario::parse`].
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        Self::load_for(path, &Registry::builtin())
    }

    /// The same for other drivers than the built-in ones.
    ///
    /// # Errors
    /// As [`Scenario::load`].
    pub fn load_for(path: &Path, drivers: &Registry) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Read { path: path.to_owned(), source })?;
        Self::parse_for(&text, &path.display().to_string(), drivers)
    }

    /// The scenario as a run has it.
    #[must_use]
    pub fn of_run(run: &RunInfo) -> Self {
        Self {
            name: run.scenario.clone(),
            file: run.scenario.clone(),
            title: run.title.clone(),
            shuffle: run.seed.is_some(),
            seed: run.seed,
            links_at: None,
            cases: run.cases.clone(),
        }
    }

    /// Reads a scenario from text. `file_name` is what messages call it.
    ///
    /// # Errors
    /// All that is wrong with the text, by line: a list of what can be told at this stage (syntax first, then keys and
    /// values, then cases as a whole).
    pub fn parse(text: &str, file_name: &str) -> Result<Self, ScenarioError> {
        Self::parse_for(text, file_name, &Registry::builtin())
    }

    /// The same for other drivers than the built-in ones.
    ///
    /// # Errors
    /// As [`Scenario::parse`].
    pub fn parse_for(text: &str, file_name: &str, drivers: &Registry) -> Result<Self, ScenarioError> {
        let grammar = Grammar::new(drivers);
        let mut findings = Findings::new(text, file_name);
        let Some(file) = toml_file::parse(text, &mut findings) else { return Err(findings.into()) };
        check::file(&file, &grammar, &mut findings);
        if !findings.is_empty() {
            return Err(findings.into());
        }
        let links_at = links_at(&file).map(|at| findings.line(at));
        let resolved = resolve(&file, &grammar, &mut findings);
        let scenario = Self { file: file_name.to_owned(), links_at, ..resolved };
        if findings.is_empty() { Ok(scenario) } else { Err(findings.into()) }
    }
}

/// Where a file first asks for links of a certain kind.
fn links_at(file: &Table) -> Option<usize> {
    let of_cases = case_tables(file).map(|(_, case)| case);
    let links = std::iter::once(file).chain(of_cases).filter_map(|settings| settings.get("link"));
    links.map(|link| link.key_at).min()
}

/// A commented scenario to begin with.
#[must_use]
pub fn starter() -> &'static str {
    include_str!("scenario/starter.toml")
}

/// The name of one trial of a case, as in `02-dirty-16-1`: safe as a file name, unique within a run.
///
/// `case_index` counts the scenario's cases from 0, `trial` the case's trials from 1.
#[must_use]
pub fn trial_id(case_index: usize, case: &Case, trial: u32) -> TrialId {
    TrialId::new(format!("{:02}-{}-{trial}", case_index + 1, slug(&case.title())))
}

/// Lower-case letters, digits and dots, with single dashes between. The index before it and the trial behind it make
/// the whole unique, so different texts may come to the same slug.
fn slug(text: &str) -> String {
    const LENGTH_MAX: usize = 60;
    let mut slug = String::new();
    for character in text.chars() {
        match character.to_ascii_lowercase() {
            safe @ ('a'..='z' | '0'..='9' | '.') => slug.push(safe),
            _ if slug.ends_with('-') || slug.is_empty() => {}
            _ => slug.push('-'),
        }
    }
    slug.truncate(LENGTH_MAX);
    match slug.trim_matches('-') {
        "" => "case".into(),
        slug => slug.into(),
    }
}

/// The cases of a file whose keys and values have been checked.
fn resolve(file: &Table, grammar: &Grammar<'_>, findings: &mut Findings) -> Scenario {
    let name = text_of(file, "name").unwrap_or_default();
    let title = text_of(file, "title").unwrap_or_else(|| name.clone());
    let built_in = toml_file::parse(DEFAULTS, findings).unwrap_or_default();
    let defaults = matrix::merge_settings(grammar, &built_in, file);
    let (shuffle, seed) = (run_value(file, "shuffle"), run_value(file, "seed"));
    let mut scenario = Scenario {
        name,
        file: String::new(),
        title,
        shuffle: !matches!(shuffle, Some(Leaf::Bool(false))),
        seed: match seed {
            Some(Leaf::Integer(seed)) => u32::try_from(*seed).ok(),
            _ => None,
        },
        links_at: None,
        cases: Vec::new(),
    };
    let mut titles = BTreeSet::new();
    for (at, case) in case_tables(file) {
        let settings = matrix::merge_settings(grammar, &defaults, case);
        let name = text_of(case, "name").unwrap_or_default();
        for choice in driver::choices(settings, case, grammar, findings) {
            let dials = matrix::dials(grammar, &choice.settings);
            let cells = matrix::cell_count(&dials);
            if cells.is_none_or(|cells| cells > CASES_MAX.saturating_sub(scenario.cases.len())) {
                findings.add(at, "case", ProblemKind::TooManyCases { limit: CASES_MAX });
                return scenario;
            }
            for mut cell in matrix::cells(&choice.settings, &dials) {
                cell.dials.extend(choice.dial());
                let Some(case) = rules::case(&name, at, &cell, (grammar, choice.driver), findings) else {
                    continue;
                };
                for case in rules::pair(case) {
                    if !titles.insert(case.title()) {
                        findings.add(at, "case", ProblemKind::DuplicateTitle { title: case.title() });
                    }
                    scenario.cases.push(case);
                }
            }
        }
    }
    scenario
}

fn text_of(table: &Table, key: &str) -> Option<String> {
    table.get(key)?.text().map(str::to_owned)
}

/// A value of the `[run]` table.
fn run_value<'a>(file: &'a Table, key: &str) -> Option<&'a Leaf> {
    let Value::Table(run) = &file.get("run")?.value else { return None };
    match &run.get(key)?.value {
        Value::Leaf(leaf) => Some(leaf),
        _ => None,
    }
}

/// The `[[case]]` tables, each with its place in the text.
fn case_tables(file: &Table) -> impl Iterator<Item = (usize, &Table)> {
    let cases: &[Node] = match file.get("case").map(|cases| &cases.value) {
        Some(Value::List(cases)) => cases,
        _ => &[],
    };
    cases.iter().filter_map(|case| match &case.value {
        Value::Table(table) => Some((case.at, table)),
        _ => None,
    })
}
