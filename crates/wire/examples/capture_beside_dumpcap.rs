//! Captures the same traffic with dumpcap and with our own capture, in turns and at rising rates: what each loses, and
//! what CPU time it takes. Run by `script/bench-capture`, as root.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::error::Error;
use std::io::{BufRead, BufReader, IoSlice, Read};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dunlin_clock::{Cancel, SECOND_NS, now_ns, sleep_until};
use dunlin_wire::{CaptureSpec, Filter, capture};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Packets a second; the last is more than one core of most machines sends.
const RATES: [i64; 6] = [50_000, 100_000, 200_000, 400_000, 800_000, 1_600_000];
/// At each rate.
const FLOOD_NS: i64 = 2 * SECOND_NS;
/// Each rate is tried so often with each; what counts is the sum.
const TURNS: usize = 3;
const SNAP_BYTES: u32 = 128;
/// As long as a bare acknowledgement's, below IP and UDP: what hurts is their number.
const PAYLOAD: [u8; 24] = [0; 24];
const BATCH: usize = 64;
/// As large as our ring.
const DUMPCAP_BUFFER_MIB: &str = "64";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["capture", file] => capture_until_told(Path::new(file)),
        [folder] => compare(Path::new(folder)),
        _ => Err("usage: capture_beside_dumpcap FOLDER".into()),
    }
}

fn compare(folder: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    for words in [
        "link add near type veth peer name far",
        "address add 10.9.0.1/24 dev near",
        "link set near up",
        "link set far up",
        "neighbour replace 10.9.0.2 lladdr 02:00:00:00:00:02 dev near",
    ] {
        if !Command::new("ip").args(words.split(' ')).status()?.success() {
            return Err(format!("ip {words} failed").into());
        }
    }
    println!("            dunlin                         dumpcap");
    println!("   asked/s     sent/s  dropped  CPU us/packet    sent/s  dropped  CPU us/packet  ratio of CPU");
    let mut best = [0_i64; 2];
    let mut all = [Tally::default(); 2];
    for rate in RATES {
        let mut tallies = [Tally::default(); 2];
        for turn in 0..2 * TURNS {
            // First one, then the other, so that what else the machine does falls on both alike.
            let who = (turn + turn / 2) % 2;
            tallies[who].add(&measure(WHO[who], rate, folder)?);
        }
        let per_second = tallies.map(|tally| tally.sent * SECOND_NS / tally.wall_ns.max(1));
        let ratio = tallies[0].us_a_packet() / tallies[1].us_a_packet();
        println!(
            "{rate:>10} {:>10} {:>8} {:>14.3} {:>9} {:>8} {:>14.3} {ratio:>13.2}",
            per_second[0],
            tallies[0].dropped,
            tallies[0].us_a_packet(),
            per_second[1],
            tallies[1].dropped,
            tallies[1].us_a_packet(),
        );
        for who in 0..2 {
            all[who].add(&tallies[who]);
            if tallies[who].dropped == 0 {
                best[who] = best[who].max(per_second[who]);
            }
        }
    }
    println!("most packets a second without a drop: dunlin {}, dumpcap {}", best[0], best[1]);
    println!(
        "CPU time of the capturing process, all rates: dunlin {:.1} % of a core, dumpcap {:.1} %: ratio a packet {:.2}",
        all[0].cpu_percent(),
        all[1].cpu_percent(),
        all[0].us_a_packet() / all[1].us_a_packet()
    );
    Ok(())
}

#[derive(Clone, Copy)]
enum Who {
    Dunlin,
    Dumpcap,
}

const WHO: [Who; 2] = [Who::Dunlin, Who::Dumpcap];

/// What capturing came to.
#[derive(Clone, Copy, Default)]
struct Tally {
    sent: i64,
    dropped: i64,
    kept: i64,
    cpu_ns: i64,
    wall_ns: i64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.dropped += other.dropped;
        self.kept += other.kept;
        self.cpu_ns += other.cpu_ns;
        self.wall_ns += other.wall_ns;
    }

    fn us_a_packet(&self) -> f64 {
        self.cpu_ns as f64 / 1e3 / self.kept.max(1) as f64
    }

    fn cpu_percent(&self) -> f64 {
        self.cpu_ns as f64 / self.wall_ns.max(1) as f64 * 100.0
    }
}

