//! What was asked for and not used is told wherever the figures are.

use dunlin_record::{Flag, Mechanism, MechanismSeen};
use dunlin_report::{csv, html, json, table};

use super::{fixture, report};

fn seen(mechanism: Mechanism, used: Option<bool>, evidence: &str) -> MechanismSeen {
    MechanismSeen { mechanism, used, evidence: evidence.into() }
}

#[test]
fn a_mechanism_that_was_not_used_is_told_in_every_form() {
    let mut run = fixture::run();
    for outcome in run.outcomes.iter_mut().filter(|outcome| outcome.case.name == "hybrid") {
        outcome.flags.push(Flag::MechanismUnused);
        outcome.mechanisms = vec![
            seen(Mechanism::SecondLink, Some(false), "it carried 0.3 % of the bytes <sent>"),
            seen(Mechanism::PostCopy, Some(true), "its state was seen"),
            seen(Mechanism::Preempt, None, "QEMU does not tell"),
        ];
    }
    let report = report(&run);
    let text = table(&report, Some(100));
    assert!(text.contains("M mechanism-unused (3 of 12 trials)"), "{text}");
    assert!(
        text.contains(
            "Asked for, and not used:\nhybrid 128: second-link, 3 of 3 trials (as in: it carried 0.3 % of"
        ),
        "{text}"
    );
    let csv = csv(&report);
    let header: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let line = csv.lines().find(|line| line.contains("hybrid")).unwrap();
    let cell = |name: &str| line.split(',').nth(header.iter().position(|one| *one == name).unwrap()).unwrap();
    assert_eq!(
        ["mechanisms_used", "mechanisms_unused", "mechanisms_unknown"].map(cell),
        ["post-copy", "second-link", "preempt"]
    );
    let page = html(&report);
    assert!(page.contains("it carried 0.3 % of the bytes &lt;sent&gt;") && page.contains("mechanism-unused"));
    assert!(json(&report).contains("\"mechanism\": \"second-link\""));
}
