//! Names that a shell would take for something else.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dunlin_testbed::{Inside, Launch, Testbed};

use super::{LIMIT, World, launch};

const NAMES: [&[u8]; 14] = [
    b"a b",
    b"it's",
    b"\"quoted\"",
    b"$(touch canary)",
    b"`touch canary`",
    b"'; touch canary; '",
    b"new\nline; touch canary",
    b"-n",
    b"--help",
    b"*",
    b"\\",
    "\u{fc}n\u{ef}-\u{1f986}".as_bytes(),
    b"not \xff\xfe unicode",
    b"${HOME}!!#~",
];
const LISTENER: &str = "import socket,sys,os;s=socket.socket(socket.AF_UNIX);s.bind(os.fsencode(sys.argv[1]));s.listen();s.accept()[0].send(b'hi')";

/// They arrive as they are, wherever they go, and nobody takes them for orders.
pub(crate) fn names(inside: &Inside) {
    let world = World::up(inside, Vec::new());
    let testbed = world.connect();
    let first = testbed.hosts().remove(0);
    let host = &*first;
    let local = tempfile::tempdir().unwrap();
    let there = Path::new("/tmp/odd");
    world.sh("host-a", "mkdir /tmp/odd");
    let all: Vec<_> = NAMES.iter().map(|name| OsStr::from_bytes(name).to_owned()).collect();
    let outbox = host.outbox(local.path()).unwrap();
    for name in &all {
        let script = local.path().join("script");
        fs::write(&script, "#!/bin/sh\nprintf '%s\\0' \"$@\"\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let program = there.join(name);
        host.copy_to(&script, &program).unwrap();
        assert_eq!(host.read(&program).unwrap(), fs::read(&script).unwrap(), "{name:?}");
        let output = host.run(&program, &all, LIMIT).unwrap();
        assert_eq!(output.stdout, [all.join(OsStr::new("\0")).as_bytes(), b"\0"].concat(), "{name:?}");

        let mut process = host
            .launch(Launch {
                program: program.clone(),
                args: vec![name.clone()],
                stdout: outbox.join(name),
                stderr: "/dev/null".into(),
            })
            .unwrap();
        assert_eq!(
            process.wait(dunlin_clock::Deadline::after(LIMIT)).unwrap().as_deref(),
            Some("exit status 0")
        );

        let socket = there.join([name.as_os_str(), OsStr::new(".sock")].join(OsStr::new("")));
        let mut listener = launch("python3", &["-c", LISTENER]);
        listener.args.push(socket.clone().into());
        let _listener = host.launch(listener).unwrap();
        let mut hi = [0; 2];
        host.dial(&socket, LIMIT).unwrap().read_exact(&mut hi).unwrap();
        assert_eq!(&hi, b"hi", "{name:?}");

        let private = there.join("private").join(name);
        host.write_private(&private, name.as_bytes()).unwrap();
        assert_eq!(host.read(&private).unwrap(), name.as_bytes());
        host.remove(&private).unwrap();
    }
    host.collect(local.path()).unwrap();
    for name in &all {
        let told = fs::read(local.path().join(name)).unwrap();
        assert_eq!(told, [name.as_bytes(), b"\0"].concat(), "{name:?}");
    }
    let count = "find /tmp/odd -maxdepth 1 -type f | tr -cd / | wc -c; find /tmp /run /var/tmp -name canary";
    assert_eq!(world.sh("host-a", count), (3 * all.len()).to_string(), "no canary, and no file more");
    assert!(!Path::new("canary").exists());
}
