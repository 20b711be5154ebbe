//! Hosts that cannot be used: each is refused in words that help, in time, and nothing stays on it.

use std::path::Path;

use dunlin_record::in_one_line;
use dunlin_ssh_nodes::Client;
use dunlin_testbed::{HelperProgram, Inside, Inventory, SshTestbed, Testbed};

use super::{World, said, timed};

/// How long a refusal may take.
const REFUSED_S: f64 = 30.0;

pub(crate) fn refusals(inside: &Inside) {
    let world = World::up(inside, Vec::new());
    unreachable(&world);
    users(&world);
    folders(&world);
    programs(&world);
    shells(&world);
}

/// What is said of it holds all these words.
fn refused(world: &World, inventory: &Inventory, program: HelperProgram, words: &[&str]) {
    let (connected, took_s) = timed(|| SshTestbed::connect(inventory, program));
    let error = in_one_line(&connected.unwrap_err());
    println!("{took_s:.1} s: {error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    assert!(took_s < REFUSED_S, "{took_s}");
    world.all_gone(&["host-a", "host-b"]);
}

fn unreachable(world: &World) {
    for (client, words) in [
        (Client::NobodyThere, ["host-a: cannot connect to it", "No route to host", "host-a` work by hand"]),
        (Client::WrongKey, ["host-a", "Permission denied", "ssh-add"]),
        (Client::UnknownHost, ["host-a", "Host key verification failed", "compare the fingerprint"]),
        (Client::ChangedHost, ["host-a", "its host key has changed", "ssh-keygen -R"]),
    ] {
        refused(world, &world.inventory(client), world.program, &words);
    }
    world.nodes.stop("host-b").unwrap();
    refused(world, &world.inventory(Client::Right), world.program, &["host-b", "Connection refused"]);
    world.nodes.start("host-b").unwrap();
    let mut inventory = world.inventory(Client::Right);
    inventory.hosts[1].ssh = "host-z".into();
    refused(world, &inventory, world.program, &["host-b", "Could not resolve hostname"]);
}

fn users(world: &World) {
    let sudo = |client| {
        let mut inventory = world.inventory(client);
        inventory.hosts.iter_mut().for_each(|host| host.sudo = true);
        inventory
    };
    if !Path::new("/usr/bin/sudo").exists() {
        refused(world, &sudo(Client::Right), world.program, &["sudo", "sudo = true"]);
        return println!("there is no sudo");
    }
    let words =
        ["sudo -n: ", "let host-a use sudo without a password, or log in as root and drop `sudo = true`"];
    refused(world, &sudo(Client::AsOrdinary), world.program, &words);
    world.sh("host-a", "mount --bind /dev/null /usr/bin/sudo");
    refused(world, &sudo(Client::AsSudoer), world.program, &words);
    world.sh("host-a", "umount /usr/bin/sudo");

    let testbed = SshTestbed::connect(&sudo(Client::AsSudoer), world.program).unwrap();
    let first = testbed.hosts().remove(0);
    let host = &*first;
    assert_eq!(said(host, "id -u; hostname"), "0\nhost-a");
    host.taps().unwrap().add_tap("dt0").unwrap();
    assert_eq!(world.sh("host-a", "ip -o link show dt0 | grep -o 'master [^ ]*'"), "master service");
    drop(host.helper().unwrap());
    let file = Path::new("/tmp/of-root");
    host.write_private(file, b"secret").unwrap();
    assert_eq!(world.sh("host-a", "stat -c %U%a /tmp/of-root"), "root600");
    host.remove(file).unwrap();
    drop((first, testbed));
    println!("all is gone {:.2} s after a testbed with sudo", world.all_gone(&["host-a", "host-b"]));

    // Who may not make taps is told so, and what would help; all else can be done.
    let mut inventory = world.inventory(Client::AsOrdinary);
    let words = ["host-a: cannot let taps join service", "its user may not make taps", "write `sudo = true`"];
    refused(world, &inventory, world.program, &words);
    inventory.hosts.iter_mut().for_each(|host| host.bridge = None);
    let words = ["host-a has no `bridge`", "given addresses"];
    refused(world, &inventory, world.program, &words);
    inventory.vm_addresses = None;
    let testbed = SshTestbed::connect(&inventory, world.program).unwrap();
    let first = testbed.hosts().remove(0);
    assert_ne!(said(&*first, "id -u"), "0");
    assert!(first.taps().is_none());
    drop((first, testbed));
    world.all_gone(&["host-a", "host-b"]);
    let mut inventory = world.inventory(Client::Right);
    inventory.hosts[0].bridge = Some("br-none".into());
    refused(world, &inventory, world.program, &["host-a has no device br-none (`bridge`)"]);
    world.all_gone(&["host-a", "host-b"]);
}

fn folders(world: &World) {
    let with = |client, folder: &str| {
        let mut inventory = world.inventory(client);
        inventory.hosts[0].folder = folder.into();
        inventory
    };
    let mend = "name one on its file systems where programs may be run: `folder = \"/…\"`";
    let none = ["no folder for it", "No such file", mend];
    refused(world, &with(Client::Right, "/no/such/folder"), world.program, &none);
    let closed = ["no folder for it", "Permission denied", mend];
    refused(world, &with(Client::AsOrdinary, "/run/home/root"), world.program, &closed);
    world.nodes.forbid_programs("host-a", Path::new("/tmp/noexec")).unwrap();
    refused(world, &with(Client::Right, "/tmp/noexec"), world.program, &closed);
    world.nodes.fill("host-a", Path::new("/tmp/full")).unwrap();
    let full = ["No space left", "make room in /tmp/full, or name another folder"];
    refused(world, &with(Client::Right, "/tmp/full"), world.program, &full);
    assert_eq!(world.sh("host-a", "ls /tmp/noexec /tmp/full | grep dunlin; true"), "");
}

fn programs(world: &World) {
    let right = world.inventory(Client::Right);
    let wrong = HelperProgram { sha256: "00", ..world.program };
    refused(world, &right, wrong, &["what arrived is not what was sent"]);
    let script = |text: &'static str| {
        let path = world.nodes.folder().join("script");
        std::fs::write(&path, text).unwrap();
        super::program(&path)
    };
    let other = "#!/bin/sh\necho dunlin-helper 999\nrm -rf \"${0%/*}\"\ncat >/dev/null\n";
    refused(world, &right, script(other), &["speaks version 999", "put the same dunlin on all hosts"]);
    // One that does not run there, as where it needs what is not there.
    for (text, word) in [
        ("#!/no/such/interpreter\n", "not found"),
        ("#!/bin/sh\necho it lacks a library >&2\nexit 127\n", "it lacks a library"),
    ] {
        refused(world, &right, script(text), &[word]);
    }
    world.sh("host-a", "printf '#!/bin/sh\\necho sparc64\\n' >/tmp/uname; chmod 755 /tmp/uname; mount --bind /tmp/uname /usr/bin/uname");
    let words = ["of the architecture sparc64, this dunlin of", "the same architecture as the bench"];
    refused(world, &right, world.program, &words);
    world.sh("host-a", "umount /usr/bin/uname");
}

