//! `dunlin doctor`: what this machine can do, and the command that mends each lack.

use dunlin_bench::{Examination, Product, examine};
use dunlin_hypervisor::{HypervisorError, Registry};
use serde_json::{Value, json};

mod hosts;
mod vms;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::{bench_failure, enter_lab, existing, start_hint};
use crate::failure::{Exit, Failure, Result};
use crate::terminal;
use dunlin_record::in_one_line;

/// Say what this machine can do, and what mends what it cannot.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Look at the hosts of this inventory instead, each through ssh: what is missing there for a run, and what mends it
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
    /// Look at this VM too, which exists on the inventory's source already: what speaks against moving it, and what mends
    /// that; may be given again
    #[arg(long = "vm", value_name = "NAME", value_parser = existing::name, requires = "inventory")]
    vms: Vec<String>,
    /// Where that VM is reached, if its hypervisor does not know; of several, in the order of --vm
    #[arg(long = "vm-address", value_name = "ADDRESS", requires = "vms")]
    vm_addresses: Vec<Ipv4Addr>,
    /// How it is to be moved: a scenario's file (TOML), or the name of one that is shipped [default: plain pre-copy]
    #[arg(value_name = "FILE", requires = "vms")]
    scenario: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
struct Finding {
    name: String,
    /// What it is for.
    purpose: String,
    /// Whether a lab cannot do without.
    required: bool,
    state: State,
}

/// What was found.
enum State {
    /// It is there: its version, or `yes`.
    There(String),
    /// It is not.
    Lacking { because: String, mend: String },
    /// It cannot be told before something else is there.
    Untried { because: String },
}

impl Finding {
    fn new(name: &str, purpose: &str, required: bool, state: State) -> Self {
        Self { name: name.into(), purpose: purpose.into(), required, state }
    }

    fn is_missing(&self) -> bool {
        self.required && matches!(self.state, State::Lacking { .. })
    }

