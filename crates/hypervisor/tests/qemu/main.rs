//! The QEMU driver with real QEMUs, between the hosts of a lab, with a guest of 512 bytes. Each test runs this program again in a
//! role.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, with a harness of its own")]

mod copies;
mod faults;
mod guest;
mod images;
mod moving;
mod standstill;
mod world;

use std::process::{Command, ExitCode};

use dunlin_test_support::{NOT_PERMITTED, ROLE, run_tests, skip_test};

use world::World;

/// A test: its name, and what it does with each QEMU.
type Test = (&'static str, fn(&World));

const TESTS: [Test; 19] = [
    ("a_state_is_stored_in_a_file_and_woken_at_the_other_host", standstill::stored_and_woken),
    ("a_state_that_cannot_be_stored_leaves_the_vm_as_it_was", standstill::not_stored),
    ("a_file_that_is_no_state_wakes_nothing", standstill::not_woken),
    ("a_guest_that_shuts_itself_down_is_told_from_one_that_does_not", standstill::shut_down),
    ("disks_move_and_are_equal_afterwards", copies::plain),
    ("all_blocks_travel_and_are_holes_again_there", copies::all_blocks),
    ("an_overlay_travels_without_what_lies_below", copies::overlay),
    ("a_rate_of_copies_holds", copies::rate),
    ("a_writer_above_the_rate_ends_in_step_or_by_a_pause", copies::outrun),
    ("images_are_compared_before_the_vm_runs_there", copies::compared),
    ("disks_change_before_the_memory_moves", copies::two_steps),
    ("a_vm_that_has_changed_its_disks_keeps_them_where_its_memory_does_not_move", copies::only_first_step),
    ("what_does_not_fit_is_told_before_anything_is_copied", faults::too_small),
    ("a_copy_whose_server_goes_leaves_the_vm_with_its_own_disk", faults::server_killed),
    ("a_vm_whose_storage_stands_still_is_waited_for", faults::frozen),
    ("images_of_each_kind_are_opened_as_they_are_said_to_be", images::opened),
    ("an_image_that_cannot_be_opened_is_told_with_what_mends_it", images::refused),
    ("a_driver_of_storage_that_is_not_installed_is_told_with_its_package", images::without_drivers),
    ("an_image_is_not_written_by_two", images::locked),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, role, ..] = &args[..]
        && first == ROLE
    {
        let test = TESTS.iter().find(|(name, _)| name == role).unwrap();
        return world::play(test.1);
    }
    run_tests(&args, &TESTS, |name, _| {
        let output = Command::new(std::env::current_exe().unwrap()).args([ROLE, name]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        if output.status.code() == Some(NOT_PERMITTED) {
            return skip_test(name, said.trim());
        }
        println!("{said}{}", String::from_utf8_lossy(&output.stderr));
        for line in said.lines().filter_map(|line| line.strip_prefix(world::LEFT_OUT)) {
            skip_test(name, line);
        }
        assert!(output.status.success(), "{name}: {}", output.status);
    })
}
