//! Capture files written out byte by byte: every byte order, unit of time and kind of block.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in test functions")]

use std::borrow::Cow;
use std::io::Cursor;

use dunlin_wire::{PacketReader, ReadError};

/// Writes numbers in one byte order.
#[derive(Clone, Copy)]
struct Order {
    is_big: bool,
}

const ORDERS: [Order; 2] = [Order { is_big: false }, Order { is_big: true }];

impl Order {
    fn u16(self, value: u16) -> Vec<u8> {
        if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() }.into()
    }

    fn u32(self, value: u32) -> Vec<u8> {
        if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() }.into()
    }

    fn u64(self, value: u64) -> Vec<u8> {
        if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() }.into()
    }

    fn block(self, kind: u32, body: &[Vec<u8>]) -> Vec<u8> {
        let mut body = body.concat();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = self.u32(body.len() as u32 + 12);
        [self.u32(kind), length.clone(), body, length].concat()
    }

    fn section(self) -> Vec<u8> {
        self.block(0x0a0d_0d0a, &[self.u32(0x1a2b_3c4d), self.u16(1), self.u16(0), vec![0xff; 8]])
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut padded = value.to_vec();
        padded.resize(value.len().next_multiple_of(4), 0);
        [self.u16(code), self.u16(value.len() as u16), padded].concat()
    }

    fn interface(self, link: u16, snap: u32, options: &[Vec<u8>]) -> Vec<u8> {
        self.block(1, &[self.u16(link), self.u16(0), self.u32(snap), options.concat()])
    }

    fn packet(self, interface: u32, stamp: u64, data: &[u8], original: u32, options: &[Vec<u8>]) -> Vec<u8> {
        let mut padded = data.to_vec();
        padded.resize(data.len().next_multiple_of(4), 0);
        let halves = [self.u32((stamp >> 32) as u32), self.u32(stamp as u32)].concat();
        let lengths = [self.u32(data.len() as u32), self.u32(original)].concat();
        self.block(6, &[self.u32(interface), halves, lengths, padded, options.concat()])
    }
}

/// Time, link type, original length, captured bytes and comments of each packet.
type Told = (Option<i128>, u32, u32, Vec<u8>, Vec<String>);

