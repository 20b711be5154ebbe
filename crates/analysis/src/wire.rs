//! The migration as a capture of its network shows it.

use dunlin_record::{Conversation, Flow, Overhead, WireAccount};

/// The conversations that carried a migration, taken together.
#[derive(Debug, Clone, PartialEq)]
pub struct MigrationOnWire<'a> {
    /// One, or as many as channels were opened.
    pub conversations: Vec<&'a Conversation>,
    /// Their first packet, in ms after the capture's first.
    pub first_ms: f64,
    /// Their last packet, in ms after the capture's first.
    pub last_ms: f64,
    /// What they cost.
    pub overhead: Overhead,
}

impl<'a> MigrationOnWire<'a> {
    /// The TCP conversations with the end to which most was sent: the migration's listener at the destination. `None`
    /// where there is no conversation.
    #[must_use]
    pub fn find(account: &'a WireAccount) -> Option<Self> {
        let sent_to = |end: &str| -> u64 {
            let of_end = account.conversations.iter().filter(|one| one.b == end);
            of_end.map(|one| one.from_a.total.wire_bytes).sum()
        };
        let listener =
            account.conversations.iter().map(|one| one.b.as_str()).max_by_key(|end| sent_to(end))?;
        let conversations: Vec<&Conversation> =
            account.conversations.iter().filter(|one| one.b == listener).collect();
        let mut overhead = Overhead::default();
        conversations.iter().for_each(|one| overhead += one.overhead);
        Some(Self {
            first_ms: conversations.iter().map(|one| one.start_ms).fold(f64::INFINITY, f64::min),
            last_ms: conversations.iter().map(|one| one.end_ms).fold(f64::NEG_INFINITY, f64::max),
            overhead,
            conversations,
        })
    }

    /// From the first packet to the last, in ms: the total migration time of Prakash et al., section V.
    #[must_use]
    pub fn length_ms(&self) -> f64 {
        self.last_ms - self.first_ms
    }

    /// Adds up a count over both directions of all conversations.
    pub fn count(&self, pick: impl Fn(&Flow) -> u64) -> u64 {
        self.conversations.iter().map(|one| pick(&one.from_a) + pick(&one.from_b)).sum()
    }
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Amount, ConversationGraph};

    use super::*;

    fn conversation(b: &str, start_ms: f64, end_ms: f64, packets: u64, wire_bytes: u64) -> Conversation {
        let total = Amount { packets, wire_bytes };
        let overhead = Overhead { total, ..Overhead::default() };
        Conversation {
            number: 1,
            a: "10.78.0.11:40000".into(),
            b: b.into(),
            start_ms,
            end_ms,
            handshake_rtt_ms: None,
            from_a: Flow { total, out_of_order: 2, overhead, ..Flow::default() },
            from_b: Flow { duplicate_acks: 3, ..Flow::default() },
            overhead,
            graph: ConversationGraph::default(),
        }
    }

    #[test]
    fn channels_to_one_listener_are_one_migration() {
        let conversations = vec![
            conversation("10.78.0.12:5000", 0.0, 9.0, 10, 1_500),
            conversation("10.78.0.12:4444", 20.0, 900.0, 400, 1_000),
            conversation("10.78.0.12:4444", 30.0, 950.0, 500, 1_000),
        ];
        let account = WireAccount { conversations, ..WireAccount::default() };
        let migration = MigrationOnWire::find(&account).unwrap();
        assert_eq!(
            (migration.conversations.len(), migration.first_ms, migration.length_ms()),
            (2, 20.0, 930.0)
        );
        assert_eq!(migration.overhead.total, Amount { packets: 900, wire_bytes: 2_000 });
        assert_eq!(migration.count(|flow| flow.out_of_order + flow.duplicate_acks), 10);
    }

    #[test]
    fn without_tcp_there_is_none() {
        assert_eq!(MigrationOnWire::find(&WireAccount::default()), None);
    }
}
