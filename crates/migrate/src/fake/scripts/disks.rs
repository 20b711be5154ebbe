//! Scripts of disks that move: in one step and in two, held back, waited for, compared; and what must be told of them.

use super::*;
use crate::fake::model::NAMES;

/// With disks that move with the memory; it waits for them before its switch-over.
fn with(how: StorageSettings) -> Setting {
    Setting { waits: true, disks: true, how, ..setting(&PRE_COPY) }
}

/// With disks that move before it.
fn in_two_steps() -> Setting {
    let how = StorageSettings { two_steps: true, ..StorageSettings::default() };
    Setting { waits: false, ..with(how) }
}

/// Written faster than it is copied, by a VM that is stopped after a while because nothing else helps.
fn outrun(writes: Writes) -> Setting {
    let how = StorageSettings { writes, pause_after_s: Some(0.03), ..StorageSettings::default() };
    Setting { outruns: true, keeps_step: false, ..with(how) }
}

fn compared(differs: bool) -> Setting {
    Setting { differs, ..with(StorageSettings { compare: true, ..StorageSettings::default() }) }
}

pub(super) fn settings() -> Vec<Setting> {
    let plain = with(StorageSettings::default());
    vec![
        plain.clone(),
        Setting { runs_at_first: false, ..plain.clone() },
        Setting { strategy: HYBRID, ..plain },
        in_two_steps(),
        Setting { runs_at_first: false, ..in_two_steps() },
        Setting { waits: true, ..in_two_steps() },
        Setting { strategy: POST_COPY, ..in_two_steps() },
        outrun(Writes::WhenDue),
        Setting {
            how: StorageSettings { two_steps: true, ..outrun(Writes::Background).how },
            waits: false,
            ..outrun(Writes::Background)
        },
        compared(false),
    ]
}

/// What is wrong with what was told of the disks of a VM that did not get where it was to go.
pub(super) fn wrongly_told(ended: &Ended, model: &Model) -> Option<String> {
    let error = ended.error.as_deref().filter(|_| ended.place == Place::Source && model.setting.disks)?;
    if error.contains("it is not known which of its disks") {
        return None;
    }
    let told = if error.contains("it has its new disks since then") {
        [true; 2]
    } else {
        let names = error.split_once("these are new since then, at there: ").map_or("", |(_, names)| names);
        NAMES.map(|name| names.split(", ").any(|one| one == name))
    };
    (told != model.disks.on_new)
        .then(|| format!("told {told:?}, and the new disks it has are {:?}", model.disks.on_new))
}

/// All that can happen at any instant to a setting, alone and just after the user wants it to end, and any act that fails.
fn all_of(setting: &Setting) -> Vec<Script> {
    let mut scripts = Vec::new();
    for step in 0..240 {
        let at = step * MS / 2;
        for fault in single_faults().into_iter().chain([Fault::FailCopy]) {
            scripts.push(script(setting, &[(at, fault)]));
            scripts.push(script(setting, &[(at, Fault::Interrupt), (at + MS, fault)]));
        }
    }
    let causes = [Fault::Interrupt, Fault::Kill(Side::Destination), Fault::FailCopy];
    for act in 1..=12 {
        for fault in [ActFault::Refused, ActFault::Unanswered] {
            for act_faults in [[Some((act, fault)), None], [None, Some((act, fault))]] {
                scripts.push(Script { act_faults, ..script(setting, &[]) });
                for (cause, at) in
                    causes.iter().flat_map(|cause| [16, 18, 19, 20, 25, 61, 65].map(|at| (*cause, at * MS)))
                {
                    scripts.push(Script { act_faults, ..script(setting, &[(at, cause)]) });
                }
            }
        }
    }
    scripts
}

#[test]
fn disks_that_move_are_handed_over_before_it_runs_there_whatever_fails() {
    play_all(&all_of(&with(StorageSettings::default())));
}

#[test]
fn a_vm_that_changes_its_disks_first_is_told_with_those_it_has_whatever_fails() {
    let ended = play_all(&all_of(&in_two_steps()));
    let told = |what: &str| {
        ended.iter().filter(|ended| ended.error.as_deref().is_some_and(|error| error.contains(what))).count()
    };
    for what in
        ["it has its new disks since then", "since then, at there: data", "it has the disks that it had"]
    {
        assert!(told(what) > 0, "{what}");
    }
}

#[test]
fn a_vm_is_compared_with_its_copy_before_it_runs_there_whatever_fails() {
    play_all(&all_of(&compared(false)));
    let differs = compared(true);
    let ended = play(&script(&differs, &[])).unwrap();
    assert_eq!((ended.status, ended.place), (Status::Failed, Place::Source));
    assert_eq!(ended.error.unwrap(), "both hosts' images of data differ, first at byte 9");
    play_all(&all_of(&differs));
}

#[test]
fn a_vm_that_outruns_its_copies_is_stopped_for_them_whatever_fails() {
    play_all(&all_of(&outrun(Writes::WhenDue)));
    play_all(&all_of(&outrun(Writes::Background)));
}

/// What is stopped for its disks is not, where its writes wait for them or nobody asks for that; and then it does not end.
#[test]
fn a_vm_is_stopped_for_its_disks_only_where_that_is_asked_for_and_nothing_else_helps() {
    let stopped = |setting: &Setting| {
        let (ended, recorded) = played(&script(setting, &[])).unwrap();
        let stops = recorded.iter().any(|event| {
            matches!(&event.kind, EventKind::Decision { action, reason } if action == "stop-vm" && reason.contains("disks"))
        });
        (ended.status, ended.place, stops)
    };
    let (there, never) = ((Status::Completed, Place::Destination), (Status::NotConverged, Place::Source));
    let at_once = StorageSettings { pause_after_s: Some(0.0), ..outrun(Writes::Background).how };
    let paused_by_its_owner = Setting { runs_at_first: false, how: at_once, ..outrun(Writes::Background) };
    for (setting, (status, place), stops) in [
        (outrun(Writes::WhenDue), there, true),
        (outrun(Writes::Background), there, true),
        (Setting { keeps_step: true, ..outrun(Writes::WhenDue) }, there, false),
        (outrun(Writes::InStep), there, false),
        (paused_by_its_owner, there, false),
        (
            Setting {
                how: StorageSettings { pause_after_s: None, ..outrun(Writes::Background).how },
                ..outrun(Writes::Background)
            },
            never,
            false,
        ),
        (
            Setting {
                how: StorageSettings { two_steps: true, ..outrun(Writes::Background).how },
                waits: false,
                ..outrun(Writes::Background)
            },
            there,
            true,
        ),
    ] {
        assert_eq!(stopped(&setting), (status, place, stops), "{setting:?}");
    }
}
