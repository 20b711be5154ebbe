//! VMs moved by libvirt, on two nodes that each have a libvirtd of their own. Each test runs this program again in a role (see
//! `roles`), which enters a lab and plays a scene there.
//!
//! `DUNLIN_LONG=1` plays all of the fault matrix instead of a part of it (`script/libvirt-faults`).
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, with a harness of its own")]

mod bench;
mod existing;
mod faults;
mod ground;
mod mechanisms;
mod obstacles;
mod ours;
mod roles;
mod storage;
mod watch;

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_guest::{build_image, default_cache_dir, fetch_kernel};
use dunlin_test_support::{NOT_PERMITTED, ROLE, run_tests, skip_test, skip_vms};

/// Far above what a scene takes.
const LIMIT: Duration = Duration::from_secs(280);
/// The whole matrix takes longer.
const LONG_LIMIT: Duration = Duration::from_secs(3000);

/// The tests, each with the role that it plays.
const TESTS: [(&str, &str); 6] = [
    ("vm_our_guest_is_moved_by_libvirt_and_its_own_figures_are_told", "ours"),
    ("vm_a_domain_that_virsh_made_is_moved_back_and_forth_and_is_as_it_was", "existing"),
    ("vm_what_speaks_against_moving_a_domain_is_told_before_it_is_touched", "obstacles"),
    ("vm_each_mechanism_works_or_is_refused_with_its_reason", "mechanisms"),
    ("vm_disks_move_with_their_guest_by_libvirt_and_before_it", "storage"),
    ("vm_after_each_fault_the_domain_runs_once_and_nothing_of_ours_is_left", "faults"),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("helper") => return ExitCode::from(dunlin_testbed::serve_helper() as u8),
        Some(dunlin_testbed::NODE_ROLE) => return ExitCode::from(dunlin_testbed::serve_node() as u8),
        Some(ROLE) => return roles::play(&args[1], &args[2..]),
        _ => {}
    }
    run_tests(&args, &TESTS, |name, role| play(name, role))
}

/// The kernel and the image of Dunlin's own guest; made before the lab, from which nobody reaches the network.
fn guest() -> Option<[PathBuf; 2]> {
    let kernel = default_cache_dir().and_then(|cache| Ok((fetch_kernel(&cache)?, cache)));
    match kernel {
        // That the image cannot be built is no reason to skip.
        Ok((kernel, cache)) => {
            let image = build_image(&kernel, &cache).unwrap();
            Some([image.kernel, image.initramfs])
        }
        Err(error) => {
            skip_vms(error);
            None
        }
    }
}

fn play(test: &str, role: &str) {
    let Some(guest) = guest() else { return };
    let dir = tempfile::tempdir().unwrap();
    let said = dir.path().join("said");
    let file = std::fs::File::create(&said).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([ROLE, role]).args(guest).stdin(Stdio::null());
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let mut actor = Actor(command.spawn().unwrap());
    let code = actor.wait(if is_long() { LONG_LIMIT } else { LIMIT });
    let said = std::fs::read_to_string(&said).unwrap();
    if code == Some(NOT_PERMITTED) {
        return skip_test(test, said);
    }
    said.lines().for_each(|line| println!("    {line}"));
    assert_eq!(code, Some(0));
}

/// Whether there is time for all of it.
pub(crate) fn is_long() -> bool {
    std::env::var("DUNLIN_LONG").is_ok_and(|value| value == "1")
}

/// This program in a role; killed when dropped.
struct Actor(Child);

impl Actor {
    fn wait(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Deadline::after(limit);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            if deadline.passed() {
                println!("it has not ended in {limit:?}");
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
