//! `dunlin compare --power`: which change would be found with how many trials, or runs.

use std::path::{Path, PathBuf};

use dunlin_analysis::{FoundWith, Power, PowerOptions, power};
use dunlin_report::{Table, wrapped};

use super::as_text;
use super::sides::{Run, listed, open_all, told};
use crate::failure::{Exit, Failure, Result};
use crate::terminal;

/// Fewer trials of a case do not tell how they vary.
const FEW_TRIALS: usize = 6;

pub(super) fn run(paths: &[PathBuf], json: bool) -> Result {
    let runs = open_all(paths)?;
    let options = PowerOptions::for_runs(runs.len());
    let power = power(&told(&runs), &options);
    if power.rows.is_empty() {
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let message = format!("{} hold no completed trial to try a comparison on", listed(&paths));
        return Err(Failure::says(Exit::BadInput, message));
    }
    let fewest = runs.iter().filter_map(Run::fewest_completed).min().unwrap_or_default();
    if fewest < FEW_TRIALS {
        terminal::say(&format!(
            "warning: a case with {fewest} completed trial{}: fewer than {FEW_TRIALS} do not tell how trials vary, and what is \
             found is too little or too much",
            if fewest == 1 { "" } else { "s" }
        ));
    }
    if json {
        let document = serde_json::json!({
            "of": paths, "amount": unit(&power), "tables": options.tables, "share": options.share,
            "changes": options.changes, "power": power,
        });
        return terminal::print_json(&as_text(&document)?);
    }
    terminal::print(&text(paths, &power, &options, terminal::width()))
}

/// What the amounts count.
fn unit(power: &Power) -> &'static str {
    if power.runs > 1 { "runs" } else { "trials" }
}

fn text(paths: &[PathBuf], power: &Power, options: &PowerOptions, width: Option<u16>) -> String {
    let unit = unit(power);
    let mut table = Table::new().key("figure");
    for amount in &options.amounts {
        table = table.figure(&format!("{amount}\n{unit}"));
    }
    let mut title = "";
    for row in &power.rows {
        if row.title != title {
            table.section(&row.title);
            title = &row.title;
        }
        let cells = row.found.iter().map(|with| with.found.map_or_else(|| "–".into(), percent));
        table.row([row.figure.name().to_owned()].into_iter().chain(cells));
    }
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let head = format!(
        "The least change for the worse that is found in {:.0} of 100 comparisons, by {unit} a side, by how {} var{}:",
        options.share * 100.0,
        listed(&paths),
        if paths.len() == 1 { "ies" } else { "y" },
    );
    let most = options.changes.last().copied().unwrap_or_default();
    let mut notes = format!("– no change up to {} is found that often.\n", percent(most));
    notes += if power.runs > 1 {
        "Each run has as many trials as its own. Drift between runs is in it, as far as these show it.\n"
    } else {
        "One run does not show drift between runs: with one run a side such a change \"seems\" to be there. Several runs of \
         the scenario tell the power with drift: dunlin compare --power RUN RUN RUN\n"
    };
    let shares =
        |with: &FoundWith| format!("{} with {}", with.found.map_or_else(|| "–".into(), percent), with.amount);
    let false_tables: Vec<String> = power.false_tables.iter().map(shares).collect();
    notes += &format!(
        "Without any change, something is called one in {} {unit} (of {} comparisons each).",
        false_tables.join(", "),
        options.tables
    );
    [wrapped(&head, width, "  "), "\n".into(), table.text(width), "\n".into(), wrapped(&notes, width, "  ")]
        .concat()
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
