//! The account of requests: each waits for the kernel's stamp of its departure, and is closed in order.

use std::collections::VecDeque;

use dunlin_clock::SECOND_NS;
use dunlin_record::ABSENT;

/// How long a request waits for its stamp. The stamp comes as the frame leaves, which an unanswered ARP request can
/// hold up for a second or three; a frame that never left has none.
const STAMP_LIMIT_NS: i64 = 4 * SECOND_NS;

/// The account of requests, in order of their numbers, of which none is left out.
#[derive(Debug, Default)]
pub struct Ledger {
    first_open_seq: u64,
    open: VecDeque<Request>,
    unstamped: u64,
}

#[derive(Debug)]
struct Request {
    due_ns: i64,
    departure: Departure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Departure {
    /// It was handed to the kernel; the stamp may still come.
    Awaited,
    Stamped {
        sent_ns: i64,
    },
    Never,
}

impl Ledger {
    /// An account without requests.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next request is about to be handed to the kernel; it was due at `due_ns`.
    pub fn add(&mut self, due_ns: i64) {
        self.open.push_back(Request { due_ns, departure: Departure::Awaited });
    }

    /// The request added last was not sent after all.
    pub fn refuse_last(&mut self) {
        if let Some(request) = self.open.back_mut() {
            request.departure = Departure::Never;
        }
    }

    /// The kernel stamped the departure of a request. Stamps of requests that are unknown or closed are ignored.
    pub fn stamp(&mut self, seq: u64, sent_ns: i64) {
        let index = seq.checked_sub(self.first_open_seq).and_then(|index| usize::try_from(index).ok());
        if let Some(request) = index.and_then(|index| self.open.get_mut(index))
            && request.departure == Departure::Awaited
        {
            request.departure = Departure::Stamped { sent_ns };
        }
    }

    /// Whether a request with this number was ever added.
    #[must_use]
    pub fn knows(&self, seq: u64) -> bool {
        seq.checked_sub(self.first_open_seq).is_none_or(|index| index < self.open.len() as u64)
    }

    /// Closes, in order, the requests whose fate is known or was due too long before `now_ns`, and appends their rows
    /// (`seq`, `due_ns`, `sent_ns`) to `rows`.
    pub fn close(&mut self, now_ns: i64, rows: &mut Vec<[i64; 3]>) {
        while let Some(request) = self.open.front() {
            let sent_ns = match request.departure {
                Departure::Stamped { sent_ns } => sent_ns,
                Departure::Never => ABSENT,
                Departure::Awaited if now_ns.saturating_sub(request.due_ns) > STAMP_LIMIT_NS => {
                    self.unstamped += 1;
                    ABSENT
                }
                Departure::Awaited => return,
            };
            rows.push([self.first_open_seq.cast_signed(), request.due_ns, sent_ns]);
            self.open.pop_front();
            self.first_open_seq += 1;
        }
    }

    /// How many requests the kernel took were closed without a stamp.
    #[must_use]
    pub fn unstamped(&self) -> u64 {
        self.unstamped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(ledger: &mut Ledger, now_ns: i64) -> Vec<[i64; 3]> {
        let mut rows = Vec::new();
        ledger.close(now_ns, &mut rows);
        rows
    }

    #[test]
    fn rows_come_in_order_whatever_the_order_of_the_stamps() {
        let mut ledger = Ledger::new();
        ledger.add(10);
        ledger.add(20);
        ledger.add(30);
        ledger.stamp(1, 21);
        assert_eq!(closed(&mut ledger, 40), Vec::<[i64; 3]>::new());
        ledger.stamp(0, 11);
        assert_eq!(closed(&mut ledger, 40), [[0, 10, 11], [1, 20, 21]]);
        ledger.stamp(2, 31);
        assert_eq!(closed(&mut ledger, 40), [[2, 30, 31]]);
        assert_eq!(ledger.unstamped(), 0);
    }

    #[test]
    fn a_refused_request_keeps_its_number_and_has_no_time_of_departure() {
        let mut ledger = Ledger::new();
        ledger.add(10);
        ledger.refuse_last();
        ledger.add(20);
        ledger.stamp(0, 12);
        ledger.stamp(1, 21);
        assert_eq!(closed(&mut ledger, 30), [[0, 10, ABSENT], [1, 20, 21]]);
        assert_eq!(ledger.unstamped(), 0);
    }

    #[test]
    fn a_stamp_that_does_not_come_holds_the_rows_up_only_for_the_limit() {
        let mut ledger = Ledger::new();
        ledger.add(10);
        ledger.add(20);
        ledger.stamp(1, 21);
        assert_eq!(closed(&mut ledger, 10 + STAMP_LIMIT_NS).len(), 0);
        assert_eq!(closed(&mut ledger, 11 + STAMP_LIMIT_NS), [[0, 10, ABSENT], [1, 20, 21]]);
        assert_eq!(ledger.unstamped(), 1);
        ledger.stamp(0, 99);
        assert_eq!(closed(&mut ledger, i64::MAX).len(), 0);
    }

    #[test]
    fn only_numbers_of_requests_that_were_made_are_known() {
        let mut ledger = Ledger::new();
        assert!(!ledger.knows(0));
        ledger.add(10);
        ledger.add(20);
        ledger.refuse_last();
        closed(&mut ledger, i64::MAX);
        ledger.add(30);
        assert!(ledger.knows(0) && ledger.knows(2));
        assert!(!ledger.knows(3) && !ledger.knows(u64::MAX));
        ledger.stamp(u64::MAX, 1);
        ledger.stamp(3, 1);
    }
}
