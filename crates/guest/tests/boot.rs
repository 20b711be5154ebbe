//! Real guests under QEMU: they boot, do what their agent is asked, and move. Skipped, with the reason, where there is
//! no QEMU or no kernel to be had.

#[path = "support/vm.rs"]
mod vm;

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dunlin_clock::{MILLISECOND_NS, now_ns, sleep_until};
use dunlin_guest::{
    AgentClient, GuestError, Image, Neighbour, Network, build_image, default_cache_dir, fetch_kernel,
};
use dunlin_record::{MemoryWrite, Rate, Workload};

use vm::Vm;

/// Far above what anything here takes, on a machine busy with other tests too.
const LONG: Duration = Duration::from_secs(120);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

fn pause(ms: i64) {
    sleep_until(now_ns() + ms * MILLISECOND_NS);
}

/// The image the tests boot, or why they cannot.
fn image() -> Result<Image, String> {
    static IMAGE: OnceLock<Result<Image, String>> = OnceLock::new();
    let build = || {
        vm::check_qemu()?;
        let cache = default_cache_dir().map_err(|error| error.to_string())?;
        let kernel = fetch_kernel(&cache).map_err(|error| error.to_string())?;
        // That the image cannot be built is no reason to skip.
        Ok(build_image(&kernel, &cache).expect("the image can be built"))
    };
    IMAGE.get_or_init(build).clone()
}

macro_rules! image_or_skip {
    () => {
        match image() {
            Ok(image) => image,
            Err(why) => return dunlin_test_support::skip_vms(why),
        }
    };
}

fn memory_write(working_set_mib: u32, rate_mib_s: Rate) -> Workload {
    Workload::MemoryWrite(MemoryWrite::new(working_set_mib, rate_mib_s))
}

#[test]
fn a_guest_boots_and_answers() {
    let image = image_or_skip!();
    let vm = Vm::start(&image, &[]);
    let started_ns = now_ns();
    let client = AgentClient::new(vm.agent()).unwrap();
    let ready = vm.up(client.identify(LONG));
    eprintln!("booted {} in {} ms", ready.kernel, (now_ns() - started_ns) / MILLISECOND_NS);
    assert_eq!(ready.troubles, Vec::<String>::new());
    assert!(image.kernel.to_string_lossy().contains(&ready.kernel), "{ready:?}");
    for number in 0..50 {
        client.ping(number, LONG).unwrap();
    }
    let memory = client.memory(LONG).unwrap();
    assert_eq!(memory.total_bytes, ready.memory_total_bytes);
    assert!(
        memory.available_bytes <= memory.total_bytes && memory.free_bytes < memory.total_bytes,
        "{memory:?}"
    );
    client.refresh(LONG).unwrap();
    // Another client comes, as after a template is restored.
    drop(client);
    let second = AgentClient::new(vm.agent()).unwrap();
    second.ping(7, LONG).unwrap();
    assert!(vm.console().contains(dunlin_guest::READY_LINE), "{}", vm.console());
}

#[test]
fn a_guest_takes_its_address_by_message_and_echoes_datagrams() {
    let image = image_or_skip!();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let forward = format!("user,id=n,hostfwd=udp:127.0.0.1:{port}-{ADDRESS}:{}", dunlin_guest::UDP_ECHO_PORT);
    let vm = Vm::start(&image, &["-netdev", &forward, "-device", "virtio-net-pci,netdev=n"]);
    let client = AgentClient::new(vm.agent()).unwrap();
    vm.up(client.identify(LONG));
    let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
    probe.connect(("127.0.0.1", port)).unwrap();
    probe.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut answer = [0; 16];
    probe.send(b"before").unwrap();
    assert!(probe.recv(&mut answer).is_err(), "the guest has no such address yet");
    // QEMU's own router; its hardware address is part of its documentation.
    let router = Neighbour { address: Ipv4Addr::new(10, 0, 2, 2), mac: [0x52, 0x55, 10, 0, 2, 2] };
    let network = Network { address: ADDRESS, prefix: 24, neighbours: vec![router] };
    client.configure_network(network.clone(), LONG).unwrap();
    let echoed = (0..20).any(|_| {
        probe.send(b"after").unwrap();
        probe.recv(&mut answer).is_ok_and(|bytes| &answer[..bytes] == b"after")
    });
    assert!(echoed, "{}", vm.console());
    let refused = client.configure_network(Network { prefix: 33, ..network }, LONG).unwrap_err();
    assert!(matches!(&refused, GuestError::Refused { what } if what.contains("/33")), "{refused}");
}

