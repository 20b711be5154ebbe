//! What holds of every capture file, whole, damaged or made up. The fuzz target `capture` asserts the same.

use std::io::Cursor;

use dunlin_record::WireAccount;
use dunlin_wire::{AccountOptions, PacketReader, ReadError, account};

/// Reads a file to its end, or to where it breaks off, and asserts that what was counted adds up.
pub(crate) fn read(bytes: &[u8]) -> Result<WireAccount, ReadError> {
    let mut reader = PacketReader::new(Cursor::new(bytes.to_vec()))?;
    let account = account(&mut reader, AccountOptions { tick_ns: 10_000_000 });
    let total = account.total;
    assert_eq!(account.graph.packets.iter().sum::<u64>(), total.packets);
    assert_eq!(account.graph.wire_bytes.iter().sum::<u64>(), total.wire_bytes);
    assert!(account.graph.tick.is_sorted_by(|one, next| one < next));
    assert_eq!(account.protocols.iter().map(|share| share.amount.packets).sum::<u64>(), total.packets);
    assert!(account.captured_bytes <= total.wire_bytes);
    assert!(account.malformed.iter().map(|one| one.packets).sum::<u64>() <= total.packets);
    let all = account.overhead;
    assert!(all.total.packets <= total.packets);
    let listed = account.conversations.iter().map(|one| one.overhead.total.packets).sum::<u64>();
    assert_eq!(listed + account.unlisted.total.packets, all.total.packets);
    assert!(
        account
            .conversations
            .is_sorted_by(|one, next| { one.overhead.total.wire_bytes >= next.overhead.total.wire_bytes })
    );
    let unseen = account.conversations.iter().map(|one| one.from_a.unseen_bytes + one.from_b.unseen_bytes);
    assert!(unseen.sum::<u64>() <= account.unseen_bytes);
    assert!(
        account.tunnels.iter().chain(&account.unopened).all(|share| share.amount.packets <= total.packets)
    );
    let packets =
        all.goodput_packets + all.pure_acks.packets + all.handshakes.packets + all.retransmissions.packets;
    assert_eq!(packets, all.total.packets);
    let wire_bytes = all.goodput_bytes
        + all.header_bytes()
        + all.pure_acks.wire_bytes
        + all.handshakes.wire_bytes
        + all.retransmissions.wire_bytes;
    assert_eq!(wire_bytes, all.total.wire_bytes);
    for one in &account.conversations {
        assert_eq!(one.from_a.total.packets + one.from_b.total.packets, one.overhead.total.packets);
        assert!(one.start_ms <= one.end_ms);
        for rtt in [one.from_a.rtt_ms, one.from_b.rtt_ms].into_iter().flatten() {
            assert!(0.0 <= rtt.p50 && rtt.p50 <= rtt.p90 && rtt.p90 <= rtt.p99 && rtt.p99 <= rtt.max);
        }
    }
    assert!(account.broken_off.as_ref().is_none_or(|broken_off| !broken_off.why.is_empty()));
    Ok(account)
}
