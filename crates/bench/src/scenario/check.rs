//! Holds every key and value of a file against what may stand there, and notes all that does not.

use dunlin_hypervisor::Driver;

use super::NAME_MAX;
use super::keys::{DRIVER, Grammar, Key, RUN, Takes, Variant, Verdict};
use crate::toml_file::{
    Findings, Leaf, Node, Table, Value, impossible, join, missing, one_of, unknown_keys, wrong_type,
};

/// Checks a whole file: its own keys, its defaults, its cases.
pub(super) fn file(file: &Table, grammar: &Grammar<'_>, findings: &mut Findings) {
    let own = ["name", "title", "run", "case"];
    unknown_keys(file, &names(&own, grammar.settings()), "", findings);
    name(
        file,
        "name",
        0,
        scenario_name_fits,
        "letters, digits, \".\", \"_\" and \"-\", no dot first",
        findings,
    );
    if let Some(title) = file.get("title") {
        value(title, &Takes::Text, "title", findings);
    }
    if let Some(node) = file.get("run") {
        run(node, findings);
    }
    settings(file, grammar, findings);
    match file.get("case").map(|cases| (cases, &cases.value)) {
        None => findings.add(0, "case", missing("at least one [[case]]")),
        Some((node, Value::List(cases))) if cases.is_empty() => {
            findings.add(node.at, "case", impossible("at least one [[case]]", node));
        }
        Some((_, Value::List(cases))) => cases.iter().for_each(|node| case(node, grammar, findings)),
        Some((node, _)) => findings.add(node.at, "case", wrong_type("[[case]] tables", node)),
    }
}

/// Checks what holds for the run as a whole, where no list multiplies anything.
fn run(node: &Node, findings: &mut Findings) {
    let Value::Table(entries) = &node.value else {
        findings.add(node.at, "run", wrong_type("a table", node));
        return;
    };
    unknown_keys(entries, &names(&[], RUN), "run", findings);
    for key in RUN {
        if let Some(node) = entries.get(key.name) {
            single(node, &key.takes, &join("run", key.name), findings);
        }
    }
}

fn case(node: &Node, grammar: &Grammar<'_>, findings: &mut Findings) {
    let Value::Table(entries) = &node.value else {
        findings.add(node.at, "case", wrong_type("a [[case]] table", node));
        return;
    };
    unknown_keys(entries, &names(&["name"], grammar.settings()), "case", findings);
    name(entries, "case.name", node.at, case_name_fits, "text without line breaks", findings);
    settings(entries, grammar, findings);
}

/// Checks what stands at the top of a file and in each case alike.
fn settings(entries: &Table, grammar: &Grammar<'_>, findings: &mut Findings) {
    table(entries, grammar.settings(), "", findings);
    let Some(node) = entries.get(DRIVER) else { return };
    let known: Vec<&str> = grammar.drivers().map(Driver::name).collect();
    for item in node.items() {
        if item.text().is_some_and(|name| !name.trim().is_empty() && !known.contains(&name)) {
            findings.add(item.at, DRIVER, impossible(one_of(&known), item));
        }
    }
}

/// Checks the `name` of the scenario or of a case.
fn name(
    table: &Table,
    path: &str,
    at: usize,
    fits: fn(&str) -> bool,
    expected: &str,
    findings: &mut Findings,
) {
    let expected = format!("1 to {NAME_MAX} characters: {expected}");
    let Some(node) = table.get("name") else {
        findings.add(at, path, missing("name = \"…\""));
        return;
    };
    match &node.value {
        Value::Leaf(Leaf::Text(text)) if fits(text) && text.chars().count() <= NAME_MAX => {}
        Value::Leaf(Leaf::Text(_)) => findings.add(node.at, path, impossible(expected, node)),
        _ => findings.add(node.at, path, wrong_type("text", node)),
    }
}

/// It is part of the names of files and folders.
fn scenario_name_fits(name: &str) -> bool {
    let safe = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(safe)
}

fn case_name_fits(name: &str) -> bool {
    !name.trim().is_empty() && !name.chars().any(char::is_control)
}