#[test]
fn a_workload_keeps_its_rate_and_finds_its_memory_whole() {
    let image = image_or_skip!();
    let vm = Vm::start(&image, &[]);
    let client = AgentClient::new(vm.agent()).unwrap();
    vm.up(client.identify(LONG));
    let before = client.memory(LONG).unwrap();
    let achieved = |rate: Rate| {
        client.start_workload(0, &memory_write(64, rate), None, LONG).unwrap();
        pause(2000);
        let held = client.memory(LONG).unwrap();
        assert!(held.free_bytes + 40 * 1024 * 1024 < before.free_bytes, "{before:?} {held:?}");
        let achieved = client.stop_workload(0, LONG).unwrap();
        eprintln!("{rate:?}: {achieved:?}");
        assert_eq!(achieved.corrupt_pages, Some(0));
        achieved.rate_mib_s.unwrap()
    };
    let paced = achieved(Rate::MibPerSecond(20.0));
    let full = achieved(Rate::Full);
    assert!((10.0..=21.0).contains(&paced), "{paced} MiB/s instead of 20");
    assert!(full > 3.0 * paced, "{full} MiB/s at full speed, {paced} paced");
    let none = client.stop_workload(0, LONG).unwrap_err();
    assert!(matches!(none, GuestError::Refused { .. }), "{none}");
    client.start_workload(0, &memory_write(1, Rate::Full), None, LONG).unwrap();
    let second = client.start_workload(0, &memory_write(1, Rate::Full), None, LONG).unwrap_err();
    assert!(second.to_string().contains("runs already"), "{second}");
    client.start_workload(1, &memory_write(1, Rate::Full), None, LONG).unwrap();
    client.stop_workload(0, LONG).unwrap();
    client.stop_workload(1, LONG).unwrap();
    let too_much = client.start_workload(0, &memory_write(4096, Rate::Full), None, LONG).unwrap_err();
    assert!(too_much.to_string().contains("available"), "{too_much}");
}

#[test]
fn a_conversation_survives_the_move_of_its_guest() {
    let image = image_or_skip!();
    let source = Vm::start(&image, &[]);
    let client = AgentClient::new(source.agent()).unwrap();
    source.up(client.identify(LONG));
    client.start_workload(0, &memory_write(16, Rate::MibPerSecond(10.0)), None, LONG).unwrap();
    let address = format!("unix:{}", source.path("migration").display());
    let destination = Vm::start(&image, &["-incoming", &address]);
    let stop = AtomicBool::new(false);
    let pinged = std::thread::scope(|scope| {
        // Two at once, so that there is always one under way.
        let askers = [0, 1_000_000].map(|first: u64| {
            let (client, stop) = (&client, &stop);
            scope.spawn(move || {
                let mut number = first;
                while !stop.load(Ordering::Relaxed) {
                    client.ping(number, LONG).unwrap();
                    number += 1;
                }
                number - first
            })
        });
        pause(300);
        source.move_to(&address, LONG);
        client.reattach(destination.agent()).unwrap();
        pause(500);
        stop.store(true, Ordering::Relaxed);
        askers.map(|asker| asker.join().unwrap())
    });
    eprintln!("pings over the move: {pinged:?}");
    assert!(pinged.iter().all(|&count| count > 10), "{pinged:?}");
    drop(source);
    client.ping(1, LONG).unwrap();
    let achieved = client.stop_workload(0, LONG).unwrap();
    eprintln!("{achieved:?}");
    assert_eq!(achieved.corrupt_pages, Some(0));
    assert!(achieved.rate_mib_s > Some(0.0));
}

#[test]
fn a_template_saved_in_mid_conversation_follows_a_new_client() {
    let image = image_or_skip!();
    let saved = tempfile::NamedTempFile::new().unwrap();
    let first = Vm::start(&image, &[]);
    let client = AgentClient::new(first.agent()).unwrap();
    first.up(client.identify(LONG));
    client.start_workload(0, &memory_write(16, Rate::Full), None, LONG).unwrap();
    std::thread::scope(|scope| {
        let asker =
            scope.spawn(|| (0..).find(|&number| client.ping(number, Duration::from_secs(5)).is_err()));
        pause(100);
        first.save_to(saved.path(), LONG);
        assert!(asker.join().unwrap() > Some(1), "there was a conversation");
    });
    drop((client, first));
    for _ in 0..2 {
        let restored_ns = now_ns();
        let second = Vm::start(&image, &["-incoming", &format!("exec:cat {}", saved.path().display())]);
        let client = AgentClient::new(second.agent()).unwrap();
        second.resume(LONG);
        second.up(client.refresh(LONG));
        eprintln!("restored in {} ms", (now_ns() - restored_ns) / MILLISECOND_NS);
        let achieved = client.stop_workload(0, LONG).unwrap();
        assert_eq!(achieved.corrupt_pages, Some(0));
        client.start_workload(0, &memory_write(16, Rate::Full), None, LONG).unwrap();
    }
}

#[test]
fn a_client_may_leave_the_port_and_come_back_any_number_of_times() {
    let image = image_or_skip!();
    let vm = Vm::start(&image, &[]);
    let client = AgentClient::new(vm.agent()).unwrap();
    vm.up(client.identify(LONG));
    for number in 0..50 {
        client.reattach(vm.agent()).unwrap();
        client.ping(number, LONG).unwrap();
    }
}
