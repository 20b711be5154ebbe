//! Scenarios as they are written: what each comes to, and what is said of those that cannot be.

mod cases;
mod drivers;
mod errors;
mod keys;
mod properties;
mod storage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dunlin_record::{
    ChannelCompression, Cpu, DiskFile, HttpProbe, HttpServer, MemoryRead, MemoryWrite, Pattern, Probe,
    Probes, Rate, RequestResponse, Snmp, Strategy, StreamProbe, Switch, TcpStream, Transfer, Transport,
    TransportKind, UdpStream, Workload,
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::keys::{DRIVER, Grammar, Key, RUN, Takes};
use super::*;

const DEMO: &str = include_str!("../../../../scenarios/demo.toml");
const DOCS: &str = include_str!("../../../../docs/scenario.md");

fn parse(text: &str) -> Scenario {
    Scenario::parse(text, "s.toml").unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

/// A scenario named `s` with these lines at its top and these in its only case.
fn one_case(top: &str, case: &str) -> String {
    format!("name = \"s\"\n{top}\n[[case]]\nname = \"c\"\n{case}\n")
}

fn titles(text: &str) -> Vec<String> {
    parse(text).cases.iter().map(Case::title).collect()
}

fn errors(text: &str) -> String {
    Scenario::parse(text, "s.toml").expect_err(text).to_string()
}

/// The messages for each text that stands alone at the top of an otherwise good scenario; its first line is line 2.
fn errors_at_top(tops: &[&str]) -> String {
    tops.iter().map(|top| errors(&one_case(top, "")) + "\n").collect()
}

/// The same for the only case; its first line is line 5.
fn errors_in_case(cases: &[&str]) -> String {
    cases.iter().map(|case| errors(&one_case("", case)) + "\n").collect()
}