/// Checks those entries of a table that are known; the others are [`unknown_keys`].
fn table(entries: &Table, keys: &[Key], path: &str, findings: &mut Findings) {
    for (name, node) in entries {
        if let Some(key) = keys.iter().find(|key| key.name == name) {
            value(node, &key.takes, &join(path, name), findings);
        }
    }
}

fn value(node: &Node, takes: &Takes, path: &str, findings: &mut Findings) {
    match (takes, &node.value) {
        (Takes::Table(_) | Takes::Switch(_) | Takes::Driver(_), Value::Table(entries)) => {
            let keys = takes.keys().unwrap_or_default();
            unknown_keys(entries, &names(&[], &keys), path, findings);
            table(entries, &keys, path, findings);
        }
        (Takes::Tagged { variants, .. }, Value::Table(entries)) => tagged(entries, variants, path, findings),
        (Takes::Map(each), Value::Table(entries)) => {
            for (name, node) in entries {
                value(node, each, &join(path, name), findings);
            }
        }
        (Takes::Table(_) | Takes::Driver(_) | Takes::Map(_) | Takes::Tagged { .. }, Value::List(_)) => {
            findings.add(node.at, path, wrong_type(takes.expected(), node));
        }
        (Takes::Texts, Value::List(items)) => texts(items, path, findings),
        (Takes::Each(_), Value::List(items)) if items.is_empty() => {
            findings.add(node.at, path, impossible(takes.expected(), node));
        }
        (Takes::Each(each), Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                value(item, each, &join(path, &index.to_string()), findings);
            }
        }
        (_, Value::List(items)) if items.is_empty() => {
            findings.add(
                node.at,
                path,
                impossible(format!("{}, or several of them", takes.expected()), node),
            );
        }
        (_, Value::List(items)) => items.iter().for_each(|item| single(item, takes, path, findings)),
        _ => single(node, takes, path, findings),
    }
}

/// A list by nature multiplies only as a list of lists.
fn texts(items: &[Node], path: &str, findings: &mut Findings) {
    let nested = items.iter().any(|item| matches!(item.value, Value::List(_)));
    for item in items {
        match &item.value {
            Value::List(inner) => inner.iter().for_each(|item| single(item, &Takes::AnyText, path, findings)),
            _ if nested => findings.add(item.at, path, wrong_type(Takes::Texts.expected(), item)),
            _ => single(item, &Takes::AnyText, path, findings),
        }
    }
}

/// A tagged table is checked against all its kinds: which one it is may be known only once it has been merged.
fn tagged(entries: &Table, variants: &[Variant], path: &str, findings: &mut Findings) {
    let mut known = vec!["kind"];
    for key in variants.iter().flat_map(|variant| variant.keys) {
        if !known.contains(&key.name) {
            known.push(key.name);
        }
    }
    unknown_keys(entries, &known, path, findings);
    for variant in variants {
        table(entries, variant.keys, path, findings);
    }
    let Some(kind) = entries.get("kind") else { return };
    let path = join(path, "kind");
    let kinds: Vec<&str> = variants.iter().map(|variant| variant.kind).collect();
    for item in kind.items() {
        match &item.value {
            Value::Leaf(Leaf::Text(text)) if kinds.contains(&text.as_str()) => {}
            Value::Leaf(Leaf::Text(_)) => findings.add(item.at, &path, impossible(one_of(&kinds), item)),
            _ => findings.add(item.at, &path, wrong_type(one_of(&kinds), item)),
        }
    }
}

/// Checks a value that does not multiply.
fn single(node: &Node, takes: &Takes, path: &str, findings: &mut Findings) {
    match takes.verdict(node) {
        Verdict::Fits => {}
        Verdict::WrongType => findings.add(node.at, path, wrong_type(takes.expected(), node)),
        Verdict::Impossible { expected } => findings.add(node.at, path, impossible(expected, node)),
    }
}

fn names<'a>(own: &[&'a str], keys: &'a [Key]) -> Vec<&'a str> {
    own.iter().copied().chain(keys.iter().map(|key| key.name)).collect()
}
