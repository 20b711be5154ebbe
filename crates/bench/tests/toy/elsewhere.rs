//! A VM that does not run at the source is asked for at the destination too, before anybody is told to start it.

use dunlin_bench::{BenchError, Elsewhere};

use crate::driver::Script;
use crate::{Play, THERE};

/// What to do about a VM that is not at the source; the error must be that.
fn mend(error: &BenchError) -> String {
    let BenchError::VmNotThere { vm, host, elsewhere, .. } = error else { panic!("{error}") };
    elsewhere.mend(vm, host)
}

/// The error says that the other host has the VM, and nothing of starting it.
pub(crate) fn is_told_to_be_at_the_other_host(error: &BenchError, word: &str) {
    let said = error.to_string();
    for words in [
        "old-faithful does not run on left, where it is to be moved from",
        &format!("right has it, where it is {word}"),
    ] {
        assert!(said.contains(words), "{said}");
    }
    let mend = mend(error);
    assert!(mend.starts_with("do NOT start old-faithful on left: right has it"), "{mend}");
    assert!(mend.contains("Bringing a VM back") && mend.contains("--stay"), "{mend}");
}

fn refused(script: Script) -> BenchError {
    let mut play = Play::of(script);
    let error = play.run(THERE).expect_err("it is not there");
    assert!(play.journeys().is_empty() && !play.path().exists());
    error
}

#[test]
fn a_vm_that_is_at_the_destination_must_not_be_started_at_the_source() {
    is_told_to_be_at_the_other_host(&refused(Script { at: "right", ..Script::default() }), "Running");
    let paused = Script { at: "right", paused: true, ..Script::default() };
    is_told_to_be_at_the_other_host(&refused(paused), "Stopped");
}

#[test]
fn a_vm_that_neither_host_has_may_be_started_once_it_is_sure_that_it_runs_nowhere() {
    let error = refused(Script { at: "nowhere", ..Script::default() });
    let said = error.to_string();
    assert!(said.contains("left refused find: no such toy; nor does it run on right: "), "{said}");
    let mend = mend(&error);
    assert!(
        mend.starts_with("start old-faithful on left once you have made sure that it runs nowhere else"),
        "{mend}"
    );
}

#[test]
fn a_host_whose_product_does_not_answer_is_named_before_anything_is_begun() {
    let error = refused(Script { is_down: Some("right"), ..Script::default() });
    assert!(matches!(error, BenchError::NoAnswer { .. }), "{error:?}");
    assert_eq!(error.to_string(), "toy on right does not answer");
}

#[test]
fn an_address_at_which_nobody_answers_is_told_with_what_names_another() {
    let mut play = Play::of(Script::default());
    // Of the toys' network, and no toy's.
    play.existing[0].address = Some(std::net::Ipv4Addr::new(127, 77, 254, 254));
    let finished = play.run(THERE).unwrap();
    assert_eq!((finished.ended, play.journeys()), ([0, 0, 1], Vec::new()));
    let error = play.outcomes()[0].error.clone().unwrap();
    let told =
        "it is asked at 127.77.254.254 (told by --vm-address); another address is named by --vm-address";
    assert!(error.contains("no answer to the udp probe") && error.ends_with(told), "{error}");
}

#[test]
fn a_destination_that_does_not_tell_is_not_taken_for_one_that_has_no_such_vm() {
    let error = refused(Script { at: "nowhere", is_mute: Some("right"), ..Script::default() });
    let BenchError::VmNotThere { elsewhere, .. } = &error else { panic!("{error}") };
    let Elsewhere::Silent { host, .. } = &**elsewhere else { panic!("{error}") };
    assert_eq!(host, "right");
    assert!(
        error.to_string().contains("whether it runs on right is not known: right: gave up after 1 s"),
        "{error}"
    );
    let mend = mend(&error);
    assert!(
        mend.starts_with("do not start old-faithful before you know that it does not run on right"),
        "{mend}"
    );
}