/// One capture of one flood, its start and end included.
fn measure(who: Who, rate: i64, folder: &Path) -> Result<Tally> {
    let file = folder.join("capture.pcapng");
    let cpu_before_ns = children_cpu_ns()?;
    let mut command = match who {
        Who::Dunlin => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("capture").arg(&file);
            command
        }
        Who::Dumpcap => {
            let mut command = Command::new("dumpcap");
            command.args(["-q", "-i", "near", "-B", DUMPCAP_BUFFER_MIB, "-s", &SNAP_BYTES.to_string(), "-w"]);
            command.arg(&file);
            command
        }
    };
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(child.stderr.take().ok_or("no standard error")?);
    let flooded = await_ready(&mut said).and_then(|()| flood(rate));
    let told = end(&mut child, &mut said)?;
    let (sent, wall_ns) = flooded?;
    // dumpcap: "Packets received/dropped on interface 'near': 100/2 (…)"; ours says it alike.
    let counts =
        told.rsplit_once("': ").and_then(|(_, rest)| rest.split_whitespace().next()?.split_once('/'));
    let Some((kept, dropped)) = counts else {
        return Err(format!("it did not say its counts: {told}").into());
    };
    let cpu_ns = children_cpu_ns()? - cpu_before_ns;
    Ok(Tally { sent, kept: kept.parse()?, dropped: dropped.parse()?, cpu_ns, wall_ns })
}

/// Both say `File: …` once they capture.
fn await_ready(said: &mut impl BufRead) -> Result<()> {
    let mut line = String::new();
    while !line.starts_with("File:") {
        line.clear();
        if said.read_line(&mut line)? == 0 {
            return Err("it ended before it captured".into());
        }
    }
    Ok(())
}

/// Sends packets at a rate, or as fast as it goes; says how many, and how long it took.
fn flood(rate: i64) -> Result<(i64, i64)> {
    let socket = UdpSocket::bind("10.9.0.1:0")?;
    let to: SocketAddrV4 = "10.9.0.2:9".parse()?;
    let payload = [IoSlice::new(&PAYLOAD)];
    let slices = vec![payload; BATCH];
    let to = vec![Some(SockaddrIn::from(to)); BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let began_ns = now_ns();
    let mut sent = 0;
    while now_ns() < began_ns + FLOOD_NS {
        sent +=
            sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &to, [], MsgFlags::empty())?.count() as i64;
        sleep_until(began_ns + sent * SECOND_NS / rate);
    }
    Ok((sent, now_ns() - began_ns))
}

fn end(child: &mut Child, said: &mut impl Read) -> Result<String> {
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGINT)?;
    let mut told = String::new();
    said.read_to_string(&mut told)?;
    child.wait()?;
    Ok(told.trim_end().to_owned())
}

/// CPU time of all children that have ended.
fn children_cpu_ns() -> Result<i64> {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let ns = |time: TimeVal| time.tv_sec() * SECOND_NS + time.tv_usec() * 1000;
    Ok(ns(used.user_time()) + ns(used.system_time()))
}

/// Our own capture, as a process beside dumpcap's.
fn capture_until_told(file: &Path) -> Result<()> {
    let cancel = Cancel::new();
    signal_hook::flag::register(Signal::SIGINT as i32, cancel.flag())?;
    let spec = CaptureSpec {
        interface: "near".into(),
        description: String::new(),
        filter: Filter::default(),
        snap_bytes: SNAP_BYTES,
    };
    let capture = capture(&spec, file)?;
    eprintln!("File: {}", file.display());
    while !cancel.is_cancelled() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let summary = capture.stop()?;
    eprintln!("Packets received/dropped on interface 'near': {}/{}", summary.written, summary.dropped);
    Ok(())
}