    fn mark(&self) -> &'static str {
        match self.state {
            State::There(_) => "ok",
            State::Lacking { .. } if self.required => "MISSING",
            State::Lacking { .. } => "no",
            State::Untried { .. } => "?",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result {
    let (findings, place) = match &args.inventory {
        Some(inventory) => {
            let existing = existing::of(&args.vms, &args.vm_addresses)?;
            (hosts::look(inventory, existing, args.scenario.as_deref())?, "these hosts need")
        }
        None => (here()?, "a lab needs"),
    };
    let width = terminal::width().unwrap_or(100);
    if args.json {
        terminal::print_json(&as_json(&findings))?;
    } else {
        terminal::print(&as_text(&findings, width.into()))?;
    }
    match findings.iter().filter(|finding| finding.is_missing()).count() {
        0 => Ok(()),
        1 => Err(Failure::says(Exit::Machine, format!("something that {place} is missing"))),
        lacks => Err(Failure::says(Exit::Machine, format!("{lacks} things that {place} are missing"))),
    }
}

/// What this machine has for a lab.
fn here() -> Result<Vec<Finding>> {
    let mut findings = machine();
    if findings.iter().any(Finding::is_missing) {
        let because = "not tried: a lab is needed";
        findings.extend(Registry::builtin().names().into_iter().map(|driver| {
            Finding::new(driver, "running VMs", true, State::Untried { because: because.into() })
        }));
    } else {
        let inside = enter_lab("doctor")?;
        let examination = examine(inside).map_err(|error| bench_failure(&error))?;
        findings.extend(hypervisors(&examination));
    }
    Ok(findings)
}

/// What the machine lets a testbed do: each is tried in a child, in the world the user is in.
fn machine() -> Vec<Finding> {
    let found = dunlin_testbed::capabilities().into_iter().map(|capability| {
        let state = match capability.lack {
            None => State::There("yes".into()),
            Some(lack) => State::Lacking { because: lack.because, mend: lack.mend },
        };
        Finding::new(capability.name, capability.purpose, capability.required, state)
    });
    found.collect()
}

/// What the hypervisors said and did in a lab.
fn hypervisors(examination: &Examination) -> Vec<Finding> {
    let there = |text: &str| State::There(text.to_owned());
    let mut findings: Vec<Finding> = examination.products.iter().flat_map(product).collect();
    let kernel = examination.guest_kernel.as_deref().map_or_else(
        || State::Lacking { because: "none was fetched".into(), mend: "dunlin guest fetch".into() },
        there,
    );
    findings.push(Finding::new("guest kernel", "booting guests", true, kernel));
    let tried = examination.products.iter().find_map(|product| {
        let found = product.found.as_ref().ok()?;
        Some((found.identity.accelerator.as_str(), found.accelerator_because.as_ref()?))
    });
    let kvm = match tried {
        Some(("kvm", why)) => State::There(format!("yes: {why}")),
        Some((_, why)) => State::Lacking {
            because: why.clone(),
            mend: "a machine with (nested) virtualisation; until then times are those of emulation".into(),
        },
        None => State::Untried { because: "not tried: a hypervisor and a guest kernel are needed".into() },
    };
    findings.push(Finding::new("kvm", "guests at the speed of hardware", false, kvm));
    let tcg = match examination.products.iter().any(|product| product.found.is_ok()) {
        true => there("yes"),
        false => State::Untried { because: "not tried: a hypervisor is needed".into() },
    };
    findings.push(Finding::new("tcg", "guests where KVM is not", false, tcg));
    findings
}

/// What one of them said.
fn product(product: &Product) -> Vec<Finding> {
    let finding = |state| Finding::new(product.driver, "running VMs", product.is_wanted, state);
    let found = match &product.found {
        Ok(found) => found,
        Err(error) => {
            let because = in_one_line(error);
            return vec![finding(State::Lacking { because, mend: mend(product, error) })];
        }
    };
    let fact =
        |wanted: &str| found.facts.iter().find(|(name, _)| *name == wanted).map(|(_, said)| said.as_str());
    let version = match fact("package").unwrap_or_default() {
        "" => found.identity.version.clone(),
        package => format!("{} ({package})", found.identity.version),
    };
    let others =
        found.facts.iter().filter(|(name, _)| *name != "package").map(|(name, said)| {
            Finding::new(name, "strategies and settings", true, State::There(said.clone()))
        });
    std::iter::once(finding(State::There(version))).chain(others).collect()
}

/// What brings a product to a machine, or makes one that is there answer.
fn mend(product: &Product, error: &HypervisorError) -> String {
    match error {
        HypervisorError::Start { mend, .. } if !mend.is_empty() => mend.clone(),
        HypervisorError::Monitor { .. } | HypervisorError::Timeout { .. } => start_hint(product.driver),
        _ => product.install_hint.to_owned(),
    }
}

/// A finding a line, with what mends a lack below it. Lines end at spaces where they reach `width`.
fn as_text(findings: &[Finding], width: usize) -> String {
    const DETAIL_INDENT: usize = 9;
    let names_width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let head = format!("{:<7}  {:<names_width$}  ", finding.mark(), finding.name);
        let (State::There(said) | State::Lacking { because: said, .. } | State::Untried { because: said }) =
            &finding.state;
        wrap(&mut text, &head, said, head.len(), width);
        if let State::Lacking { mend, .. } = &finding.state {
            let done_without = if finding.required { "" } else { "; it can be done without" };
            let indent = " ".repeat(DETAIL_INDENT);
            for detail in [format!("for {}{done_without}", finding.purpose), format!("to mend: {mend}")] {
                wrap(&mut text, &indent, &detail, DETAIL_INDENT + 2, width);
            }
        }
    }
    text
}

/// Appends `head` and the words after it; a line that would be longer than `width` goes on below, indented. No word is
/// ever broken.
fn wrap(text: &mut String, head: &str, words: &str, indent: usize, width: usize) {
    let mut line = head.to_owned();
    let mut is_empty = true;
    for word in words.split_whitespace() {
        if !is_empty && line.len() + 1 + word.len() > width {
            text.push_str(&line);
            text.push('\n');
            line = " ".repeat(indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// `ok` is null where it could not be told.
fn as_json(findings: &[Finding]) -> String {
    let list: Vec<Value> = findings
        .iter()
        .map(|Finding { name, purpose, required, state }| {
            let (ok, found, because, mend) = match state {
                State::There(found) => (Some(true), Some(found), None, None),
                State::Lacking { because, mend } => (Some(false), None, Some(because), Some(mend)),
                State::Untried { because } => (None, None, Some(because), None),
            };
            json!({
                "name": name, "for": purpose, "required": required,
                "ok": ok, "found": found, "because": because, "mend": mend
            })
        })
        .collect();
    format!("{:#}\n", Value::Array(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        let there = |text: &str| State::There(text.into());
        let lacking =
            |because: &str, mend: &str| State::Lacking { because: because.into(), mend: mend.into() };
        let capabilities = "auto-converge background-snapshot dirty-bitmaps dirty-limit events \
            late-block-activate mapped-ram multifd pause-before-switchover postcopy-blocktime postcopy-preempt";
        vec![
            Finding::new("namespaces", "the lab's hosts and networks", true, there("yes")),
            Finding::new(
                "netem",
                "delays made by the kernel",
                false,
                lacking(
                    "No such file or directory (os error 2)",
                    "sudo modprobe sch_netem; without it, dunlin delays frames itself",
                ),
            ),
            Finding::new(
                "qemu",
                "running VMs",
                true,
                lacking(
                    "cannot start qemu-system-x86_64 on host-a: No such file or directory (os error 2)",
                    "apt-get install qemu-system-x86 (on Debian 12: -t bookworm-backports brings QEMU 10)",
                ),
            ),
            Finding::new("migration capabilities", "strategies and settings", true, there(capabilities)),
            Finding::new(
                "kvm",
                "guests at the speed of hardware",
                false,
                State::Untried { because: "not tried: QEMU and a guest kernel are needed".into() },
            ),
        ]
    }

    #[test]
    fn findings_are_readable_at_80_columns() {
        insta::assert_snapshot!(as_text(&findings(), 80));
    }

    #[test]
    fn findings_are_readable_at_100_columns() {
        insta::assert_snapshot!(as_text(&findings(), 100));
    }

    #[test]
    fn findings_as_json_tell_what_is_not_there_from_what_could_not_be_told() {
        insta::assert_snapshot!(as_json(&findings()));
    }

    #[test]
    fn no_word_is_broken_or_lost_however_narrow_the_terminal() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let wide = as_text(&findings(), 1000);
        for width in 0..120 {
            assert_eq!(words(&as_text(&findings(), width)), words(&wide), "{width}");
        }
        assert!(as_text(&findings(), 80).lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn a_product_that_is_there_and_does_not_answer_is_to_be_started_and_not_installed() {
        let mend_of = |driver, error| {
            let product = Product { driver, found: Err(error), install_hint: "install it", is_wanted: true };
            let findings = super::product(&product);
            let [Finding { state: State::Lacking { mend, .. }, .. }] = &findings[..] else {
                panic!("a lack")
            };
            mend.clone()
        };
        let host = || dunlin_record::HostId::new("host-a");
        let timeout =
            || HypervisorError::Timeout { host: host(), waiting_for: "virsh version".into(), after_s: 2.5 };
        assert_eq!(mend_of("libvirt", timeout()), "start it there (systemctl start libvirtd, or virtqemud)");
        assert_eq!(mend_of("other", timeout()), "see that it runs there");
        let refused = HypervisorError::Refused {
            host: host(),
            command: "virsh version".into(),
            description: "env: 'virsh': No such file or directory".into(),
        };
        assert_eq!(mend_of("libvirt", refused), "install it");
    }

    #[test]
    fn only_what_a_lab_cannot_do_without_is_missing() {
        let missing: Vec<String> =
            findings().into_iter().filter(Finding::is_missing).map(|finding| finding.name).collect();
        assert_eq!(missing, ["qemu"]);
    }
}
