//! What speaks against moving a domain, made for real, and told before the domain is touched; and disks that move well.

use std::time::Duration;

use dunlin_ssh_nodes::AccessFault;

use super::bench::{Bench, HEAD, examined};
use super::ground::{Ground, Vm};
use super::watch::until;

/// Where each node has files of its own.
const OWN: &str = "/var/lib/libvirt/images";
const IDLE: &str = "[[case]]\nname = \"idle\"\n";
const MIB: &str = "16";
/// A name that looks like another domain's UUID.
const UUID: &str = "5d3c1f0e-6a58-4a0e-9f57-0d1f2f1c9999";

pub(crate) fn play(ground: &Ground<'_>) {
    let plain = Vm::new("plain", 1);
    of_its_state(ground, &plain);
    of_the_other_host(ground, &plain);
    of_its_devices(ground);
    shared_disk(ground);
    copied_disk(ground);
}

fn scenario(more: &str) -> String {
    format!("{HEAD}{more}{IDLE}")
}

fn tells(ground: &Ground<'_>, scenario: &str, vm: &Vm, all: &[&str]) {
    let said = examined(ground, scenario, &vm.name);
    println!("{}", said.trim());
    for words in all {
        assert!(said.contains(words), "{words:?} is not told: {said}");
    }
    assert_eq!(said.lines().count(), all.len(), "more is told than that: {said}");
}

/// Shut off, and paused by its owner, which is no obstacle; with a snapshot; with a job that somebody else has begun.
fn of_its_state(ground: &Ground<'_>, vm: &Vm) {
    tells(ground, &scenario(""), &Vm::new("nobody", 9), &["there is no VM"]);
    ground.define("host-a", vm);
    tells(ground, &scenario(""), vm, &["shut off"]);
    ground.said("host-a", &["start", &vm.uuid, "--paused"]);
    tells(ground, &scenario(""), vm, &[]);

    let snapshot = format!(
        "<domainsnapshot><name>s1</name><state>shutoff</state><creationTime>1</creationTime>{}</domainsnapshot>",
        ground.said("host-a", &["dumpxml", &vm.uuid, "--inactive"])
    );
    let file = ground.write_shared("snapshot.xml", &snapshot).display().to_string();
    ground.said("host-a", &["snapshot-create", &vm.uuid, &file, "--redefine"]);
    tells(ground, &scenario(""), vm, &["has snapshots (1)"]);
    ground.said("host-a", &["snapshot-delete", &vm.uuid, "s1", "--metadata"]);

    ground.said("host-a", &["resume", &vm.uuid]);
    let migrate = ["migrate", "--live", "--p2p", "--bandwidth", "1", &vm.uuid, "qemu+tcp://host-b/system"];
    let job = || ground.said("host-a", &["domjobinfo", &vm.uuid, "--rawstats"]);
    std::thread::scope(|scope| {
        scope.spawn(|| ground.libvirt.virsh("host-a", &migrate));
        assert!(until(Duration::from_secs(10), || job().contains("operation: 5")));
        // The place that is made for it there is seen as well.
        tells(ground, &scenario(""), vm, &["is being migrated already", "is on host-b already"]);
        ground.said("host-a", &["domjobabort", &vm.uuid]);
    });
    assert!(until(Duration::from_secs(10), || ground.state("host-b", vm).is_none()));
    tells(ground, &scenario(""), vm, &[]);
}

/// Its name is taken there; nobody answers where it is to go; who answers asks for a password.
fn of_the_other_host(ground: &Ground<'_>, vm: &Vm) {
    let other = Vm { name: vm.name.clone(), ..Vm::new("", 7) };
    ground.define("host-b", &other);
    let wrong = scenario("destination_uri = \"qemu+tcp://10.88.0.250/system\"\n");
    tells(ground, &wrong, vm, &["does not reach libvirt at qemu+tcp://10.88.0.250", "another VM"]);
    let back = scenario("destination_uri = \"qemu+tcp://host-a/system\"\n");
    tells(ground, &back, vm, &["leads back to host-a instead of host-b", "another VM"]);
    // All of it stops the run at once, before the domain is touched.
    let ended = Bench::of(ground, &wrong, vm).finish();
    assert_eq!(ended.code, Some(4), "{}", ended.said);
    assert!(ended.said.contains("another VM") && ended.said.contains("10.88.0.250"), "{}", ended.said);
    ground.said("host-b", &["undefine", &other.uuid]);
    ground.libvirt.refuse_access("host-b", AccessFault::TcpAsks).unwrap();
    tells(ground, &scenario(""), vm, &["authentication failed"]);
    ground.libvirt.mend_access("host-b").unwrap();
    let ssh = scenario("").replace("connect = \"tcp\"", "connect = \"ssh\"");
    ground.libvirt.refuse_access("host-b", AccessFault::UntrustedKey).unwrap();
    tells(ground, &ssh, vm, &["Permission denied"]);
    ground.libvirt.mend_access("host-b").unwrap();
    tells(ground, &ssh, vm, &[]);
    assert_eq!(
        (ground.state("host-a", vm).as_deref(), ground.processes(vm)),
        (Some("running"), vec!["host-a"])
    );
    ground.forget(vm);
}

