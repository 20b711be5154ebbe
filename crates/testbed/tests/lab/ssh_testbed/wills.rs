//! What hosts run last when their testbed ends, however that comes about.

use std::path::Path;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_testbed::{Host, LastWill, Testbed};

use super::life::{BOTH, kill_helper, usable_again};
use super::{GONE_LIMIT, LIMIT, World, launch, said, timed, words};

/// Nothing runs any more that was started on the host, and its files are still there.
const IS_LAST: &str = "ls -d /tmp/dunlin-* && for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done \
    | { ! grep '^sleep 1000 '; }";

/// Has a host note that it ran this last, when it is last.
pub(super) fn will(host: &dyn Host, name: &str) -> LastWill {
    let script = format!("{IS_LAST} && echo ran >> /tmp/will-{name}");
    host.at_end(Path::new("sh"), &words(&["-c", &script])).unwrap()
}

/// How often that ran.
pub(super) fn ran(world: &World, host: &str, name: &str) -> usize {
    world.sh(host, &format!("cat /tmp/will-{name} 2>/dev/null; true")).lines().count()
}

/// An end that was asked for, by the bench or by a signal.
pub(super) fn wills(world: &World) {
    let testbed = world.connect();
    let hosts = testbed.hosts();
    let kept: Vec<LastWill> = hosts.iter().map(|host| will(&**host, "asked")).collect();
    let launched = hosts[0].launch(launch("sleep", &["1000"])).unwrap();
    drop(will(&*hosts[0], "revoked"));
    // One that hangs holds up neither the others nor the end for long, and is ended with what it started.
    let hangs = words(&["-c", "sleep 1000.5 & sleep 1000.5"]);
    let hanging = hosts[0].at_end(Path::new("sh"), &hangs).unwrap();
    let nowhere = hosts[0].at_end(Path::new("/nonexistent"), &[]).unwrap();
    for host in BOTH {
        assert_eq!(ran(world, host, "asked"), 0, "not before the end");
    }
    drop((hosts, testbed));
    println!("all is gone {:.2} s after an end with a will that hangs", world.all_gone(&BOTH));
    drop((launched, hanging, nowhere, kept));
    for host in BOTH {
        assert_eq!(ran(world, host, "asked"), 1, "{host}");
    }
    assert_eq!(ran(world, "host-a", "revoked"), 0);

    let testbed = world.connect();
    let hosts = testbed.hosts();
    let host = &*hosts[0];
    let old = will(host, "signal");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| host.run(Path::new("sleep"), &words(&["1000"]), Duration::from_secs(900)));
        let deadline = Deadline::after(LIMIT);
        while !world.traces("host-a").iter().any(|trace| trace.starts_with("sleep")) {
            assert!(!deadline.passed(), "it does not start");
        }
        kill_helper(world, "TERM");
        let (ended, took_s) = timed(|| run.join().unwrap());
        println!("what was run when its helper was asked to end ({took_s:.1} s): {ended:?}");
        // Whoever is still told how it ended is told so.
        assert!(ended.is_err() || ended.is_ok_and(|output| output.how == "signal 9"));
    });
    let deadline = Deadline::after(GONE_LIMIT);
    while ran(world, "host-a", "signal") == 0 {
        assert!(!deadline.passed(), "it was not run");
    }
    // The next helper knows nothing of it, and is not asked to forget what it does know.
    usable_again(host);
    let new = will(host, "next");
    drop(old);
    assert_eq!(said(host, "echo well"), "well");
    drop((hosts, testbed));
    world.all_gone(&BOTH);
    drop(new);
    assert_eq!((ran(world, "host-a", "signal"), ran(world, "host-a", "next")), (1, 1));
}
