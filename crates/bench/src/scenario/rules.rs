//! What a resolved case must obey as a whole: settings that only together are right or wrong.

mod storage;

use dunlin_hypervisor::Driver;
use dunlin_record::{Case, HttpServer, Probes, Snmp, Strategy, TcpPath, VmSettings, Workload};
use serde_json::{Value as Json, json};

use super::keys::{Grammar, Takes, Variant};
use super::matrix::{Cell, to_json};
use crate::toml_file::{Findings, Node, ProblemKind, Table, Value};
use storage::{broken_by_file, broken_by_storage};

/// What the guest's kernel and agent need besides a workload's memory, in MiB, with the 16 MiB that the agent leaves free.
///
/// Measured with Debian's kernel 6.12: of 128, 256, 512, 1024 and 2048 MiB, `MemAvailable` falls short by 69, 78, 86, 156
/// and 182. It grows with the kernel's account of its pages, and by a step somewhere above 512 MiB.
fn guest_own_mib(memory_mib: u32) -> u32 {
    let step_mib = if memory_mib > 512 { 32 } else { 0 };
    80 + memory_mib.div_ceil(16) + step_mib
}

/// The case a cell is, for a driver whose table is the only one it may have; nothing where it breaks a rule. `at` is where
/// its `[[case]]` stands.
pub(super) fn case(
    name: &str,
    at: usize,
    cell: &Cell,
    (grammar, driver): (&Grammar<'_>, &dyn Driver),
    findings: &mut Findings,
) -> Option<Case> {
    if !kinds_fit(cell, at, grammar, findings) {
        return None;
    }
    let mut case =
        json!({ "name": name, "dials": cell.dials, "vm": {}, (driver.name()): {}, "link": {}, "trials": {} });
    if let (Some(case), Json::Object(settings)) = (case.as_object_mut(), to_json(grammar, &cell.settings)) {
        case.extend(settings);
    }
    let mut case: Case = match serde_path_to_error::deserialize(case) {
        Ok(case) => case,
        Err(error) => {
            let path = error.path().to_string();
            let message = error.into_inner().to_string();
            findings.add(place(cell, &path, at), path, ProblemKind::Refused { message });
            return None;
        }
    };
    let mut broken = broken_rules(&case);
    broken.extend(left_to_driver(&mut case, driver));
    let is_whole = broken.is_empty();
    for (path, kind) in broken {
        findings.add(place(cell, &path, at), path, kind);
    }
    is_whole.then_some(case)
}

/// Fills in what a case leaves to its driver. Says which setting the driver does not take, if there is one.
fn left_to_driver(case: &mut Case, driver: &dyn Driver) -> Option<(String, ProblemKind)> {
    match driver.resolve(&case.hypervisor.settings) {
        Ok(settings) => case.hypervisor.settings = settings,
        Err(wrong) => {
            let path = [driver.name(), &wrong.path].into_iter().filter(|part| !part.is_empty());
            let path = path.collect::<Vec<_>>().join(".");
            return Some((path, ProblemKind::Refused { message: wrong.message }));
        }
    }
    case.limits = Some(driver.limits(&case.hypervisor.settings));
    if case.vm.machine.is_empty() {
        case.vm.machine = driver.default_machine().to_owned();
    }
    None
}

/// A case, or where it is to run as a pair (Hu et al., section 3.4) two: with its probes and without, which shows the
/// probes' own influence.
pub(super) fn pair(case: Case) -> Vec<Case> {
    const DIAL: &str = "probing";
    if !case.trials.paired {
        return vec![case];
    }
    let mut with = case.clone();
    with.dials.insert(DIAL.into(), "probed".into());
    let mut without = Case { probes: Probes::default(), ..case };
    without.dials.insert(DIAL.into(), "unprobed".into());
    vec![with, without]
}

/// The rules a case breaks, each with the setting to blame.
fn broken_rules(case: &Case) -> Vec<(String, ProblemKind)> {
    let mut broken = broken_by_settings(case);
    if let Some(workload) = &case.workload {
        broken.extend(broken_by_workload(workload, &case.vm));
    }
    broken.extend(broken_by_http(case));
    broken
}

fn broken_by_settings(case: &Case) -> Vec<(String, ProblemKind)> {
    let mut broken = Vec::new();
    if matches!(case.strategy, Strategy::Hybrid { after_passes: None, after_s: None, .. }) {
        broken.push(("strategy", missing("after_passes or after_s: when to switch to post-copy")));
    }
    if case.trials.until.is_some() && case.trials.min > case.trials.max {
        let expected = format!("at most trials.max = {}", case.trials.max);
        let found = case.trials.min.to_string();
        broken.push(("trials.min", ProblemKind::Impossible { expected, found }));
    }
    if case.trials.paired && case.probes == Probes::default() {
        broken
            .push(("trials.paired", missing("a probe: a pair is the same case with its probes and without")));
    }
    if case.transport.compression.is_some() && case.transport.channels.is_none() {
        broken.push(("transport.compression", missing("channels beside it: only those compress")));
    }
    if !case.vm.shared_storage && !case.vm.moves_disks() {
        broken.push(("vm.shared_storage", missing("vm.disk or vm.swap_mib beside it: what is to move")));
    }
    broken.extend(broken_by_storage(case));
    broken.extend(case.switch.snmp.iter().flat_map(broken_by_snmp));
    if case.switch.snmp.is_some() && case.probes.between_hosts() {
        let expected =
            "no TCP probe between the hosts beside it: the switch's port counts its bytes too".into();
        let names = case.probes.tcp().into_iter().filter(|(_, path, _)| *path == TcpPath::Hosts);
        let found = names.map(|(name, ..)| format!("probes.{name}")).collect::<Vec<_>>().join(", ");
        broken.push(("switch.snmp", ProblemKind::Impossible { expected, found }));
    }
    match (&case.vm.kernel, &case.vm.modules) {
        (Some(_), None) => {
            broken.push(("vm.kernel", missing("vm.modules beside it: the kernel's lib/modules/VERSION")));
        }
        (None, Some(_)) => {
            broken.push(("vm.modules", missing("vm.kernel beside it: the image the modules belong to")));
        }
        _ => {}
    }
    broken.into_iter().map(|(path, kind): (&str, _)| (path.to_owned(), kind)).collect()
}

/// The rules a workload breaks in such a VM.
fn broken_by_workload(workload: &Workload, vm: &VmSettings) -> Vec<(String, ProblemKind)> {
    let (room_mib, room) = memory_room(vm);
    let parts = workload.parts().iter().enumerate().flat_map(|(index, part)| {
        let table = match workload {
            Workload::Several { .. } => format!("workload.each.{index}"),
            _ => "workload".into(),
        };
        let mut of_part = broken_by_part(part, room_mib, &room);
        of_part.extend(broken_by_file(part, vm.disk.as_ref()));
        of_part.into_iter().map(move |(key, kind)| (format!("{table}.{key}"), kind))
    });
    let mut broken: Vec<_> = parts.collect();
    let all_mib = workload.allocated_mib().unwrap_or(0);
    if broken.is_empty() && all_mib > room_mib {
        let expected = format!("allocations of {room}");
        let found = format!("{all_mib} MiB in all");
        broken.push(("workload.each".into(), ProblemKind::Impossible { expected, found }));
    }
    if broken.is_empty() {
        let of_all = broken_by_file(workload, vm.disk.as_ref());
        broken.extend(of_all.map(|(_, kind)| ("workload.each".into(), kind)));
    }
    broken
}

/// The rules that one workload breaks, each with the key to blame.
fn broken_by_part(workload: &Workload, room_mib: u32, room: &str) -> Vec<(&'static str, ProblemKind)> {
    let mut broken = Vec::new();
    let mut impossible = |key, expected: String, found: u32| {
        broken.push((key, ProblemKind::Impossible { expected, found: found.to_string() }));
    };
    if let (Some(allocated_mib), Some(working_set_mib)) =
        (workload.allocated_mib(), workload.working_set_mib())
    {
        if working_set_mib > room_mib {
            impossible("working_set_mib", room.to_owned(), working_set_mib);
        } else if allocated_mib > room_mib {
            impossible("allocated_mib", room.to_owned(), allocated_mib);
        } else if allocated_mib < working_set_mib {
            let least = format!("at least {working_set_mib} MiB, as working_set_mib is part of it");
            impossible("allocated_mib", least, allocated_mib);
        }
    }
    if let Workload::HttpServer(HttpServer { increase_calls }) = workload
        && increase_calls.saturating_mul(10) > room_mib
    {
        impossible("increase_calls", format!("calls of 10 MiB each, {room}"), *increase_calls);
    }
    if let Workload::MemoryWrite(asked) = workload
        && !asked.bytes_per_page.is_multiple_of(8)
    {
        impossible("bytes_per_page", "a multiple of 8".into(), asked.bytes_per_page);
    }
    broken
}

/// The rules that the access to a switch breaks: each part needs the one before it.
fn broken_by_snmp(snmp: &Snmp) -> Vec<(&'static str, ProblemKind)> {
    let needs = [
        (
            snmp.user.is_some() && snmp.community_env.is_some(),
            "switch.snmp.user",
            "no community_env beside it",
        ),
        (snmp.auth.is_some() && snmp.user.is_none(), "switch.snmp.auth", "a user beside it"),
        (
            snmp.auth.is_some() != snmp.auth_password_env.is_some(),
            "switch.snmp",
            "both auth and auth_password_env: the variable that holds the password",
        ),
        (snmp.privacy.is_some() && snmp.auth.is_none(), "switch.snmp.privacy", "auth beside it"),
        (
            snmp.privacy.is_some() != snmp.privacy_password_env.is_some(),
            "switch.snmp",
            "both privacy and privacy_password_env: the variable that holds the password",
        ),
        (
            snmp.address.is_some() && snmp.ports.is_empty(),
            "switch.snmp.address",
            "ports beside it: the switch's port of each host",
        ),
    ];
    needs
        .into_iter()
        .filter(|(broken, ..)| *broken)
        .map(|(_, path, expected)| (path, missing(expected)))
        .collect()
}

/// What a workload can allocate in a VM, in MiB; the same in words. Of a swap a half is left to the guest's own: a guest
/// without any room ends.
fn memory_room(vm: &VmSettings) -> (u32, String) {
    let VmSettings { memory_mib, swap_mib, .. } = vm;
    let own_mib = guest_own_mib(*memory_mib);
    let room_mib = memory_mib.saturating_sub(own_mib) + swap_mib.unwrap_or(0) / 2;
    let swap = swap_mib.map(|mib| format!(", and half of vm.swap_mib = {mib}")).unwrap_or_default();
    let why = format!("vm.memory_mib = {memory_mib}, less {own_mib} for the guest itself{swap}");
    (room_mib, format!("at most {room_mib} MiB ({why})"))
}

/// The rules that HTTP breaks: its probe needs a server, and there is one port for one server.
fn broken_by_http(case: &Case) -> Option<(String, ProblemKind)> {
    let is_server = |part: &&Workload| matches!(part, Workload::HttpServer(_));
    let servers =
        case.workload.as_ref().map_or(0, |workload| workload.parts().iter().filter(is_server).count());
    if servers > 1 {
        let expected = "one workload of kind \"http-server\" at most: they would share its port".into();
        return Some((
            "workload.each".into(),
            ProblemKind::Impossible { expected, found: servers.to_string() },
        ));
    }
    let asked = case.probes.http.as_ref()?;
    if servers == 0 {
        let server = "a workload of kind \"http-server\", which answers it";
        return Some(("probes.http".into(), missing(server)));
    }
    let is_path = asked.path.starts_with('/') && asked.path.bytes().all(|byte| byte.is_ascii_graphic());
    (!is_path).then(|| {
        let expected = "a path as in \"/matrix?order=5\"".into();
        ("probes.http.path".into(), ProblemKind::Impossible { expected, found: format!("{:?}", asked.path) })
    })
}

/// Whether every tagged table has a kind, and only and all of this kind's keys.
fn kinds_fit(cell: &Cell, at: usize, grammar: &Grammar<'_>, findings: &mut Findings) -> bool {
    let mut fit = true;
    for key in grammar.settings() {
        if let (Takes::Tagged { variants, .. }, Some(node)) = (&key.takes, cell.settings.get(key.name)) {
            for (path, kind) in wrong_for_kind(node, variants, key.name) {
                fit = false;
                findings.add(place(cell, &path, at), path, kind);
            }
        }
    }
    fit
}

fn wrong_for_kind(node: &Node, variants: &[Variant], path: &str) -> Vec<(String, ProblemKind)> {
    let Value::Table(entries) = &node.value else { return Vec::new() };
    let Some(variant) = variant_of(entries, variants) else {
        return vec![(path.into(), missing("a kind"))];
    };
    let kind = variant.kind;
    let mut wrong = Vec::new();
    for name in entries.keys().filter(|name| *name != "kind") {
        if !variant.keys.iter().any(|key| key.name == name) {
            let known = variant.keys.iter().map(|key| key.name.to_owned()).collect();
            wrong.push((format!("{path}.{name}"), ProblemKind::KeyOfOtherKind { kind: kind.into(), known }));
        }
    }
    for key in variant.keys {
        if let (Takes::Each(Takes::Tagged { variants, .. }), Some(Value::List(items))) =
            (&key.takes, entries.get(key.name).map(|node| &node.value))
        {
            for (index, item) in items.iter().enumerate() {
                wrong.extend(wrong_for_kind(item, variants, &format!("{path}.{}.{index}", key.name)));
            }
        }
    }
    for name in variant.required.iter().filter(|name| !entries.contains_key(**name)) {
        wrong.push((path.into(), missing(&format!("{name}, which kind \"{kind}\" needs"))));
    }
    wrong
}

fn variant_of<'a>(entries: &Table, variants: &'a [Variant]) -> Option<&'a Variant> {
    let kind = entries.get("kind")?.text()?;
    variants.iter().find(|variant| variant.kind == kind)
}

/// Where a setting stands; for one that does not, the innermost table around it, at last the case itself.
fn place(cell: &Cell, path: &str, case_at: usize) -> usize {
    let mut keys = path.split('.');
    let first = keys.next().and_then(|key| cell.settings.get(key));
    let Some(mut node) = first else { return case_at };
    for key in keys {
        let below = match &node.value {
            Value::Table(table) => table.get(key),
            Value::List(items) => key.parse().ok().and_then(|index: usize| items.get(index)),
            Value::Leaf(_) => None,
        };
        let Some(below) = below else { break };
        node = below;
    }
    node.at
}

fn missing(expected: &str) -> ProblemKind {
    ProblemKind::Missing { expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_the_check_fits_into_the_guests_that_were_measured() {
        const AGENTS_RESERVE_MIB: u32 = 16;
        for (memory_mib, available_mib) in [(128, 59), (256, 178), (512, 426), (1024, 868), (2048, 1866)] {
            let room_mib = memory_mib - guest_own_mib(memory_mib);
            assert!(room_mib + AGENTS_RESERVE_MIB <= available_mib, "{memory_mib}: {room_mib}");
            assert!(room_mib + 64 >= available_mib, "{memory_mib}: {room_mib} is less than need be");
        }
    }
}
