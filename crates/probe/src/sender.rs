//! The sending half: one request an interval, by absolute times, whatever becomes of the answers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use dunlin_clock::{MILLISECOND_NS, now_ns, sleep_until, thread_cpu_ns};
use nix::sys::prctl;
use socket2::{SockAddr, Socket};

use crate::identity::RequestFrame;
use crate::sys;

/// Above every ordinary thread, below the kernel's own (which take 50 and more).
const REALTIME_PRIORITY: u8 = 10;

/// A sender that was held up sends at once what is due, but of requests that are later than this nothing could be
/// learned any more: they are left out, and keep their numbers, so that a number always stands for a time.
const MAX_LATE_INTERVALS: i64 = 50;

/// How long a sender may sleep before it looks whether it should end.
const MAX_SLEEP_NS: i64 = 20 * MILLISECOND_NS;

/// What the sender tells the receiver, in order of the requests' numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    /// The next request is about to be sent: said before, so that no stamp or answer is known earlier than its request.
    Sending { due_ns: i64 },
    /// The kernel refused the request named last.
    Refused,
    /// The next request is left out: too late.
    Skipped { due_ns: i64 },
}

/// What a sender did.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) cpu_ns: i64,
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    pub(crate) errors: u64,
    pub(crate) last_error: Option<io::Error>,
}

pub(crate) struct Sender {
    pub(crate) socket: Arc<Socket>,
    pub(crate) address: SockAddr,
    pub(crate) frame: RequestFrame,
    pub(crate) first_due_ns: i64,
    pub(crate) interval_ns: i64,
    pub(crate) notes: mpsc::Sender<Note>,
    pub(crate) end: Arc<AtomicBool>,
}

impl Sender {
    /// Sends until it is asked to end, or nobody listens to its notes any more.
    pub(crate) fn run(mut self) -> Sent {
        let mut sent = Sent::default();
        let mut due_ns = self.first_due_ns;
        for seq in 0.. {
            if !self.wait_until(due_ns) || !self.one_request(seq, due_ns, &mut sent) {
                break;
            }
            due_ns += self.interval_ns;
        }
        sent.cpu_ns = thread_cpu_ns();
        sent
    }

    /// Sends one request or accounts for why not; false if nobody listens.
    fn one_request(&mut self, seq: u64, due_ns: i64, sent: &mut Sent) -> bool {
        if now_ns() - due_ns > MAX_LATE_INTERVALS * self.interval_ns {
            sent.skipped += 1;
            return self.notes.send(Note::Skipped { due_ns }).is_ok();
        }
        if self.notes.send(Note::Sending { due_ns }).is_err() {
            return false;
        }
        match self.socket.send_to_with_flags(self.frame.write(seq), &self.address, libc::MSG_DONTWAIT) {
            Ok(_) => {
                sent.sent += 1;
                true
            }
            Err(error) => {
                sent.errors += 1;
                sent.last_error = Some(error);
                self.notes.send(Note::Refused).is_ok()
            }
        }
    }

    /// Waits for the time; false if the sender should end.
    fn wait_until(&self, due_ns: i64) -> bool {
        loop {
            if self.end.load(Ordering::Acquire) {
                return false;
            }
            let now_ns = now_ns();
            if now_ns >= due_ns {
                return true;
            }
            sleep_until(due_ns.min(now_ns + MAX_SLEEP_NS));
        }
    }
}

/// Makes the calling thread as punctual as it may be made; says at which real-time priority, if at one.
pub(crate) fn be_punctual() -> Option<u8> {
    if sys::make_realtime(REALTIME_PRIORITY).is_ok() {
        return Some(REALTIME_PRIORITY);
    }
    // An ordinary thread's sleep is stretched by up to 50 µs unless it says otherwise. Where even that is refused, it
    // is just later, which the stamps show.
    let _later = prctl::set_timerslack(1);
    None
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

    use super::*;
    use crate::identity::Identity;
    use crate::spec::ProbeKind;

    fn sender(to: SocketAddrV4, first_due_ns: i64) -> (Sender, mpsc::Receiver<Note>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (notes, heard) = mpsc::channel();
        let sender = Sender {
            socket: Arc::new(socket.into()),
            address: to.into(),
            frame: RequestFrame::new(Identity::random(ProbeKind::Udp { port: to.port() }), 16),
            first_due_ns,
            interval_ns: MILLISECOND_NS,
            notes,
            end: Arc::new(AtomicBool::new(false)),
        };
        (sender, heard)
    }

    /// Runs a sender on its own thread until it has given `count` notes.
    fn first_notes(sender: Sender, heard: &mpsc::Receiver<Note>, count: usize) -> (Sent, Vec<Note>) {
        let end = Arc::clone(&sender.end);
        let thread = std::thread::spawn(move || sender.run());
        let notes = heard.iter().take(count).collect();
        end.store(true, Ordering::Release);
        (thread.join().unwrap(), notes)
    }

    #[test]
    fn a_sender_that_was_held_up_leaves_out_what_is_hopeless_and_sends_the_rest_at_once() {
        let target = UdpSocket::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(to) = target.local_addr().unwrap() else {
            panic!("an IPv4 address was bound")
        };
        let held_up_since_ns = now_ns() - 200 * MILLISECOND_NS;
        let (sender, heard) = sender(to, held_up_since_ns);
        let (sent, notes) = first_notes(sender, &heard, 180);
        let skipped = notes.iter().take_while(|note| matches!(note, Note::Skipped { .. })).count();
        assert!(skipped >= 150, "{skipped}");
        for (index, note) in (0..).zip(&notes) {
            let (Note::Skipped { due_ns } | Note::Sending { due_ns }) = *note else {
                panic!("refused: {sent:?}")
            };
            assert_eq!(due_ns, held_up_since_ns + index * MILLISECOND_NS);
        }
        assert!(sent.skipped >= 150 && sent.errors == 0, "{sent:?}");
    }

    #[test]
    fn a_request_the_kernel_refuses_is_accounted_for_and_sending_goes_on() {
        // Sending to the broadcast address needs an option that a probe's socket does not have.
        let (sender, heard) = sender(SocketAddrV4::new(Ipv4Addr::BROADCAST, 9), now_ns());
        let (sent, notes) = first_notes(sender, &heard, 6);
        let pattern = notes.chunks(2).all(|pair| matches!(pair, [Note::Sending { .. }, Note::Refused]));
        assert!(pattern, "{notes:?}");
        assert!(sent.errors >= 3 && sent.sent == 0 && sent.last_error.is_some(), "{sent:?}");
    }

    #[test]
    fn a_sender_without_a_listener_ends() {
        let (sender, heard) = sender(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9), now_ns());
        drop(heard);
        assert_eq!(sender.run().sent, 0);
    }
}
