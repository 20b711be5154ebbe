//! What a scenario asks wrongly of a real QEMU is told before the first trial; what cannot come up is told soon.

mod harness;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use harness::Run;
use serde_json::Value;

const QUICK: &str = "[vm]\nmemory_mib = 128\n[trials]\ncount = 1\nbaseline_s = 0.5\nsettle_s = 0.5\n";

/// Cases of these settings, each with a name.
fn cases(settings: &[(&str, &str)]) -> String {
    let case = |(name, settings): &(&str, &str)| format!("[[case]]\nname = \"{name}\"\n{settings}\n");
    QUICK.to_owned() + &settings.iter().map(case).collect::<String>()
}

#[test]
fn vm_mistakes_are_bad_input_by_file_and_case_before_the_first_trial() {
    need_vms!();
    let wrong = [
        ("name", "qemu.parameters.max-bandwith = 1", "did you mean \"max-bandwidth\"?"),
        ("capability", "qemu.capabilities.autoconverge = true", "did you mean \"auto-converge\"?"),
        (
            "text",
            "qemu.parameters.max-bandwidth = \"64Mi\"",
            "qemu.parameters.max-bandwidth = \"64Mi\": QEMU refuses",
        ),
        ("both", "qemu.capabilities = { xbzrle = true, multifd = true }", "qemu.capabilities: QEMU refuses"),
        ("cache", "qemu.parameters.xbzrle-cache-size = 1000", "power of two"),
        ("throttle", "qemu.parameters.cpu-throttle-initial = 100", "range of 1 to 99"),
        ("cpu", "vm.cpu = \"qemu46\"", "did you mean \"qemu64\"?"),
        ("arguments", "qemu.extra_args = [\"-devise\", \"x\"]", "qemu.extra_args: QEMU refuses"),
    ];
    let finished =
        Run::start("mistakes", &cases(&wrong.map(|(name, settings, _)| (name, settings)))).finish();
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    for (name, _, told) in wrong {
        let line =
            finished.stderr.lines().find(|line| line.contains(&format!("scenario.toml: case \"{name}\"")));
        assert!(line.is_some_and(|line| line.contains(told)), "{name}: {}", finished.stderr);
    }
    assert!(!finished.folder.exists());
}

#[test]
fn vm_what_only_this_qemu_cannot_is_skipped_and_the_rest_is_run() {
    need_vms!();
    let settings = [
        ("fine", "qemu.parameters.max-bandwidth = 100_000_000"),
        ("machine", "vm.machine = \"pc-q35-99.0\""),
        ("credit", "vm.cpu = \"qemu64-v99\""),
        ("spare", "qemu.parameters.block-incremental = true"),
    ];
    let finished = Run::start("refused", &cases(&settings)).finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let skipped = finished.stderr.lines().filter(|line| line.contains("skipped: ")).count();
    let expected = if finished.stderr.contains("block-incremental") { 3 } else { 2 };
    assert_eq!(skipped, expected, "{}", finished.stderr);
}

#[test]
fn vm_a_guest_that_is_not_let_run_is_told_with_the_cause_and_not_tried_for_each_trial() {
    need_vms!();
    let scenario = cases(&[("stopped", "qemu.extra_args = [\"-S\"]")]).replace("count = 1", "count = 3");
    let finished = Run::start("stopped", &scenario).finish();
    assert_eq!(finished.code, Some(5), "{}", finished.stderr);
    assert!(finished.stderr.contains("its other trials are not made"), "{}", finished.stderr);
    // Where the time went.
    let time = finished.stdout.lines().find(|line| line.starts_with("time: ")).unwrap_or_default();
    assert!(!time.contains(" 0 % starting guests"), "{time}");
    let outcomes = std::fs::read_to_string(finished.folder.join("trials.jsonl")).unwrap();
    let outcomes: Vec<Value> = outcomes.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [outcome] = &outcomes[..] else { panic!("{outcomes:?}") };
    let error = outcome["error"].as_str().unwrap_or_default();
    assert!(error.contains("does not let it run") && error.contains("prelaunch"), "{error}");
}

#[test]
fn vm_a_binary_that_is_not_there_is_named_and_no_package() {
    need_vms!();
    let finished =
        Run::start("nothing", &cases(&[("missing", "qemu.binary = \"/nowhere/qemu-of-mine\"")])).finish();
    assert_eq!(finished.code, Some(4), "{}", finished.stderr);
    let hint = finished.stderr.lines().find(|line| line.contains("hint:")).unwrap_or_default();
    assert!(hint.contains("/nowhere/qemu-of-mine") && !hint.contains("apt"), "{}", finished.stderr);
}

#[test]
fn vm_images_that_no_disk_can_begin_with_are_told_by_file_case_and_path_before_the_first_trial() {
    need_vms!();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let image = |name: &str, format: &str, more: &[&str], size: &str| {
        let path = at(name);
        let arguments = [&["create", "-q", "-f", format], more, &[path.as_str(), size]].concat();
        let made = Command::new("qemu-img").args(&arguments).status();
        assert!(made.unwrap().success(), "{arguments:?}");
    };
    image("damaged", "qcow2", &[], "64M");
    // Where its first table lies (docs/interop/qcow2.txt, "Header").
    File::options().write(true).open(at("damaged")).unwrap().write_all_at(&[0xff; 8], 40).unwrap();
    image("other", "vmdk", &[], "64M");
    image("large", "qcow2", &[], "65M");
    image("over", "qcow2", &["-u", "-F", "qcow2", "-b", "gone"], "64M");
    let wrong = [
        ("missing", "No such file"),
        ("damaged", "L1 table"),
        ("other", "its format is vmdk, expected raw or qcow2"),
        ("large", "65 MiB large: vm.disk.size_mib = 64 is less"),
        ("over", "gone"),
    ];
    let settings = wrong.map(|(name, _)| format!("vm.disk = {{ size_mib = 64, image = {:?} }}", at(name)));
    let asked: Vec<(&str, &str)> =
        wrong.iter().zip(&settings).map(|((name, _), text)| (*name, text.as_str())).collect();
    let finished = Run::start("images", &cases(&asked)).finish();
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    for (name, told) in wrong {
        let begin = format!("scenario.toml: case \"{name}\": vm.disk.image: {}", at(name));
        let line = finished.stderr.lines().find(|line| line.contains(&begin));
        assert!(line.is_some_and(|line| line.contains(told)), "{name}: {}", finished.stderr);
    }
    assert!(!finished.folder.exists());

    // What needs no look at a file is told by its line.
    for (setting, told) in [
        ("format = \"vdi\"", "vm.disk.format: expected one of \"raw\", \"qcow2\", found \"vdi\""),
        ("backing = true", "vm.disk.backing: expected vm.disk.format = \"qcow2\" beside it"),
    ] {
        let disk = format!("vm.disk = {{ size_mib = 64, {setting} }}");
        let finished = Run::start("disks", &cases(&[("disk", &disk)])).finish();
        assert_eq!(finished.code, Some(3), "{}", finished.stderr);
        assert!(finished.stderr.contains(&format!("scenario.toml:10: {told}")), "{}", finished.stderr);
        assert!(!finished.folder.exists());
    }
}