/// A login shell says what it likes before it does what it is told; one that is no shell is refused.
fn shells(world: &World) {
    let shell = |text: &str| {
        let script = format!(
            "rm -f /tmp/shell; cat >/tmp/shell <<'END'\n#!/bin/sh\n{text}\nEND\nchmod 755 /tmp/shell; \
             sed 's|^root:.*|root:x:0:0::/run/home/root:/tmp/shell|' /etc/passwd >/tmp/passwd; cat /tmp/passwd >/etc/passwd"
        );
        world.sh("host-a", &script);
    };
    shell("printf 'Welcome!\\n\\033[1mnothing ends this line'; echo a word >&2; exec /bin/sh \"$@\"");
    let testbed = world.connect();
    assert_eq!(said(&*testbed.hosts()[0], "hostname"), "host-a");
    drop(testbed);
    let right = world.inventory(Client::Right);
    shell("echo This account is currently not available.; exit 1");
    refused(world, &right, world.program, &["host-a", "This account is currently not available"]);
    for odd in ["/bin/csh", "/usr/bin/tcsh", "/usr/bin/fish", "/usr/bin/zsh", "/bin/bash"] {
        if Path::new(odd).exists() {
            shell(&format!("exec {odd} \"$@\""));
            drop(world.connect());
        } else {
            println!("there is no {odd}");
        }
    }
}
