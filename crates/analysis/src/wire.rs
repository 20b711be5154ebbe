//! The migration as a capture of its network shows it.

use dunlin_record::{Conversation, Flow, Overhead, Retransmissions, RttMs, TrialCapture};

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
    /// The TCP conversations with the end to which most was sent, probes' apart: the migration's listener at the
    /// destination; and with the end that took the VM's disks. `None` where there is no conversation.
    #[must_use]
    pub fn find(capture: &'a TrialCapture) -> Option<Self> {
        Self::find_among(capture, |_| true)
    }

    /// The same among those conversations that `may_be`.
    pub(crate) fn find_among(
        capture: &'a TrialCapture,
        may_be: impl Fn(&Conversation) -> bool,
    ) -> Option<Self> {
        let is_with =
            |one: &Conversation, ends: &[String]| [&one.a, &one.b].iter().any(|end| ends.contains(end));
        let all = capture.account.conversations.iter();
        let all = all.filter(|one| !is_with(one, &capture.probed) && may_be(one));
        let (of_disks, others): (Vec<&Conversation>, Vec<&Conversation>) =
            all.partition(|one| is_with(one, &capture.disks));
        let sent_to = |end: &str| -> u64 {
            let of_end = others.iter().filter(|one| one.b == end);
            of_end.map(|one| one.from_a.total.wire_bytes).sum()
        };
        let listener = others.iter().map(|one| one.b.as_str()).max_by_key(|end| sent_to(end));
        let of_memory = others.iter().copied().filter(|one| Some(one.b.as_str()) == listener);
        let conversations: Vec<&Conversation> = of_memory.chain(of_disks).collect();
        if conversations.is_empty() {
            return None;
        }
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

    /// Payload sent for the first time over that time, in Mbit/s; `None` of a single packet.
    #[must_use]
    pub fn goodput_mbit_s(&self) -> Option<f64> {
        let length_ms = self.length_ms();
        (length_ms > 0.0).then(|| self.overhead.goodput_bytes as f64 * 8.0 / 1000.0 / length_ms)
    }

    /// What was sent again.
    #[must_use]
    pub fn retransmissions(&self) -> Retransmissions {
        let mut all = Retransmissions::default();
        for one in &self.conversations {
            all += one.from_a.retransmissions;
            all += one.from_b.retransmissions;
        }
        all
    }

    /// Round trips of what was sent to the listener: of several conversations, of each figure the greatest.
    #[must_use]
    pub fn rtt_ms(&self) -> Option<RttMs> {
        let each = self.conversations.iter().filter_map(|one| one.from_a.rtt_ms);
        each.reduce(|one, other| RttMs {
            samples: one.samples + other.samples,
            p50: one.p50.max(other.p50),
            p90: one.p90.max(other.p90),
            p99: one.p99.max(other.p99),
            max: one.max.max(other.max),
        })
    }

    /// Adds up a count over both directions of all conversations.
    pub fn count(&self, pick: impl Fn(&Flow) -> u64) -> u64 {
        self.conversations.iter().map(|one| pick(&one.from_a) + pick(&one.from_b)).sum()
    }
}

#[cfg(test)]
mod tests {
    use dunlin_record::{Amount, ConversationGraph, TrialId, WireAccount};

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
            may_lack_bytes: 0,
            from_a: Flow { total, out_of_order: 2, overhead, ..Flow::default() },
            from_b: Flow { duplicate_acks: 3, ..Flow::default() },
            overhead,
            graph: ConversationGraph::default(),
        }
    }

    fn capture(conversations: Vec<Conversation>) -> TrialCapture {
        TrialCapture {
            trial: TrialId::new("01-idle-1"),
            file: "host-a-migration.pcapng".into(),
            disks: Vec::new(),
            probed: vec!["10.78.0.12:7008".into()],
            account: WireAccount { conversations, ..WireAccount::default() },
        }
    }

    #[test]
    fn what_probes_sent_between_the_hosts_is_not_the_migrations() {
        let capture = capture(vec![
            conversation("10.78.0.12:7008", 0.0, 2_000.0, 9_000, 9_000_000),
            conversation("10.78.0.12:4444", 20.0, 900.0, 400, 1_000),
        ]);
        let migration = MigrationOnWire::find(&capture).unwrap();
        assert_eq!((migration.conversations.len(), migration.overhead.total.packets), (1, 400));
    }

    #[test]
    fn channels_to_one_listener_are_one_migration() {
        let conversations = vec![
            conversation("10.78.0.12:5000", 0.0, 9.0, 10, 1_500),
            conversation("10.78.0.12:4444", 20.0, 900.0, 400, 1_000),
            conversation("10.78.0.12:4444", 30.0, 950.0, 500, 1_000),
        ];
        let capture = capture(conversations);
        let migration = MigrationOnWire::find(&capture).unwrap();
        assert_eq!(
            (migration.conversations.len(), migration.first_ms, migration.length_ms()),
            (2, 20.0, 930.0)
        );
        assert_eq!(migration.overhead.total, Amount { packets: 900, wire_bytes: 2_000 });
        assert_eq!(migration.count(|flow| flow.out_of_order + flow.duplicate_acks), 10);
    }

    #[test]
    fn without_tcp_there_is_none() {
        assert_eq!(MigrationOnWire::find(&capture(Vec::new())), None);
    }
}
