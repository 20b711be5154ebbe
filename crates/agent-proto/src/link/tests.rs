//! Two links and a stream between them that breaks, loses and garbles.

use proptest::prelude::*;

use super::*;

type End = Link<u32, u32>;

/// Two links, the bytes under way between them, and what each end has taken out.
struct World {
    caller: End,
    listener: End,
    to_listener: Vec<u8>,
    to_caller: Vec<u8>,
    at_listener: Vec<u32>,
    at_caller: Vec<u32>,
    now_ns: i64,
}

#[derive(Debug, Clone)]
enum Step {
    CallerSends,
    ListenerSends,
    Deliver {
        forth: usize,
        back: usize,
    },
    /// The stream breaks: some of what is under way arrives (with noise behind it), the rest is gone.
    Break {
        forth: usize,
        back: usize,
        noise: Vec<u8>,
    },
    Wait {
        ms: i64,
    },
}

impl World {
    fn new() -> Self {
        Self {
            caller: End::caller(1),
            listener: End::listener(),
            to_listener: Vec::new(),
            to_caller: Vec::new(),
            at_listener: Vec::new(),
            at_caller: Vec::new(),
            now_ns: 0,
        }
    }

    fn flush(&mut self) {
        self.to_listener.extend(self.caller.take_output(self.now_ns).unwrap());
        self.to_caller.extend(self.listener.take_output(self.now_ns).unwrap());
    }

    fn deliver(&mut self, forth: usize, back: usize) {
        let forth: Vec<u8> = self.to_listener.drain(..forth.min(self.to_listener.len())).collect();
        self.listener.receive_bytes(&forth).unwrap();
        let back: Vec<u8> = self.to_caller.drain(..back.min(self.to_caller.len())).collect();
        self.caller.receive_bytes(&back).unwrap();
        while let Some(message) = self.listener.next_message().unwrap() {
            self.at_listener.push(message);
        }
        while let Some(message) = self.caller.next_message().unwrap() {
            self.at_caller.push(message);
        }
    }

    fn break_stream(&mut self, forth: usize, back: usize, noise: &[u8]) {
        self.deliver(forth, back);
        self.to_listener = noise.to_vec();
        self.to_caller = noise.to_vec();
        self.deliver(usize::MAX, usize::MAX);
        self.caller.reconnected();
    }

    /// Lets everything arrive, and as much time pass as resending needs.
    fn settle(&mut self) {
        for _ in 0..40 {
            self.flush();
            self.deliver(usize::MAX, usize::MAX);
            self.now_ns += RESEND_MOST_NS / 2;
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let noise = proptest::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(0)], 0..40);
    prop_oneof![
        3 => Just(Step::CallerSends),
        3 => Just(Step::ListenerSends),
        4 => (0_usize..200, 0_usize..200).prop_map(|(forth, back)| Step::Deliver { forth, back }),
        1 => (0_usize..200, 0_usize..200, noise)
            .prop_map(|(forth, back, noise)| Step::Break { forth, back, noise }),
        1 => (0_i64..3000).prop_map(|ms| Step::Wait { ms }),
    ]
}

proptest! {
    #[test]
    fn no_message_is_lost_repeated_or_out_of_order_whatever_the_stream_does(
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut world = World::new();
        let (mut sent_forth, mut sent_back) = (0, 0);
        for step in steps {
            world.flush();
            match step {
                Step::CallerSends => {
                    world.caller.send(&sent_forth).unwrap();
                    sent_forth += 1;
                }
                // The listener has nobody to speak to before the first hello.
                Step::ListenerSends => if world.listener.send(&sent_back).is_ok() {
                    sent_back += 1;
                },
                Step::Deliver { forth, back } => world.deliver(forth, back),
                Step::Break { forth, back, noise } => world.break_stream(forth, back, &noise),
                Step::Wait { ms } => world.now_ns += ms * 1_000_000,
            }
        }
        world.settle();
        prop_assert_eq!(world.at_listener, (0..sent_forth).collect::<Vec<_>>());
        prop_assert_eq!(world.at_caller, (0..sent_back).collect::<Vec<_>>());
        prop_assert!(world.caller.outbox.is_empty() && world.caller.outbox_bytes == 0);
        prop_assert_eq!(world.listener.due_ns(), None);
    }

    #[test]
    fn foreign_packets_in_sound_frames_never_panic(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..20),
    ) {
        let mut ends = [End::caller(1), End::listener()];
        for body in bodies {
            let frame = postcard::to_stdvec_cobs(&(crc32fast::hash(&body), body.as_slice())).unwrap();
            for end in &mut ends {
                let _ = end.receive_bytes(&frame);
                let _ = end.next_message();
                end.take_output(0).unwrap();
            }
        }
    }
}

