//! The first words on a connection: what the responding end is to do, and how large its buffers then are.

use super::{BufferSizes, MESSAGE_BYTES_MAX};

/// Tells our connections from whatever else may call, and this form from later ones.
const MAGIC: [u8; 8] = *b"DUNLTCP1";
pub(super) const OPENING_BYTES: usize = 28;
pub(super) const ANSWER_BYTES: usize = 16;

const RESPOND: u32 = 0;
const RECEIVE: u32 = 1;
const SEND: u32 = 2;

/// What is asked of the responding end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) task: Task,
    /// Absent: left to the kernel.
    pub(super) send_buffer_bytes: Option<u32>,
    pub(super) receive_buffer_bytes: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Respond { request_bytes: u32, response_bytes: u32 },
    Receive,
    Send { message_bytes: u32 },
}

impl Opening {
    /// Magic, task, its two numbers, the buffers (0: absent), each number a little-endian `u32`.
    pub(super) fn to_bytes(self) -> [u8; OPENING_BYTES] {
        let [task, first, second] = match self.task {
            Task::Respond { request_bytes, response_bytes } => [RESPOND, request_bytes, response_bytes],
            Task::Receive => [RECEIVE, 0, 0],
            Task::Send { message_bytes } => [SEND, message_bytes, 0],
        };
        let buffers = [self.send_buffer_bytes, self.receive_buffer_bytes].map(Option::unwrap_or_default);
        let mut bytes = [0; OPENING_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        for (place, number) in bytes[8..].chunks_mut(4).zip([task, first, second, buffers[0], buffers[1]]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// None where they are not our words, or ask for what cannot be.
    pub(super) fn read(bytes: [u8; OPENING_BYTES]) -> Option<Self> {
        let [task, first, second, send, receive] = numbers(bytes.strip_prefix(&MAGIC)?);
        let sized = |bytes: u32| (1..=MESSAGE_BYTES_MAX).contains(&bytes).then_some(bytes);
        let task = match task {
            RESPOND => Task::Respond { request_bytes: sized(first)?, response_bytes: sized(second)? },
            RECEIVE => Task::Receive,
            SEND => Task::Send { message_bytes: sized(first)? },
            _ => return None,
        };
        let asked = |bytes: u32| (bytes > 0).then_some(bytes);
        Some(Self { task, send_buffer_bytes: asked(send), receive_buffer_bytes: asked(receive) })
    }
}

pub(super) fn write_answer(sizes: BufferSizes) -> [u8; ANSWER_BYTES] {
    let mut bytes = [0; ANSWER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&sizes.send_bytes.to_le_bytes());
    bytes[12..].copy_from_slice(&sizes.receive_bytes.to_le_bytes());
    bytes
}

pub(super) fn read_answer(bytes: [u8; ANSWER_BYTES]) -> Option<BufferSizes> {
    let [send_bytes, receive_bytes] = numbers(bytes.strip_prefix(&MAGIC)?);
    Some(BufferSizes { send_bytes, receive_bytes })
}

fn numbers<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut numbers = [0; N];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
        *number = u32::from_le_bytes(*bytes);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_cannot_be_is_not() {
        let tasks = [
            Task::Respond { request_bytes: 1, response_bytes: MESSAGE_BYTES_MAX },
            Task::Receive,
            Task::Send { message_bytes: 128 << 10 },
        ];
        for task in tasks {
            for (send_buffer_bytes, receive_buffer_bytes) in [(None, Some(7)), (Some(16384), None)] {
                let opening = Opening { task, send_buffer_bytes, receive_buffer_bytes };
                assert_eq!(Opening::read(opening.to_bytes()), Some(opening));
            }
        }
        let empty = Opening {
            task: Task::Send { message_bytes: 0 },
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
        };
        assert_eq!(Opening::read(empty.to_bytes()), None);
        let too_long = Task::Respond { request_bytes: 1, response_bytes: MESSAGE_BYTES_MAX + 1 };
        assert_eq!(Opening::read(Opening { task: too_long, ..empty }.to_bytes()), None);
        let sizes = BufferSizes { send_bytes: 87_040, receive_bytes: 131_072 };
        assert_eq!(read_answer(write_answer(sizes)), Some(sizes));
        assert_eq!(read_answer([b'G'; ANSWER_BYTES]), None);
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_never_taken_for_more_than_they_may_ask(bytes: [u8; OPENING_BYTES - 8]) {
            let mut opening = [0; OPENING_BYTES];
            opening[..8].copy_from_slice(&MAGIC);
            opening[8..].copy_from_slice(&bytes);
            if let Some(Opening { task: Task::Respond { request_bytes, response_bytes }, .. }) =
                Opening::read(opening)
            {
                prop_assert!(request_bytes.max(response_bytes) <= MESSAGE_BYTES_MAX);
            }
        }
    }
}