fn told(bytes: Vec<u8>) -> (Vec<Told>, PacketReader, Option<ReadError>) {
    let mut reader = PacketReader::new(Cursor::new(bytes)).unwrap();
    let mut all = Vec::new();
    let error = loop {
        match reader.next() {
            Ok(Some(packet)) => all.push((
                packet.at_ns,
                packet.link,
                packet.original_bytes,
                packet.data.to_vec(),
                packet.comments.map(Cow::into_owned).collect(),
            )),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    (all, reader, error)
}

#[test]
fn all_four_kinds_of_pcap_are_read() {
    for order in ORDERS {
        for (magic, unit_ns) in [(0xa1b2_c3d4_u32, 1000), (0xa1b2_3c4d, 1)] {
            let header =
                [order.u32(magic), order.u16(2), order.u16(4), order.u64(0), order.u32(96), order.u32(1)];
            // The upper half of the link type tells of a frame check sequence.
            let header = [header[..5].concat(), order.u32(0x2400_0001)].concat();
            let packet =
                [order.u32(1_700_000_000), order.u32(123_456), order.u32(3), order.u32(1514), vec![1, 2, 3]];
            let (packets, reader, error) = told([header, packet.concat()].concat());
            let at_ns = 1_700_000_000_000_000_000 + 123_456 * unit_ns;
            assert_eq!(packets, [(Some(at_ns), 1, 1514, vec![1, 2, 3], vec![])]);
            assert!(error.is_none() && reader.format() == "pcap");
            assert_eq!(reader.interfaces()[0].snap_bytes, Some(96));
        }
    }
}

/// Until version 2.3 the two lengths of a packet stood the other way around; of 2.3 there are both kinds.
#[test]
fn old_versions_have_their_lengths_swapped_and_unknown_ones_are_refused() {
    let file = |major: u16, minor: u16, lengths: [u32; 2]| {
        let order = ORDERS[0];
        let head = [order.u32(0xa1b2_c3d4), order.u16(major), order.u16(minor), order.u64(0)].concat();
        let head = [head, order.u32(96), order.u32(1)].concat();
        let packet =
            [order.u32(1), order.u32(2), order.u32(lengths[0]), order.u32(lengths[1]), vec![1, 2, 3]];
        [head, packet.concat()].concat()
    };
    for (major, minor, lengths) in [
        (2, 4, [3, 60]),
        (2, 2, [60, 3]),
        (2, 0, [60, 3]),
        (2, 3, [60, 3]),
        (2, 3, [3, 60]),
        (543, 0, [60, 3]),
    ] {
        let (packets, _, error) = told(file(major, minor, lengths));
        assert!(error.is_none(), "{major}.{minor}: {error:?}");
        assert_eq!(packets, [(Some(1_000_002_000), 1, 60, vec![1, 2, 3], vec![])], "{major}.{minor}");
    }
    for (major, minor) in [(2, 5), (1, 4), (3, 0), (0, 0)] {
        let error = PacketReader::new(Cursor::new(file(major, minor, [3, 60]))).err();
        let why = format!("is damaged at offset 4: version {major}.{minor} of pcap is not known");
        assert_eq!(error.map(|error| error.to_string()), Some(why));
    }
}

#[test]
fn sections_of_both_byte_orders_follow_each_other() {
    let section = |order: Order| {
        [
            order.section(),
            order.interface(101, 0, &[order.option(2, b"mig"), order.option(9, &[9]), order.option(0, &[])]),
            order.interface(1, 4, &[]),
            // Of a kind that nobody knows.
            order.block(0x0bad_0bad, &[vec![7; 9]]),
            order.packet(
                0,
                5_000_000_001,
                &[1, 2, 3, 4, 5],
                60,
                &[order.option(1, b"one"), order.option(1, b"two")],
            ),
            order.packet(1, 5_000_001, &[6], 61, &[]),
            // A simple one: of the first interface, without a stamp.
            order.block(3, &[order.u32(2), vec![8, 9]]),
            // The obsolete kind.
            order.block(
                2,
                &[
                    order.u16(1),
                    order.u16(0),
                    order.u32(0),
                    order.u32(7),
                    order.u32(1),
                    order.u32(9),
                    vec![4],
                ],
            ),
            order.block(
                5,
                &[
                    order.u32(1),
                    order.u32(0),
                    order.u32(9),
                    order.option(7, &order.u64(12)),
                    order.option(1, b"bye"),
                ],
            ),
        ]
        .concat()
    };
    let (packets, reader, error) = told(ORDERS.map(section).concat());
    assert!(error.is_none(), "{error:?}");
    let expected: [Told; 4] = [
        (Some(5_000_000_001), 101, 60, vec![1, 2, 3, 4, 5], vec!["one".into(), "two".into()]),
        (Some(5_000_001_000), 1, 61, vec![6], vec![]),
        (None, 101, 2, vec![8, 9], vec![]),
        (Some(7000), 1, 9, vec![4], vec![]),
    ];
    assert_eq!(packets, [expected.clone(), expected].concat());
    let interfaces = reader.interfaces();
    let names: Vec<_> = interfaces.iter().map(|one| (one.name.as_deref(), one.snap_bytes)).collect();
    assert_eq!(names, [(Some("mig"), None), (None, Some(4)), (Some("mig"), None), (None, Some(4))]);
    assert_eq!(reader.dropped(), Some(24));
    assert_eq!(reader.remarks(), [(9000, "bye".to_owned()), (9000, "bye".to_owned())]);
}

#[test]
fn stamps_are_read_in_every_unit() {
    let order = ORDERS[0];
    let at = |resolution: &[u8], offset_s: i64, stamp| {
        let options = [order.option(9, resolution), order.option(14, &order.u64(offset_s.cast_unsigned()))];
        let file = [order.section(), order.interface(1, 0, &options), order.packet(0, stamp, &[0], 1, &[])];
        told(file.concat()).0[0].0.unwrap()
    };
    assert_eq!(at(&[3], 0, 1234), 1_234_000_000);
    assert_eq!(at(&[12], 0, 5_000_001), 5000);
    assert_eq!(at(&[0x80 | 10], 0, 512), 500_000_000);
    assert_eq!(at(&[6], -2, 3_000_000), 1_000_000_000);
    assert_eq!(at(&[0xff], 0, u64::MAX), 0);
    // Long after 2262, when nanoseconds since 1970 need more than 64 bits.
    assert_eq!(at(&[0], 0, u64::MAX), i128::from(u64::MAX) * 1_000_000_000);
}

#[test]
fn what_contradicts_itself_is_said_with_its_offset() {
    let order = ORDERS[0];
    let start = [order.section(), order.interface(1, 0, &[])].concat();
    let at = start.len() as u64;
    let mut two_lengths = order.packet(0, 1, &[1], 1, &[]);
    *two_lengths.last_mut().unwrap() = 1;
    let cases = [
        (order.packet(9, 1, &[1], 1, &[]), "a packet is of interface 9, which is not described"),
        (order.block(6, &[vec![0; 8]]), "a packet's block is too short"),
        (
            order.block(6, &[vec![0; 12], order.u32(99), order.u32(99)]),
            "a packet of 99 captured bytes is longer than its block",
        ),
        (order.block(1, &[vec![1]]), "an interface's description is too short"),
        (
            order.interface(1, 0, &[order.option(9, &[99])]),
            "an interface's stamps are finer than can be told",
        ),
        ([order.u32(6), order.u32(7)].concat(), "a block cannot be 7 bytes long"),
        ([order.u32(6), order.u32(0x7fff_fffc)].concat(), "a block cannot be 2147483644 bytes long"),
        (two_lengths, "a block begins with length 36 and ends with 16777252"),
        (order.block(0x0a0d_0d0a, &[vec![0; 16]]), "a section does not say its byte order"),
        (
            order.block(0x0a0d_0d0a, &[order.u32(0x1a2b_3c4d), order.u16(2), order.u16(0), vec![0xff; 8]]),
            "version 2 of pcapng is not known",
        ),
    ];
    for (block, expected) in cases {
        let (packets, _, error) = told([start.clone(), block].concat());
        assert_eq!(packets, []);
        match error {
            Some(ReadError::Damaged { offset, why }) => assert_eq!((offset, why.as_str()), (at, expected)),
            other => panic!("{expected}: {other:?}"),
        }
    }
}
