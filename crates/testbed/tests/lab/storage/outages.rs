//! A server of storage killed, frozen and cut off while a client writes: nothing is lost.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dunlin_clock::{Deadline, now_ns};
use dunlin_record::ImageFormat;
use dunlin_testbed::{Host, Inside, LabHost, Launch, Network, Process, Testbed, TestbedError};

use super::{Image, LIMIT, World, counted};
use crate::ends_well;

fn launch(program: &str, args: Vec<OsString>, output: &Path) -> Launch {
    Launch { program: program.into(), args, stdout: output.into(), stderr: output.with_extension("err") }
}

/// A client that writes all the while.
struct Writer<'a> {
    image: &'a Image,
    host: &'a LabHost,
    process: Process,
    blocks: Vec<(u64, u8)>,
    output: PathBuf,
    begun_ns: i64,
}

impl<'a> Writer<'a> {
    /// Starts to write blocks of 64 KiB, and waits until some have left.
    fn start(image: &'a Image, host: &'a LabHost, round: u8, pause_ms: u64) -> Self {
        let block = |number: u64| (number * (1 << 16), (number as u8).wrapping_add(round).max(1));
        let blocks: Vec<(u64, u8)> = (0..60).map(block).collect();
        let mut commands = Vec::new();
        for (place, pattern) in &blocks {
            commands.extend([format!("write -P {pattern} {place} 64k"), format!("sleep {pause_ms}")]);
        }
        commands.push("flush".into());
        let before = counted(host, Network::Storage);
        let output = host.scratch().join("writer");
        let process = host.launch(launch("qemu-io", image.words(&commands), &output)).unwrap();
        let writer = Self { image, host, process, blocks, output, begun_ns: now_ns() };
        let deadline = Deadline::after(LIMIT);
        while counted(host, Network::Storage) < before + (300 << 10) {
            assert!(!deadline.passed(), "it does not write");
            std::thread::sleep(Duration::from_millis(5));
        }
        writer
    }

    /// Breaks something meanwhile, for a while.
    fn meanwhile(&mut self, outage: Duration, begin: impl FnOnce(), end: impl FnOnce()) {
        begin();
        std::thread::sleep(outage);
        let is_at_it = self.process.try_wait().unwrap().is_none();
        end();
        assert!(is_at_it, "it has ended during the outage: {}", self.said());
    }

    fn said(&self) -> String {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        read(&self.output.with_extension("err")) + &read(&self.output)
    }

    /// Waits for its end: no write failed, and another host reads all of it.
    fn verify(mut self, reader: &LabHost, what: &str) {
        let how = self.process.wait(Deadline::after(Duration::from_secs(85))).unwrap();
        let took_s = (now_ns() - self.begun_ns) as f64 / 1e9;
        let said = self.said();
        assert_eq!(how.as_deref(), Some("exit status 0"), "{what}: {said}");
        assert!(!said.contains("failed") && !said.contains("rror"), "{what}: {said}");
        let written = said.lines().filter(|line| line.starts_with("wrote 65536/65536")).count();
        assert_eq!(written, self.blocks.len(), "{what}: {said}");
        let read = self.blocks.iter().map(|(place, pattern)| format!("read -P {pattern} {place} 64k"));
        self.image.io(reader, &read.collect::<Vec<_>>()).unwrap();
        println!("{what}: all written and read again after {took_s:.1} s");
        let _ = self.host.remove(&self.output);
    }
}

/// The server killed, frozen and cut off, each for a moment, while a client writes.
pub(crate) fn outages(inside: &Inside, role: &str) {
    let world = World::of(inside, role);
    let [a, b] = world.hosts();
    let image = world.image(ImageFormat::Raw, "disk");
    let service = &world.service;
    let outage = Duration::from_millis(1000);

    // 60 blocks at 25 ms: it cannot be done before the outage ends.
    let mut writer = Writer::start(&image, a, 1, 25);
    let kill = || {
        service.kill();
        assert!(!service.is_alive());
        let how = service.check().unwrap_err();
        assert!(matches!(how, TestbedError::StorageServer { .. }), "{how}");
        assert!(how.to_string().contains("signal 9"), "{how}");
    };
    writer.meanwhile(outage, kill, || service.restart().unwrap());
    writer.verify(b, &format!("{} killed for {outage:?}", service.kind().name()));
    service.check().unwrap();

    let mut writer = Writer::start(&image, a, 2, 25);
    writer.meanwhile(outage, || service.freeze().unwrap(), || service.thaw().unwrap());
    writer.verify(b, &format!("{} frozen for {outage:?}", service.kind().name()));

    let mut writer = Writer::start(&image, a, 3, 25);
    let port = world.lab.switch_port(a.id(), Network::Storage).unwrap();
    writer.meanwhile(outage, || link(&port, "down"), || link(&port, "up"));
    writer.verify(b, &format!("{} cut off for {outage:?}", service.kind().name()));
}

/// The same for as long as real outages take.
pub(crate) fn tally(inside: &Inside, role: &str) {
    let world = World::of(inside, role);
    let [a, b] = world.hosts();
    let image = world.image(ImageFormat::Qcow2, "disk");
    let service = &world.service;
    for (round, outage) in (1..).zip([10, 40].map(Duration::from_secs)) {
        // It cannot be done before the server is gone.
        let mut writer = Writer::start(&image, a, round, 50);
        writer.meanwhile(outage, || service.kill(), || service.restart().unwrap());
        writer.verify(b, &format!("{} killed for {outage:?}", service.kind().name()));
    }
}

fn link(port: &str, state: &str) {
    let status = Command::new("ip").args(["-n", "switch", "link", "set", port, state]).status().unwrap();
    assert!(status.success());
}

/// Short ones, and with `DUNLIN_LONG=1` such as take a minute.
pub(crate) fn an_outage(test: &str, kind: &str) {
    ends_well(test, &format!("storage-outages-{kind}"));
    if std::env::var_os("DUNLIN_LONG").is_some_and(|value| value == "1") {
        ends_well(test, &format!("storage-tally-{kind}"));
    }
}
