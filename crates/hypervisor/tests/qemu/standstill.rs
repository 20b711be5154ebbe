//! VMs that stand still: their state in a file, and guests that shut themselves down.

use std::fs;
use std::time::Duration;

use dunlin_hypervisor::HypervisorError;

use crate::guest::{Deed, image};
use crate::world::{World, can_be_written, disk, spec, until};

const WRITE: Deed = Deed::Write { first: 64, last: 8192 };
const LIMIT: Duration = Duration::from_secs(15);

pub(crate) fn stored_and_woken(world: &World) {
    let (path, state) = (world.file("disk.raw"), world.file("vm.state"));
    image(&path, 8, WRITE);
    let spec = spec(vec![disk(&path)]);
    let [from, to] = world.hypervisors.each_ref().map(|hypervisor| hypervisor.maker().unwrap());
    let (order, mut told) = world.order(&spec);
    let vm = from.boot(&order).unwrap();
    drop(order);
    let writes_on = || {
        let written = || fs::read(&path).unwrap();
        let before = written();
        until("the guest writes", || written() != before);
    };
    writes_on();
    assert!(!can_be_written(&path));

    from.store(&vm, &state).unwrap();
    assert!(!vm.run_state().unwrap().running());
    vm.check_alive().unwrap();
    assert!(can_be_written(&path), "its image is let go of");
    let left = fs::read(&path).unwrap();

    // It can go on here …
    vm.resume().unwrap();
    writes_on();
    assert!(!can_be_written(&path));
    vm.end(LIMIT).unwrap();
    drop(vm);
    assert_eq!(told.expected_end(), Some(true));

    // … or there, with its image as it was.
    fs::write(&path, &left).unwrap();
    let (order, _told) = world.order(&spec);
    let woken = to.wake(&order, &state).unwrap();
    assert!(woken.run_state().unwrap().running());
    assert_eq!(woken.host(), world.hosts[1].id());
    writes_on();
    // A second time, from where it is now.
    fs::remove_file(&state).unwrap();
    to.store(&woken, &state).unwrap();
    woken.end(LIMIT).unwrap();
    let woken = from.wake(&order, &state).unwrap();
    writes_on();
    woken.end(LIMIT).unwrap();
}

pub(crate) fn not_stored(world: &World) {
    let path = world.file("disk.raw");
    image(&path, 8, WRITE);
    let spec = spec(vec![disk(&path)]);
    let maker = world.hypervisors[0].maker().unwrap();
    let (order, mut told) = world.order(&spec);
    let vm = maker.boot(&order).unwrap();
    let nowhere = world.file("no such folder/vm.state");
    let error = maker.store(&vm, &nowhere).unwrap_err();
    println!("{error}");
    vm.check_alive().unwrap();
    assert!(!can_be_written(&path), "the image is still the VM's");
    vm.resume().unwrap();
    let before = fs::read(&path).unwrap();
    until("the guest writes", || fs::read(&path).unwrap() != before);
    // What was set for the file is not set any more: the next is taken.
    let state = world.file("vm.state");
    maker.store(&vm, &state).unwrap();
    assert!(fs::metadata(&state).unwrap().len() > 0);
    let error = maker.store(&vm, &world.file("a,b")).unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    drop(vm);
    assert_eq!(told.expected_end(), None, "it had not ended by itself");
}

pub(crate) fn not_woken(world: &World) {
    let (path, state) = (world.file("disk.raw"), world.file("vm.state"));
    image(&path, 8, Deed::Nothing);
    let spec = spec(vec![disk(&path)]);
    let maker = world.hypervisors[1].maker().unwrap();
    let (order, mut told) = world.order(&spec);
    let mut contents = vec![None, Some(b"this is no state of any VM".to_vec())];
    let vm = maker.boot(&order).unwrap();
    maker.store(&vm, &state).unwrap();
    vm.end(LIMIT).unwrap();
    let mut half = fs::read(&state).unwrap();
    half.truncate(half.len() / 3);
    contents.push(Some(half));
    drop(vm);
    told.expected_end();
    for content in contents {
        match content {
            Some(bytes) => fs::write(&state, bytes).unwrap(),
            None => fs::remove_file(&state).unwrap(),
        }
        let Err(error) = maker.wake(&order, &state) else { panic!("woken by no state") };
        println!("{error}");
        assert!(
            matches!(error, HypervisorError::Ended { .. } | HypervisorError::Refused { .. }),
            "{error:?}"
        );
        assert!(can_be_written(&path), "nothing of it remains");
    }
}

pub(crate) fn shut_down(world: &World) {
    let path = world.file("disk.raw");
    let spec = spec(vec![disk(&path)]);
    let maker = world.hypervisors[0].maker().unwrap();
    let begin = |deed| {
        image(&path, 8, deed);
        let (order, told) = world.order(&spec);
        (maker.boot(&order).unwrap(), told)
    };
    // Waited for, or gone before that.
    for waits in [true, false] {
        let (vm, mut told) = begin(Deed::ShutDown(18));
        if !waits {
            until("its end", || vm.check_alive().is_err());
        }
        vm.await_shut_down(LIMIT).unwrap();
        assert!(can_be_written(&path));
        drop(vm);
        assert_eq!(told.expected_end(), Some(true));
    }
    let (vm, mut told) = begin(Deed::Reset(9));
    let error = vm.await_shut_down(LIMIT).unwrap_err();
    assert!(matches!(error, HypervisorError::GuestReset { .. }), "{error:?}");
    drop(vm);
    assert_eq!(told.expected_end(), Some(false));

    let (vm, mut told) = begin(Deed::Nothing);
    let error = vm.await_shut_down(Duration::from_millis(300)).unwrap_err();
    assert!(matches!(error, HypervisorError::Timeout { .. }), "{error:?}");
    assert!(vm.run_state().unwrap().running());
    // Its end is a crash as before, also while it is waited for.
    let pid = nix::unistd::Pid::from_raw(vm.pid().unwrap().try_into().unwrap());
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| vm.await_shut_down(LIMIT));
        std::thread::sleep(Duration::from_millis(200));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        waiting.join().unwrap()
    });
    let error = waiting.unwrap_err();
    assert!(matches!(error, HypervisorError::Ended { by_us: false, .. }), "{error:?}");
    drop(vm);
    assert_eq!(told.expected_end(), Some(false));
}
