//! Real servers of storage, real clients of QEMU's, and outages of each kind in between.

mod outages;

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_record::{ImageFormat, Link, Links, StorageServer, in_one_line};
use dunlin_test_support::NOT_PERMITTED;
use dunlin_testbed::{
    DiskPlace, Host, ImageFolder, Inside, Lab, LabHost, LabSpec, Leases, NamelessFile, Network,
    StorageService, Testbed, TestbedError,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::roles::{round_trip_ms, say_ready, sh, up};
use super::traces::Traces;
use super::{Actor, GONE_LIMIT};
pub(crate) use outages::{an_outage, outages, tally};

const LIMIT: Duration = Duration::from_secs(80);
/// An image's size.
const IMAGE: u64 = 10 << 30;
/// The room of a folder of images.
const ROOM: u64 = 64 << 30;
/// How long an NBD client goes on trying.
const RECONNECT_S: u32 = 60;

/// A lab with storage, and a server of a kind.
struct World {
    // In the order in which they are to end.
    service: StorageService,
    _folder: ImageFolder,
    lab: Lab,
}

impl World {
    fn of(inside: &Inside, role: &str) -> Self {
        let kind = [StorageServer::Nfs, StorageServer::Iscsi, StorageServer::Nbd];
        let kind = kind.into_iter().find(|kind| role.ends_with(kind.name())).unwrap();
        let lab = lab(inside);
        let host = storage_host(&lab);
        let folder = permitted(host.image_folder(&std::env::temp_dir(), ROOM));
        let at = host.address(Network::Storage).unwrap();
        let service = permitted(StorageService::start(&host, kind, at, folder.path()));
        Self { service, _folder: folder, lab }
    }

    /// A new image, served.
    fn image(&self, format: ImageFormat, name: &str) -> Image {
        let path = self.service.folder().join(format!("{name}.{}", format.name()));
        let size = IMAGE.to_string();
        let args = ["create", "-q", "-f", format.name()].map(OsString::from).into_iter();
        let args: Vec<OsString> = args.chain([path.clone().into(), size.into()]).collect();
        let made = self.service.host().run(Path::new("qemu-img"), &args, LIMIT).unwrap();
        assert!(made.success, "{made:?}");
        let place = self.service.export(&path, format, name).unwrap();
        Image { format, path, place, reconnect_s: RECONNECT_S }
    }

    fn hosts(&self) -> [&Arc<LabHost>; 2] {
        let [a, b] = self.lab.hosts() else { panic!("two hosts") };
        [a, b]
    }
}

struct Image {
    format: ImageFormat,
    path: PathBuf,
    place: DiskPlace,
    reconnect_s: u32,
}

impl Image {
    /// As QEMU's programs open it.
    fn json(&self) -> OsString {
        let file = match &self.place {
            DiskPlace::File(path) => json!({ "driver": "file", "filename": path }),
            DiskPlace::Nfs { server, path } => {
                json!({ "driver": "nfs", "server": { "type": "inet", "host": server }, "path": path })
            }
            DiskPlace::Iscsi { portal, target, lun } => json!({
                "driver": "iscsi", "transport": "tcp", "portal": portal, "target": target, "lun": lun,
                "initiator-name": "iqn.2026-11.dunlin:client",
            }),
            DiskPlace::Nbd { server, export } => json!({
                "driver": "nbd", "export": export, "reconnect-delay": self.reconnect_s,
                "server": { "type": "inet", "host": server.ip(), "port": server.port().to_string() },
            }),
        };
        let whole: Value = json!({ "driver": self.format.name(), "file": file });
        format!("json:{whole}").into()
    }

    /// Has qemu-io carry out commands on it, on a host.
    fn io(&self, host: &LabHost, commands: &[String]) -> Result<String, String> {
        let output = host.run(Path::new("qemu-io"), &self.words(commands), LIMIT).unwrap();
        let said =
            [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        let lacks = ["Unknown protocol", "Unknown driver", "was not found", "block driver"];
        if lacks.iter().any(|word| said.contains(word)) {
            lack(&format!("qemu-io cannot open it (Debian: qemu-block-extra of QEMU's own suite): {said}"));
        }
        if output.success && !said.contains("failed") { Ok(said) } else { Err(said) }
    }

    fn words(&self, commands: &[String]) -> Vec<OsString> {
        let commands = commands.iter().flat_map(|command| ["-c".into(), OsString::from(command)]);
        commands.chain([self.json()]).collect()
    }
}

fn lab(inside: &Inside) -> Lab {
    let links = Links { storage: Link { rate_mbit: Some(2000.0), delay_ms: 0.0 }, ..Links::default() };
    up(inside, &LabSpec { storage: true, ..LabSpec::new(links) })
}

fn storage_host(lab: &Lab) -> Arc<dyn Host> {
    Testbed::storage_host(lab).unwrap()
}

/// What this machine lacks is no failure.
fn permitted<T>(done: Result<T, TestbedError>) -> T {
    match done {
        Ok(done) => done,
        Err(error @ (TestbedError::NotPermitted { .. } | TestbedError::Unsupported { .. })) => {
            lack(&error.to_string())
        }
        Err(error) => panic!("{error}"),
    }
}

fn lack(what: &str) -> ! {
    println!("{what}");
    std::process::exit(NOT_PERMITTED)
}

/// Bytes that a host has received and sent over a network.
fn counted(host: &LabHost, network: Network) -> u64 {
    let device = Host::interface(host, network).unwrap();
    let text = host.inside(|| Ok(fs::read_to_string("/proc/thread-self/net/dev").unwrap())).unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{device}:"))).unwrap();
    let fields: Vec<u64> = line.split_whitespace().map(|field| field.parse().unwrap()).collect();
    fields[0] + fields[8]
}

pub(crate) fn network(inside: &Inside) {
    let plain = up(inside, &LabSpec::new(Links::default()));
    assert!(plain.storage_host().is_none());
    let host = &plain.hosts()[0];
    assert!(
        Host::address(&**host, Network::Storage).is_none()
            && Host::interface(&**host, Network::Storage).is_none()
    );
    assert!(plain.switch_port(host.id(), Network::Storage).is_none());
    drop(plain);

    let slow = Links { storage: Link { rate_mbit: None, delay_ms: 5.0 }, ..Links::default() };
    let slow = up(inside, &LabSpec { storage: true, ..LabSpec::new(slow) });
    let [a, b] = slow.hosts() else { panic!("two hosts") };
    let delayed = round_trip_ms(a, slow.storage_host().unwrap(), Network::Storage);
    let direct = round_trip_ms(a, b, Network::Migration);
    println!("two links of 5 ms: round trip of {delayed:.2} ms; the migration network's: {direct:.2} ms");
    assert!(delayed >= 20.0 && direct < delayed / 2.0, "{delayed} {direct}");
    drop(slow);

    let lab = lab(inside);
    let storage = lab.storage_host().unwrap();
    assert_eq!(lab.hosts().len(), 2, "it is none of the hosts");
    assert_eq!(Testbed::hosts(&lab).len(), 2);
    assert_eq!(Host::address(&**storage, Network::Storage), Some([10, 80, 0, 3].into()));
    for network in Network::USUAL {
        assert!(
            Host::address(&**storage, network).is_none() && Host::interface(&**storage, network).is_none()
        );
        assert!(lab.switch_port(storage.id(), network).is_none());
    }
    assert!(storage.taps().is_none(), "it has no VMs");
    assert!(Testbed::bench_address(&lab, Network::Storage).is_none());
    assert!(
        lab.bench_interface(Network::Storage).is_none()
            && Testbed::bench_mac(&lab, Network::Storage).is_none()
    );
    assert_eq!(lab.switch_port(storage.id(), Network::Storage).unwrap(), "3-storage");
    // Its devices: no way leads from there to where VMs are reached or migrations travel.
    let devices = sh(storage, "ls /sys/class/net");
    assert_eq!(devices.split_whitespace().collect::<Vec<_>>(), ["lo", "storage"]);
    let a = &lab.hosts()[0];
    assert_eq!(Host::interface(&**a, Network::Storage), Some("storage"));
    assert!(lab.fingerprints()[0].hosts.contains("storage"));
    // Whether there is a folder for images is root's and the kernel's matter; where there is none, it is said how to mend that.
    match Host::image_folder(&**storage, &std::env::temp_dir(), ROOM) {
        Ok(folder) => assert!(sh(storage, &format!("df {}", folder.path().display())).contains("/dev/loop")),
        Err(error) => {
            assert!(matches!(error, TestbedError::NotPermitted { .. }), "{error}");
            println!("{error}");
        }
    }
    let before = Network::ALL.map(|network| counted(a, network));
    let reach = "exec 3<>/dev/tcp/10.80.0.3/1; exit 0";
    let _ = a.run(Path::new("bash"), &["-c".into(), reach.into()], LIMIT).unwrap();
    let after = Network::ALL.map(|network| counted(a, network));
    assert!(after[2] > before[2], "{before:?} {after:?}");
}

/// What one host writes another reads, raw and qcow2, and all of it goes over the storage network.
pub(crate) fn serves(inside: &Inside, role: &str) {
    let world = World::of(inside, role);
    let [a, b] = world.hosts();
    for format in [ImageFormat::Raw, ImageFormat::Qcow2] {
        let image = world.image(format, &format!("disk-{}", format.name()));
        let before = [Network::Storage, Network::Migration].map(|network| counted(a, network));
        let write = ["write -P 7 0 8M", "write -P 8 9G 8M", "write -z 64M 1M", "flush"].map(str::to_owned);
        image.io(a, &write).unwrap();
        let after = [Network::Storage, Network::Migration].map(|network| counted(a, network));
        assert!(after[0] - before[0] > 16 << 20, "{before:?} {after:?}");
        assert!(after[1] - before[1] < 1 << 20, "{before:?} {after:?}");
        let read = ["read -P 7 0 8M", "read -P 8 9G 8M", "read -P 0 32M 64M"].map(str::to_owned);
        let said = image.io(b, &read).unwrap();
        assert!(!said.contains("Pattern verification failed"), "{said}");
        // A reader that is to find something else does not.
        let wrong = image.io(b, &["read -P 9 0 8M".into()]);
        assert!(wrong.is_err(), "{wrong:?}");
        let took =
            sh(world.lab.storage_host().unwrap(), &format!("du -k {} | cut -f1", image.path.display()));
        let took: u64 = took.parse().unwrap();
        println!("{} over {}: {took} KiB of {IMAGE} bytes", format.name(), world.service.kind().name());
        assert!((16 << 10..64 << 10).contains(&took), "{took} KiB");
        if format == ImageFormat::Qcow2 {
            whole_qcow2(&image, a, b);
        }
        nobody_else_writes(&world, &image);
        world.service.withdraw(&format!("disk-{}", format.name())).unwrap();
        if world.service.kind() != StorageServer::Nfs {
            let gone = image.io(b, &["read 0 4k".into()]);
            assert!(gone.is_err(), "{gone:?}");
        }
    }
    made_anew(&world);
}

/// An image that is replaced by another of its name, on the host itself: nobody finds the old one.
fn made_anew(world: &World) {
    let [a, b] = world.hosts();
    let storage = world.lab.storage_host().unwrap();
    for pattern in [1, 2] {
        let image = world.image(ImageFormat::Raw, "again");
        image.io(a, &["read -P 0 0 64k".into(), format!("write -P {pattern} 0 64k")]).unwrap();
        image.io(b, &[format!("read -P {pattern} 0 64k")]).unwrap();
        sh(storage, &format!("truncate -s 1M {}", image.path.display()));
        if world.service.kind() == StorageServer::Nfs {
            let past_its_end = image.io(b, &["read 2M 64k".into()]);
            assert!(past_its_end.is_err(), "{past_its_end:?}");
        }
        world.service.withdraw("again").unwrap();
        sh(storage, &format!("rm {}", image.path.display()));
    }
}

/// A qcow2 image grows while it is written, also where its file cannot.
fn whole_qcow2(image: &Image, a: &LabHost, b: &LabHost) {
    let places = (0..40).map(|number| format!("{}M", 100 + number * 200));
    let write: Vec<String> = places.clone().map(|place| format!("write -P 5 {place} 512k")).collect();
    image.io(a, &write).unwrap();
    let read: Vec<String> = places.map(|place| format!("read -P 5 {place} 512k")).collect();
    image.io(b, &read).unwrap();
}

/// Without a lease two write at once, as the protocol has no locks; with leases the second is refused.
fn nobody_else_writes(world: &World, image: &Image) {
    let [a, b] = world.hosts();
    let errors = a.scratch().join("holder.err");
    let (mut first, mut stream) = a.converse(Path::new("qemu-io"), &image.words(&[]), &errors).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut first_writes = || {
        stream.write_all(b"write -P 1 1G 4k\n").unwrap();
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains("wrote 4096/4096") {
            let mut some = [0; 512];
            let length = stream.read(&mut some).unwrap();
            assert!(length > 0, "it has ended: {}", String::from_utf8_lossy(&said));
            said.extend(&some[..length]);
        }
    };
    first_writes();
    let second = image.io(b, &["write -P 2 1G 4k".into()]);
    first_writes();
    drop(stream);
    let first = first.wait(Deadline::after(LIMIT)).unwrap();
    println!("a second writer, without a lease: {}", second.as_ref().map_or("refused", |_| "not refused"));
    assert_eq!(first.as_deref(), Some("exit status 0"));
    assert!(second.is_ok(), "the protocol itself refuses it: {second:?}");

    let leases = Leases::on(world.service.host());
    let _lease = leases.take(&image.path, "vm0").unwrap();
    let refused = leases.take(&image.path, "vm1").unwrap_err();
    assert!(matches!(&refused, TestbedError::ImageTaken { holder, .. } if holder == "vm0"), "{refused}");
}

/// A host to which a VM moves serves its own images to where the VM still runs, over the migration network.
pub(crate) fn destination(inside: &Inside) {
    let lab = lab(inside);
    let [a, b] = lab.hosts() else { panic!("two hosts") };
    let host = Arc::<LabHost>::clone(b) as Arc<dyn Host>;
    let folder = permitted(host.image_folder(&std::env::temp_dir(), ROOM));
    let at = host.address(Network::Migration).unwrap();
    let service = permitted(StorageService::start(&host, StorageServer::Nbd, at, folder.path()));
    let path = folder.path().join("disk.raw");
    fs::File::create(&path).unwrap().set_len(IMAGE).unwrap();
    let place = service.export(&path, ImageFormat::Raw, "disk").unwrap();
    let image = Image { format: ImageFormat::Raw, path: path.clone(), place, reconnect_s: 0 };
    let before = counted(a, Network::Migration);
    image.io(a, &["write -P 3 5G 4M".into()]).unwrap();
    assert!(counted(a, Network::Migration) - before > 4 << 20);
    // What nobody waits for is told, and the next one finds the server there again.
    service.kill();
    assert!(image.io(a, &["read -P 3 5G 4M".into()]).is_err());
    service.restart().unwrap();
    image.io(a, &["read -P 3 5G 4M".into()]).unwrap();
    // The one on the storage host has the same port, elsewhere.
    let storage = storage_host(&lab);
    let others = permitted(storage.image_folder(&std::env::temp_dir(), ROOM));
    let at = storage.address(Network::Storage).unwrap();
    for kind in [StorageServer::Nbd, StorageServer::Iscsi, StorageServer::Nfs] {
        let other = StorageService::start(&storage, kind, at, others.path());
        println!("{} beside it: {}", kind.name(), permitted(other).is_alive());
    }
    drop(service);
    // Neither does an image need a name, on a host that sees our processes.
    let nameless = NamelessFile::make_in(&std::env::temp_dir()).unwrap();
    nameless.resize(IMAGE).unwrap();
    let its_folder = nameless.path().parent().unwrap().to_owned();
    let at = host.address(Network::Migration).unwrap();
    let service = permitted(StorageService::start(&host, StorageServer::Nbd, at, &its_folder));
    let place = service.export(&nameless.path(), ImageFormat::Raw, "nameless").unwrap();
    let image = Image { format: ImageFormat::Raw, path: nameless.path(), place, reconnect_s: 0 };
    image.io(a, &["write -P 3 5G 4M".into(), "flush".into()]).unwrap();
    assert!((4 << 20..8 << 20).contains(&nameless.allocated_bytes().unwrap()));
    drop(service);
    drop(folder);
    assert!(!path.exists(), "the folder goes with what stands for it");
}

pub(crate) fn refusals(inside: &Inside) {
    let lab = lab(inside);
    let host = storage_host(&lab);
    let at = host.address(Network::Storage).unwrap();
    let folder = permitted(host.image_folder(&std::env::temp_dir(), ROOM));
    let refused = |kind, host: &Arc<dyn Host>, folder: &Path| {
        let error = StorageService::start(host, kind, at, folder).unwrap_err();
        assert!(matches!(error, TestbedError::Unsupported { .. }), "{error}");
        in_one_line(&error)
    };
    assert!(refused(StorageServer::Folder, &host, folder.path()).contains("without one"));
    refused(StorageServer::Nbd, &host, Path::new("/images; }"));
    let shared = Testbed::hosts(&lab).remove(0);
    for kind in [StorageServer::Nfs, StorageServer::Iscsi] {
        assert!(refused(kind, &shared, folder.path()).contains("leave traces"));
    }

    let nowhere = StorageService::start(&host, StorageServer::Nbd, [192, 0, 2, 1].into(), folder.path());
    let nowhere = in_one_line(&nowhere.unwrap_err());
    assert!(nowhere.contains("qemu-storage-daemon has ended") && nowhere.contains("192.0.2.1"), "{nowhere}");
    let service = permitted(StorageService::start(&host, StorageServer::Nbd, at, folder.path()));
    let image = folder.path().join("a.raw");
    let absent = in_one_line(&service.export(&image, ImageFormat::Raw, "a").unwrap_err());
    assert!(absent.contains("No such file"), "{absent}");
    sh(lab.storage_host().unwrap(), &format!("truncate -s 1M {}; mkfifo {0}.pipe", image.display()));
    let pipe = image.with_extension("raw.pipe");
    let no_file = in_one_line(&service.export(&pipe, ImageFormat::Raw, "a").unwrap_err());
    assert!(no_file.contains("is no file but a fifo"), "{no_file}");
    for name in ["", "a b", "-a", "A"] {
        assert!(service.export(&image, ImageFormat::Raw, name).is_err(), "{name}");
    }
    assert!(service.export(Path::new("/etc/passwd"), ImageFormat::Raw, "a").is_err());
    let damaged = in_one_line(&service.export(&image, ImageFormat::Qcow2, "a").unwrap_err());
    assert!(damaged.contains("not in qcow2 format"), "{damaged}");
    service.export(&image, ImageFormat::Raw, "a").unwrap();
    let again = in_one_line(&service.export(&image, ImageFormat::Raw, "a").unwrap_err());
    assert!(again.contains("has an export a already"), "{again}");
    // Nor does a server of the same kind come up at the same place.
    let second =
        in_one_line(&StorageService::start(&host, StorageServer::Nbd, at, folder.path()).unwrap_err());
    assert!(second.contains("Address already in use"), "{second}");
    service.withdraw("a").unwrap();
    service.withdraw("a").unwrap();
    service.export(&image, ImageFormat::Raw, "a").unwrap();
    service.kill();
    let dead = in_one_line(&service.export(&image, ImageFormat::Raw, "b").unwrap_err());
    assert!(dead.contains("signal 9"), "{dead}");
}

pub(crate) fn leases(inside: &Inside) {
    let lab = lab(inside);
    let host = storage_host(&lab);
    let folder = permitted(host.image_folder(&std::env::temp_dir(), 1 << 30));
    let storage = lab.storage_host().unwrap();
    let image = folder.path().join("a.raw");
    let ls = || sh(storage, &format!("ls {}", folder.path().display()));
    sh(storage, &format!("touch {}; ln -s a.raw {}", image.display(), folder.path().join("link").display()));

    let leases = Leases::on(&host);
    let absent = leases.take(&folder.path().join("none"), "vm0").unwrap_err();
    assert!(in_one_line(&absent).contains("No such file"), "{absent}");
    for owner in ["", " ", "vm0\nvm1", " vm0"] {
        leases.take(&image, owner).unwrap_err();
    }
    assert_eq!(ls(), "a.raw\nlink", "nothing is left of what was refused");
    let source = leases.take(&image, "vm0").unwrap();
    let destination = leases.take(&folder.path().join("link"), "vm0").unwrap();
    assert_eq!((destination.image(), destination.owner()), (&*image, "vm0"));
    // Another bench, or a part of this one that does not know of the first.
    for others in [&leases, &Leases::on(&host)] {
        let error = others.take(&image, "vm1").unwrap_err();
        let TestbedError::ImageTaken { image: which, holder, wanted_by, lease } = &error else {
            panic!("{error}")
        };
        assert_eq!(
            (which, holder.as_str(), wanted_by.as_str()),
            (&image.display().to_string(), "vm0", "vm1")
        );
        assert!(error.to_string().contains(lease), "{error}");
    }
    drop(source);
    leases.take(&image, "vm1").unwrap_err();
    drop(destination);
    assert_eq!(ls(), "a.raw\nlink");
    let other = Leases::on(&host).take(&image, "vm1").unwrap();
    let error = leases.take(&image, "vm0").unwrap_err();
    assert!(matches!(&error, TestbedError::ImageTaken { holder, .. } if holder == "vm1"), "{error}");
    drop(other);
    // Of many at once one has it.
    let won = std::thread::scope(|scope| {
        let take = |number: u32| {
            let host = &host;
            let image = &image;
            scope.spawn(move || Leases::on(host).take(image, &format!("vm{number}")))
        };
        let all: Vec<_> = (0..8).map(take).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(won.iter().filter(|one| one.is_ok()).count(), 1, "{won:?}");
}

/// Stays until killed, with images that are served, written and leased.
pub(crate) fn stay(inside: &Inside) {
    let on = std::env::args().nth(3).unwrap();
    let lab = lab(inside);
    let host = storage_host(&lab);
    let folder = permitted(host.image_folder(Path::new(&on), ROOM));
    let here = permitted(Testbed::hosts(&lab).remove(0).image_folder(Path::new(&on), ROOM));
    let at = host.address(Network::Storage).unwrap();
    let mut services = Vec::new();
    for kind in [StorageServer::Nbd, StorageServer::Iscsi, StorageServer::Nfs] {
        // Those there are: what is to be shown takes one.
        services.extend(StorageService::start(&host, kind, at, folder.path()).ok());
    }
    let image = folder.path().join("disk.raw");
    sh(lab.storage_host().unwrap(), &format!("head -c 8M /dev/urandom >{}; sync", image.display()));
    fs::write(here.path().join("disk.raw"), vec![1; 8 << 20]).unwrap();
    for service in &services {
        service.export(&image, ImageFormat::Raw, "disk").unwrap();
    }
    let _lease = Leases::on(&host).take(&image, "vm0").unwrap();
    say_ready(&lab);
    std::thread::sleep(Duration::from_secs(600));
}

/// Neither a file nor a mount nor a loop device, nor the room they took.
pub(crate) fn nothing_remains(test: &str) {
    for victim in [super::Victim::Outer, super::Victim::Inner] {
        let on = tempfile::tempdir().unwrap();
        let mut lab = Actor::start_with("stay-storage", &[on.path().to_str().unwrap()]);
        let Some(facts) = lab.ready(test) else { return };
        let traces = Traces::new(&facts);
        let found = traces.find();
        let devices = devices_on(on.path());
        println!("    while it lives: {found:?} {devices:?}");
        assert_eq!(devices.len(), 2, "one for each folder: {devices:?}");
        assert_eq!(fs::read_dir(on.path()).unwrap().count(), 0, "nothing has a name there, ever");
        match victim {
            super::Victim::Outer => lab.signal(Signal::SIGKILL),
            super::Victim::Inner => {
                nix::sys::signal::kill(found.inner(&lab.name()).unwrap(), Signal::SIGKILL).unwrap();
            }
        }
        lab.end(test);
        let deadline = Deadline::after(GONE_LIMIT);
        while !(traces.find().is_empty() && devices_on(on.path()).is_empty()) {
            assert!(!deadline.passed(), "still there: {:?} {:?}", traces.find(), devices_on(on.path()));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(fs::read_dir(on.path()).unwrap().count(), 0);
    }
}

/// Loop devices whose files lie, or lay, in a folder.
fn devices_on(folder: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").unwrap().flatten();
    let file = |device: fs::DirEntry| fs::read_to_string(device.path().join("loop/backing_file")).ok();
    devices.filter_map(file).filter(|file| file.starts_with(folder.to_str().unwrap())).collect()
}
