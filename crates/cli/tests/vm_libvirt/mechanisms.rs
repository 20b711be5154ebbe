//! Each way to move that libvirt has: it works and is told as used, or is refused with its reason before anything is touched.

use std::fs;

use serde_json::Value;

use super::bench::{Bench, HEAD};
use super::ground::{Ground, Vm};
use super::is_long;
use super::ours::{above_percent, report};

/// How much more may be on the wire than libvirt says to have processed, in percent.
const MOST_PERCENT: f64 = 7.0;

/// What works here, by the case's name.
const WORKS: &str = r#"
[[case]]
name = "tls-channels"
transport = { kind = "tls", channels = 2 }
[[case]]
name = "xbzrle"
libvirt = { xbzrle = true, auto_converge = true, downtime_limit_ms = 500 }
"#;

/// What works as well, where there is time for it.
const MORE: &str = r#"
[[case]]
name = "by-ssh"
libvirt = { connect = "ssh" }
[[case]]
name = "tunnelled-in-tls"
libvirt = { connect = "tls", tunnelled = true }
[[case]]
name = "direct"
libvirt = { mode = "direct" }
"#;

/// What libvirt 9.0 cannot do, or not together, and words of the reason.
const REFUSED: [(&str, &str, &str); 5] = [
    ("mptcp", "transport.kind = \"mptcp\"", "no second link"),
    ("zstd", "transport = { channels = 2, compression = \"zstd\" }", "libvirt 9.4"),
    ("tunnelled-tls", "transport.kind = \"tls\"\nlibvirt = { tunnelled = true }", "one connection"),
    ("direct-post-copy", "strategy.kind = \"post-copy\"\nlibvirt = { mode = \"direct\" }", "two halves"),
    ("xbzrle-channels", "transport.channels = 2\nlibvirt = { xbzrle = true }", "one or the other"),
];

pub(crate) fn play(ground: &Ground<'_>) {
    let vm = Vm::new("mover", 1);
    ground.define("host-a", &vm);
    ground.run_at_source(&vm);
    works(ground, &vm);
    a_limit_is_put_back(ground, &vm);
}

fn works(ground: &Ground<'_>, vm: &Vm) {
    let refused = REFUSED.map(|(name, keys, _)| format!("[[case]]\nname = \"{name}\"\n{keys}\n")).concat();
    let definition = ground.definition("host-a", vm);
    let more = if is_long() { MORE } else { "" };
    let ended = Bench::of(ground, &format!("{HEAD}{WORKS}{more}{refused}"), vm).finish();
    let outcomes = ended.completed();
    println!("{}", ended.said);
    assert_eq!(outcomes.len(), if is_long() { 5 } else { 2 });
    for outcome in &outcomes {
        let above = above_percent(outcome, &report(&ended, outcome["id"].as_str().unwrap()));
        println!("{}: the wire {above:.2} % above, {}", outcome["case"]["name"], outcome["mechanisms"]);
        // Encryption and the daemons' own packets come on top of the headers.
        assert!((0.0..MOST_PERCENT).contains(&above), "{above} %: {outcome:#}");
    }
    let used = |case: usize, mechanism: &str| {
        let all = outcomes[case]["mechanisms"].as_array().cloned().unwrap_or_default();
        all.iter().find(|one| one["mechanism"] == mechanism).map(|one| one["used"].clone())
    };
    assert_eq!(used(0, "tls"), Some(Value::Bool(true)), "{:#}", outcomes[0]);
    assert!(used(0, "channels").is_some(), "{:#}", outcomes[0]);
    // Nothing of an idle guest goes twice, nor need it be slowed.
    assert!(used(1, "compression").is_some(), "{:#}", outcomes[1]);
    assert_eq!(used(1, "throttle"), Some(Value::Bool(false)), "{:#}", outcomes[1]);
    let run: Value = serde_json::from_slice(&fs::read(ended.folder.join("run.json")).unwrap()).unwrap();
    for (name, _, words) in REFUSED {
        let skipped = run["skipped"].as_array().unwrap();
        let skipped = skipped.iter().find(|one| one["title"] == name);
        let skipped = skipped.unwrap_or_else(|| panic!("{name} is not refused: {run:#}"));
        assert!(skipped["because"].as_str().unwrap().contains(words), "{skipped:#}");
    }
    ground.is_home(vm, &definition);
    assert_eq!(ground.gone(), [""; 0]);
}

/// QEMU keeps its downtime limit from one migration to the next: where the domain stays at its source, it is put back.
fn a_limit_is_put_back(ground: &Ground<'_>, vm: &Vm) {
    let limit = || ground.said("host-a", &["migrate-getmaxdowntime", &vm.uuid]);
    let before = limit();
    let scenario = format!("{HEAD}bandwidth_mib_s = 5\ndowntime_limit_ms = 555\n[[case]]\nname = \"slow\"\n")
        .replace("limit_s = 40", "limit_s = 2");
    let bench = Bench::of(ground, &scenario, vm);
    let mut changed = false;
    let mut bench = bench;
    super::watch::until(std::time::Duration::from_secs(30), || {
        changed |= limit().trim() == "555";
        bench.has_ended()
    });
    let ended = bench.finish();
    assert!(changed, "{}", ended.said);
    assert_eq!(ended.outcomes()[0]["status"], "not-converged", "{}", ended.said);
    assert_eq!(limit(), before);
    ground.is_home(vm, &ground.definition("host-a", vm));
}
