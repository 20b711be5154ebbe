//! `dunlin doctor`: what this machine can do, and the command that mends each lack.

use comfy_table::{Table, presets};
use dunlin_bench::{Examination, examine};
use dunlin_record::Accelerator;
use serde_json::{Value, json};

use super::{bench_failure, enter_lab};
use crate::failure::{Exit, Failure, Result};
use crate::terminal;

/// Say what this machine can do, and what mends what it cannot.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
struct Finding {
    name: String,
    /// What it is for.
    purpose: String,
    required: bool,
    /// What was found, or why it is not there.
    found: Result<String, (String, String)>,
}

pub(crate) fn run(args: &Args) -> Result {
    // Each of these is tried in a child, in the world the user is in.
    let mut findings: Vec<Finding> = dunlin_testbed::capabilities()
        .into_iter()
        .map(|capability| Finding {
            name: capability.name.into(),
            purpose: capability.purpose.into(),
            required: capability.required,
            found: capability.lack.map_or(Ok("yes".into()), |lack| Err((lack.because, lack.mend))),
        })
        .collect();
    if findings.iter().all(|finding| !finding.required || finding.found.is_ok()) {
        let inside = enter_lab("doctor")?;
        let examination = examine(inside).map_err(|error| bench_failure(&error))?;
        findings.extend(hypervisor(&examination));
    }
    terminal::print(&if args.json { as_json(&findings) } else { as_table(&findings) })?;
    match findings.iter().filter(|finding| finding.required && finding.found.is_err()).count() {
        0 => Ok(()),
        lacks => Err(Failure::says(Exit::Machine, format!("{lacks} things that a lab needs are missing"))),
    }
}

fn hypervisor(examination: &Examination) -> Vec<Finding> {
    let install = "apt-get install qemu-system-x86 (on Debian 12: -t bookworm-backports for QEMU 10)";
    let finding = |name: &str, purpose: &str, found| Finding { name: name.into(), purpose: purpose.into(), required: true, found };
    let mut findings = Vec::new();
    match &examination.qemu {
        Ok(features) => {
            let package = if features.package.is_empty() { String::new() } else { format!(" ({})", features.package) };
            findings.push(finding("qemu", "running VMs", Ok(format!("{}{package}", features.version))));
            let names: Vec<&str> = features.capabilities.iter().map(String::as_str).collect();
            findings.push(finding("migration capabilities", "strategies and settings", Ok(names.join(" "))));
        }
        Err(error) => {
            findings.push(finding("qemu", "running VMs", Err((error.to_string(), install.into()))));
        }
    }
    let kernel = examination.guest_kernel.clone();
    let kernel = kernel.ok_or_else(|| ("none was fetched".to_owned(), "dunlin guest fetch".to_owned()));
    findings.push(finding("guest kernel", "booting guests", kernel));
    let accelerator = match &examination.accelerator {
        Some((Accelerator::Kvm, why)) => Ok(format!("yes: {why}")),
        Some((_, why)) => Err((why.clone(), "a machine with (nested) virtualisation; until then times are those of emulation".into())),
        None => Err(("not tried: QEMU and a guest kernel are needed".into(), "see above".into())),
    };
    findings.push(Finding { required: false, ..finding("kvm", "guests at the speed of hardware", accelerator) });
    findings.push(Finding { required: false, ..finding("tcg", "guests where KVM is not", Ok("yes, with QEMU".into())) });
    findings
}

fn as_table(findings: &[Finding]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_width(terminal::width().unwrap_or(100));
    table.set_header(["", "what", "for", "found", "to mend"]);
    for Finding { name, purpose, required, found } in findings {
        let mark = if found.is_ok() { "ok" } else if *required { "MISSING" } else { "no" };
        let (found, mend) = match found {
            Ok(found) => (found.clone(), String::new()),
            Err((because, mend)) => (because.clone(), mend.clone()),
        };
        table.add_row([mark, name, purpose, &found, &mend]);
    }
    format!("{table}\n")
}

fn as_json(findings: &[Finding]) -> String {
    let list: Vec<Value> = findings
        .iter()
        .map(|Finding { name, purpose, required, found }| match found {
            Ok(found) => json!({ "name": name, "for": purpose, "required": required, "ok": true, "found": found }),
            Err((because, mend)) => json!({
                "name": name, "for": purpose, "required": required, "ok": false, "because": because, "mend": mend
            }),
        })
        .collect();
    format!("{}\n", serde_json::to_string_pretty(&list).unwrap_or_default())
}