#[test]
fn lost_bytes_are_sent_again_without_a_break() {
    let mut world = World::new();
    world.settle();
    world.caller.send(&5).unwrap();
    world.flush();
    world.to_listener.clear();
    assert_eq!(world.caller.due_ns(), Some(world.now_ns + RESEND_NS));
    world.now_ns += RESEND_NS - 1;
    assert!(world.caller.take_output(world.now_ns).unwrap().is_empty());
    world.now_ns += 1;
    world.flush();
    world.deliver(usize::MAX, usize::MAX);
    assert_eq!(world.at_listener, [5]);
}

#[test]
fn a_restored_guest_follows_a_client_it_has_never_seen() {
    let mut world = World::new();
    world.settle();
    world.listener.send(&1).unwrap();
    world.caller.send(&1).unwrap();
    // What was under way to the first client is still in the guest's queue when the second calls.
    world.flush();
    world.caller = End::caller(2);
    world.caller.send(&2).unwrap();
    world.settle();
    world.listener.send(&3).unwrap();
    world.settle();
    // The first client is gone, and what it asked with it.
    assert_eq!(world.at_listener, [2]);
    assert_eq!(world.at_caller, [3]);
}

#[test]
fn a_guest_that_restarted_is_noticed_on_the_same_stream_and_on_a_new_one() {
    for new_stream in [false, true] {
        let mut world = World::new();
        world.settle();
        world.caller.send(&1).unwrap();
        world.settle();
        world.listener = End::listener();
        if new_stream {
            world.caller.reconnected();
        } else {
            world.caller.send(&2).unwrap();
        }
        let mut outcome = Ok(());
        for _ in 0..6 {
            world.flush();
            world.listener.receive_bytes(&std::mem::take(&mut world.to_listener)).unwrap();
            outcome = outcome.and(world.caller.receive_bytes(&std::mem::take(&mut world.to_caller)));
        }
        assert_eq!(outcome, Err(LinkError::PeerForgot), "on a new stream: {new_stream}");
    }
}

#[test]
fn another_version_is_refused_on_both_sides() {
    let mut listener = End::listener();
    let hello = Packet::Hello { version: VERSION + 1, session: 9, attempt: 0, received: 0, sent: 0 };
    let mut bytes = Vec::new();
    write_frame(&hello, &mut bytes).unwrap();
    let refused = LinkError::Version { ours: VERSION, theirs: VERSION + 1 };
    assert_eq!(listener.receive_bytes(&bytes), Err(refused.clone()));
    assert!(!listener.is_established());
    assert!(!listener.take_output(0).unwrap().is_empty(), "the caller has to learn of it");
    assert_eq!(End::caller(9).receive_bytes(&bytes), Err(refused));
}

#[test]
fn what_waits_and_what_is_said_at_once_is_bounded() {
    let mut caller: Link<Vec<u8>, u32> = Link::caller(1);
    let limit = PAYLOAD_LIMIT;
    assert!(matches!(caller.send(&vec![1; limit]), Err(LinkError::TooLarge { .. })));
    let fits = UNACKNOWLEDGED_LIMIT / limit;
    for _ in 0..fits {
        caller.send(&vec![1; limit - 3]).unwrap();
    }
    assert!(matches!(caller.send(&vec![1; limit - 3]), Err(LinkError::Full { .. })));
    assert_eq!(End::listener().send(&1), Err(LinkError::NoSession));
}