/// A machine, a network, a bridge, a folder, a medium and disks that the destination has not, or not safely.
fn of_its_devices(ground: &Ground<'_>) {
    let shared = ground.libvirt.shared().display().to_string();
    let own = format!("mkdir -p {OWN} && truncate -s {MIB}M {OWN}/both.raw");
    ground.nodes.sh("host-b", &own).unwrap();
    let make = format!(
        "{own} && truncate -s {MIB}M {OWN}/here.raw {OWN}/cd.iso {shared}/cached.raw && ln -sf /usr/bin/qemu-system-x86_64 \
         {OWN}/qemu-own && ip link add only-a type bridge && ip link set only-a up"
    );
    ground.nodes.sh("host-a", &make).unwrap();
    let network = "<network><name>n1</name><forward mode='bridge'/><bridge name='service'/></network>";
    let file = ground.write_shared("network.xml", network).display().to_string();
    ground.said("host-a", &["net-define", &file]);
    ground.said("host-a", &["net-start", "n1"]);
    let disk = |source: &str, target: &str, cache: &str| {
        format!(
            "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='{cache}'/><source file='{source}'/>\
             <target dev='{target}' bus='virtio'/></disk>"
        )
    };
    let devices = [
        format!("<emulator>{OWN}/qemu-own</emulator>"),
        disk(&format!("{OWN}/here.raw"), "vda", "none"),
        disk(&format!("{OWN}/both.raw"), "vdb", "none"),
        disk(&format!("{shared}/cached.raw"), "vdc", "writeback"),
        format!(
            "<disk type='file' device='cdrom'><source file='{OWN}/cd.iso'/><target dev='sda' bus='sata'/><readonly/></disk>"
        ),
        "<interface type='network'><source network='n1'/></interface>".into(),
        "<interface type='bridge'><source bridge='only-a'/></interface>".into(),
        "<filesystem type='mount'><source dir='/tmp'/><target dir='here'/></filesystem>".into(),
    ];
    let vm = Vm { devices: devices.concat(), ..Vm::new("laden", 2) };
    ground.define("host-a", &vm);
    ground.said("host-a", &["start", &vm.uuid, "--paused"]);
    tells(
        ground,
        &scenario(""),
        &vm,
        &[
            "has no pc-q35",
            "here.raw (disk vda)",
            "both.raw (disk vdb) is another one",
            "vdc has the cache mode writeback",
            "sda holds",
            "no active network \\\"n1\\\"",
            "no device \\\"only-a\\\"",
            "a folder of the host",
        ],
    );
    ground.forget(&vm);
}

/// A disk that both nodes see, and of which no page is kept back: libvirt's own doubt is answered.
fn shared_disk(ground: &Ground<'_>) {
    let path = ground.libvirt.shared().join("disk.raw");
    std::fs::write(&path, vec![7; 16 << 20]).unwrap();
    let vm = with_disk(ground, UUID, 3, &path.display().to_string());
    tells(ground, &scenario("copy_storage = \"all\"\n"), &vm, &["it would be copied onto itself"]);
    Bench::of(ground, &scenario(""), &vm).finish().completed();
    assert_eq!(
        (ground.state("host-a", &vm).as_deref(), ground.processes(&vm)),
        (Some("paused"), vec!["host-a"])
    );
    ground.forget(&vm);
}

/// A disk of each host's own is copied along, there and back.
fn copied_disk(ground: &Ground<'_>) {
    let path = format!("{OWN}/copied.raw");
    let fill = format!("head -c {MIB}M /dev/urandom >{path}; sha256sum <{path}");
    let before = ground.nodes.sh("host-a", &fill).unwrap();
    let vm = with_disk(ground, "copied", 4, &path);
    let copies = scenario("copy_storage = \"all\"\n");
    tells(ground, &copies, &vm, &["host-b has no"]);
    ground.nodes.sh("host-b", &format!("truncate -s 8M {path}")).unwrap();
    tells(ground, &copies, &vm, &["has 8388608 bytes"]);
    ground.nodes.sh("host-b", &format!("truncate -s {MIB}M {path}")).unwrap();
    let taker = Vm { devices: vm.devices.clone(), ..Vm::new("taker", 8) };
    ground.define("host-b", &taker);
    tells(ground, &copies, &vm, &["is of another VM there: taker"]);
    ground.said("host-b", &["undefine", &taker.uuid]);
    Bench::of(ground, &copies, &vm).finish().completed();
    for host in super::ground::HOSTS {
        assert_eq!(ground.nodes.sh(host, &format!("sha256sum <{path}")).unwrap(), before, "{host}");
    }
    assert_eq!(
        (ground.state("host-a", &vm).as_deref(), ground.processes(&vm)),
        (Some("paused"), vec!["host-a"])
    );
    ground.forget(&vm);
}

/// Nothing runs in it: its owner has paused it at once.
fn with_disk(ground: &Ground<'_>, name: &str, number: u32, path: &str) -> Vm {
    let devices = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/><source file='{path}'/><target \
         dev='vda' bus='virtio'/></disk>"
    );
    let vm = Vm { devices, ..Vm::new(name, number) };
    ground.define("host-a", &vm);
    ground.said("host-a", &["start", &vm.uuid, "--paused"]);
    vm
}
