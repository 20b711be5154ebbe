//! `dunlin wire`: what capture files hold.

mod csv;
mod graph;
mod migrations;
mod page;
mod times;

use std::io;
use std::path::{Path, PathBuf};

use dunlin_record::{Conversation, WireAccount, WireMigration};
use dunlin_wire::{
    AccountOptions, MOST_SERVICES_TOLD, PacketFilter, PacketReader, ReadError, Selection, TimePoint,
    account_of, find_migrations,
};

use crate::failure::{Exit, Failure, Result};
use crate::terminal;

/// Say what captures hold.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The capture files; `-` is standard input. What several show of one migration is put together
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print everything as JSON: an array with an object for each file
    #[arg(long)]
    json: bool,
    /// Print a table as CSV
    #[arg(long, value_name = "TABLE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "conversations", conflicts_with = "json")]
    csv: Option<csv::Table>,
    /// Of packets that fit this only, as in "host 10.0.0.1 and not tcp port 22": host, net, port, ether host, vlan,
    /// protocols and tunnels, with and, or, not. What is in tunnels counts too
    #[arg(long, value_name = "FILTER")]
    filter: Option<PacketFilter>,
    /// Of packets from then on: a time after the file's first packet, as in 1.5s, or a date, as in 2026-11-21T04:45:34Z
    #[arg(long, value_name = "TIME", value_parser = times::point, allow_hyphen_values = true)]
    from: Option<TimePoint>,
    /// Of packets before then
    #[arg(long, value_name = "TIME", value_parser = times::point, allow_hyphen_values = true)]
    to: Option<TimePoint>,
    /// The length of a tick of the graphs over time, in ms or with a unit: us, ms, s
    #[arg(long, value_name = "LENGTH", default_value = "10ms", value_parser = times::tick_ns)]
    tick: i64,
    /// Show only this TCP conversation, and all of it: its number, or the address and port of one of its ends
    #[arg(long, value_name = "WHICH")]
    conversation: Option<String>,
}

/// What a file held.
#[derive(serde::Serialize)]
struct Read<'a> {
    file: &'a Path,
    /// What looks like migrations.
    migrations: Vec<WireMigration>,
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
                complaints.extend(broken_off.map(|broken_off| format!("{} {}", name(file), broken_off.why)));
                all.push(read);
            }
            Err(error) => complaints.push(format!("{} {}", name(file), dunlin_record::in_one_line(&error))),
        }
    }
    let names: Vec<String> = all.iter().map(|read| name(read.file)).collect();
    let files: Vec<(&str, &WireAccount)> =
        names.iter().zip(&all).map(|(name, read)| (name.as_str(), &read.account)).collect();
    let told = find_migrations(&files);
    all.iter_mut().zip(told).for_each(|(read, migrations)| read.migrations = migrations);
    // Outages were looked for in all of them.
    all.iter_mut().for_each(|read| read.account.services.truncate(MOST_SERVICES_TOLD));
    let known = keep_wanted(args, &mut all);
    print(args, &all)?;
    if complaints.is_empty() {
        known
    } else {
        Err(Failure::says(Exit::BadInput, complaints.join("\n       ")))
    }
}

fn print(args: &Args, all: &[Read<'_>]) -> Result {
    if args.json {
        return terminal::print_json_with(|out| {
            serde_json::to_writer_pretty(&mut *out, all)?;
            out.write_all(b"\n")
        });
    }
    if let Some(table) = args.csv {
        return terminal::print_data_with(|out| csv::write(out, table, all));
    }
    let pages = all.iter().map(|read| page::text(read, args.conversation.is_some(), terminal::width()));
    terminal::print(&pages.collect::<Vec<_>>().join("\n"))
}

fn read<'a>(args: &Args, file: &'a Path) -> Result<Read<'a>, ReadError> {
    let mut reader =
        if is_standard_input(file) { PacketReader::new(io::stdin())? } else { PacketReader::open(file)? };
    let selection = Selection { filter: args.filter.clone(), from: args.from, to: args.to };
    let account = account_of(&mut reader, AccountOptions { tick_ns: args.tick }, &selection);
    Ok(Read { file, migrations: Vec::new(), account })
}

fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// As people are told it.
fn name(file: &Path) -> String {
    if is_standard_input(file) { "standard input".into() } else { file.display().to_string() }
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
