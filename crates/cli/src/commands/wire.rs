//! `dunlin wire`: what capture files hold.

mod graph;
mod page;

use std::path::{Path, PathBuf};

use dunlin_record::{Conversation, WireAccount};
use dunlin_wire::{AccountOptions, PacketReader, ReadError, account};

use crate::failure::{Exit, Failure, Result};
use crate::terminal;

/// Say what captures hold.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The capture files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print everything as JSON: an array with an object for each file
    #[arg(long)]
    json: bool,
    /// The length of a tick of the graphs over time, in ms or with a unit: us, ms, s
    #[arg(long, value_name = "LENGTH", default_value = "10ms", value_parser = tick_ns)]
    tick: i64,
    /// Show only this TCP conversation, and all of it: its number, or the address and port of one of its ends
    #[arg(long, value_name = "WHICH")]
    conversation: Option<String>,
}

/// What a file held.
#[derive(serde::Serialize)]
struct Read<'a> {
    file: &'a Path,
    #[serde(flatten)]
    account: WireAccount,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut complaints = Vec::new();
    let mut all = Vec::new();
    for file in &args.files {
        match read(args, file) {
            Ok(read) => {
                let broken_off = read.account.broken_off.as_ref();
                complaints
                    .extend(broken_off.map(|broken_off| format!("{} {}", file.display(), broken_off.why)));
                all.push(read);
            }
            Err(error) => {
                complaints.push(format!("{} {}", file.display(), dunlin_record::in_one_line(&error)));
            }
        }
    }
    let known = keep_wanted(args, &mut all);
    if args.json {
        terminal::print_json(&json(&all)?)?;
    } else {
        let pages = all.iter().map(|read| page::text(read, args.conversation.is_some(), terminal::width()));
        terminal::print(&pages.collect::<Vec<_>>().join("\n"))?;
    }
    if complaints.is_empty() {
        known
    } else {
        Err(Failure::says(Exit::BadInput, complaints.join("\n       ")))
    }
}

fn read<'a>(args: &Args, file: &'a Path) -> Result<Read<'a>, ReadError> {
    let mut reader = PacketReader::open(file)?;
    Ok(Read { file, account: account(&mut reader, AccountOptions { tick_ns: args.tick }) })
}

/// Leaves the conversation that was asked for.
fn keep_wanted(args: &Args, all: &mut [Read<'_>]) -> Result {
    let Some(wanted) = &args.conversation else { return Ok(()) };
    for read in &mut *all {
        read.account.conversations.retain(|conversation| is_wanted(conversation, wanted));
    }
    if all.iter().all(|read| read.account.conversations.is_empty()) {
        let message = format!("there is no TCP conversation {wanted}");
        return Err(Failure::says(Exit::BadInput, message)
            .hint("`dunlin wire --json FILE` lists them all with their numbers and ends"));
    }
    Ok(())
}

fn is_wanted(conversation: &Conversation, wanted: &str) -> bool {
    wanted == conversation.number.to_string()
        || [&conversation.a, &conversation.b].iter().any(|end| *end == wanted)
}

fn json(all: &[Read<'_>]) -> Result<String> {
    serde_json::to_string_pretty(all)
        .map(|text| text + "\n")
        .map_err(|error| Failure::says(Exit::Failed, format!("cannot write the result as JSON: {error}")))
}

/// A length of time in nanoseconds, as in `10`, `10ms`, `0.5s`.
fn tick_ns(text: &str) -> Result<i64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ns = match &text[digits.len()..] {
        "us" => 1e3,
        "" | "ms" => 1e6,
        "s" => 1e9,
        other => return Err(format!("{other:?} is no unit: us, ms or s")),
    };
    let length: f64 = digits.parse().map_err(|_| "not a number, as in 10ms".to_owned())?;
    let ns = length * unit_ns;
    if !(1e3..=3.6e12).contains(&ns) {
        return Err("it must be from 1us to 3600s".into());
    }
    Ok(ns as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_a_number_with_or_without_a_unit() {
        for (text, ns) in [("10", 10_000_000), ("0.5ms", 500_000), ("20us", 20_000), ("2s", 2_000_000_000)] {
            assert_eq!(tick_ns(text), Ok(ns), "{text}");
        }
        for wrong in ["", "ms", "-1", "0", "10m", "nan", "1e9s", "1µs"] {
            assert!(tick_ns(wrong).is_err(), "{wrong}");
        }
    }
}
