//! What answered others, how regularly, and for how long it did not.
//!
//! Of two ends the one with the lower port answers the other; of an echo, the one that was asked.

use std::collections::HashMap;
use std::net::IpAddr;

use dunlin_record::{Service, Silence};

use crate::decode::{IpFlow, Mac};

/// So many are followed; of more, those are forgotten first that answered least.
const MOST_SERVICES: usize = 4096;
/// So many are told.
const MOST_TOLD: usize = 256;
/// With fewer answers than that nothing is usual.
const LEAST_ANSWERS: u64 = 8;
/// Of each so many silences are kept, the longest.
const MOST_SILENCES: usize = 8;
/// Intervals in each doubling share as many buckets.
const BUCKETS_A_DOUBLING: u32 = 2;
const BUCKETS: usize = 128;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// What answers whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    server: IpAddr,
    client: IpAddr,
    protocol: u8,
    /// 0 of an echo.
    port: u16,
}

#[derive(Default)]
pub(crate) struct Services {
    places: HashMap<Key, usize>,
    all: Vec<(Key, Answers)>,
    /// Most packets are of the same flow as one of the last two: a question or its answer. The latest first.
    last: [Option<Recent>; 2],
}

/// A packet's service, as it was found.
#[derive(Debug, Clone, Copy)]
struct Recent {
    flow: IpFlow,
    place: usize,
    is_answer: bool,
}

/// What is known of one.
#[derive(Debug, Clone)]
struct Answers {
    mac: Option<Mac>,
    requests: u64,
    answers: u64,
    last_ns: Option<i64>,
    /// Requests since the last answer, and when the last of them came.
    asked: u64,
    asked_ns: i64,
    /// From answer to answer, and from request to request.
    intervals: Intervals,
    request_intervals: Intervals,
    /// The longest, in no order.
    silences: Vec<Silence>,
    /// As many as are kept are at least as long as this.
    least_ns: i64,
}

/// A distribution of intervals: counts and sums in buckets that grow with the value.
#[derive(Debug, Clone)]
struct Intervals(Box<[(u32, u64); BUCKETS]>);

impl Services {
    /// Takes a packet; `mac` is its source.
    pub(crate) fn see(&mut self, flow: &IpFlow, mac: Option<Mac>, at_ns: i64) {
        let Some(Recent { place, is_answer, .. }) = self.find(flow) else { return };
        let Some((_, answers)) = self.all.get_mut(place) else { return };
        if is_answer {
            answers.mac = mac.or(answers.mac);
            answers.answer(at_ns);
        } else {
            answers.request(at_ns);
        }
    }

    /// Those that answered, the most asked first.
    pub(crate) fn finish(self) -> Vec<Service> {
        let regular = self.all.into_iter().filter(|(_, answers)| answers.answers >= LEAST_ANSWERS);
        let mut all: Vec<Service> = regular.map(|(key, answers)| answers.finish(key)).collect();
        all.sort_by(|one, other| {
            let key = |one: &Service| (std::cmp::Reverse(one.answers), one.address.clone(), one.what.clone());
            key(one).cmp(&key(other))
        });
        all.truncate(MOST_TOLD);
        all
    }

    fn find(&mut self, flow: &IpFlow) -> Option<Recent> {
        match self.last {
            [Some(one), _] if one.flow == *flow => return Some(one),
            [_, Some(one)] if one.flow == *flow => {
                self.last.swap(0, 1);
                return Some(one);
            }
            _ => {}
        }
        let (key, is_answer) = key(flow)?;
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None => self.add(key),
        };
        let one = Recent { flow: *flow, place, is_answer };
        self.last = [Some(one), self.last[0]];
        Some(one)
    }

    fn add(&mut self, key: Key) -> usize {
        if self.all.len() >= MOST_SERVICES {
            self.forget_half();
        }
        self.all.push((key, Answers::new()));
        self.places.insert(key, self.all.len() - 1);
        self.all.len() - 1
    }

    fn forget_half(&mut self) {
        self.all.sort_by_key(|(_, answers)| std::cmp::Reverse(answers.answers + answers.requests));
        self.all.truncate(MOST_SERVICES / 2);
        self.places = self.all.iter().enumerate().map(|(place, (key, _))| (*key, place)).collect();
        self.last = [None; 2];
    }
}

/// Which service a packet is of, and whether it is from it.
fn key(flow: &IpFlow) -> Option<(Key, bool)> {
    let IpFlow { source, destination, protocol, ports, is_request } = *flow;
    let ports = ports?;
    let (port, is_answer) = match protocol {
        ICMP | ICMPV6 => (0, !is_request),
        TCP | UDP => (ports.0.min(ports.1), ports.0 <= ports.1),
        _ => return None,
    };
    let (server, client) = if is_answer { (source, destination) } else { (destination, source) };
    Some((Key { server, client, protocol, port }, is_answer))
}

impl Answers {
    fn new() -> Self {
        Self {
            mac: None,
            requests: 0,
            answers: 0,
            last_ns: None,
            asked: 0,
            asked_ns: 0,
            intervals: Intervals::new(),
            request_intervals: Intervals::new(),
            silences: Vec::new(),
            least_ns: i64::MIN,
        }
    }

    fn request(&mut self, at_ns: i64) {
        if self.requests > 0 {
            self.request_intervals.add(at_ns.saturating_sub(self.asked_ns));
        }
        self.requests += 1;
        self.asked += 1;
        self.asked_ns = at_ns;
    }

    fn answer(&mut self, at_ns: i64) {
        if let Some(last_ns) = self.last_ns {
            let silence =
                Silence { begin_ns: last_ns, end_ns: at_ns, requests: self.asked, is_unfinished: false };
            if length_ns(&silence) >= 0 {
                self.intervals.add(length_ns(&silence));
                self.keep(silence);
            }
        }
        self.answers += 1;
        self.asked = 0;
        self.last_ns = Some(at_ns);
    }

    /// Keeps the longest.
    fn keep(&mut self, silence: Silence) {
        if length_ns(&silence) <= self.least_ns {
            return;
        }
        if self.silences.len() < MOST_SILENCES {
            self.silences.push(silence);
        } else if let Some(shortest) = self.silences.iter_mut().min_by_key(|one| length_ns(one)) {
            *shortest = silence;
        }
        if self.silences.len() == MOST_SILENCES {
            self.least_ns = self.silences.iter().map(length_ns).min().unwrap_or(i64::MIN);
        }
    }

    /// As it is asked: what waited in a queue while the machine was busy comes out at once, and would make answers' own shorter.
    fn interval_ns(&self) -> f64 {
        if self.requests >= LEAST_ANSWERS { &self.request_intervals } else { &self.intervals }.median_ns()
    }

    fn finish(mut self, key: Key) -> Service {
        if let Some(last_ns) = self.last_ns.filter(|last_ns| self.asked > 0 && self.asked_ns > *last_ns) {
            let silence = Silence {
                begin_ns: last_ns,
                end_ns: self.asked_ns,
                requests: self.asked,
                is_unfinished: true,
            };
            self.keep(silence);
        }
        self.silences.sort_by_key(|silence| silence.begin_ns);
        let what = match key.protocol {
            TCP => format!("TCP port {}", key.port),
            UDP => format!("UDP port {}", key.port),
            _ => "ICMP echo".into(),
        };
        Service {
            what,
            address: key.server.to_string(),
            mac: self.mac.map(|mac| mac.to_string()),
            client: key.client.to_string(),
            requests: self.requests,
            answers: self.answers,
            interval_ms: self.interval_ns() / 1e6,
            silences: self.silences,
        }
    }
}

fn length_ns(silence: &Silence) -> i64 {
    silence.end_ns.saturating_sub(silence.begin_ns)
}

impl Intervals {
    fn new() -> Self {
        Self(Box::new([(0, 0); BUCKETS]))
    }

    fn add(&mut self, ns: i64) {
        let ns = ns.max(0).cast_unsigned();
        let doubling = ns.checked_ilog2().unwrap_or(0);
        // The bit below the highest.
        let half = if doubling == 0 { 0 } else { (ns >> (doubling - 1)) & 1 } as u32;
        let (count, sum) = &mut self.0[((doubling * BUCKETS_A_DOUBLING + half) as usize).min(BUCKETS - 1)];
        *count = count.saturating_add(1);
        *sum = sum.saturating_add(ns);
    }

    /// The mean of the bucket that the median is in.
    fn median_ns(&self) -> f64 {
        let all: u64 = self.0.iter().map(|(count, _)| u64::from(*count)).sum();
        let mut seen = 0;
        let median = self.0.iter().find(|(count, _)| {
            seen += u64::from(*count);
            2 * seen >= all && *count > 0
        });
        median.map_or(0.0, |(count, sum)| *sum as f64 / f64::from(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn echo(is_request: bool) -> IpFlow {
        let (client, server) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let (source, destination) = if is_request { (client, server) } else { (server, client) };
        IpFlow { source, destination, protocol: ICMP, ports: Some((7, 7)), is_request }
    }

    #[test]
    fn a_silence_is_what_was_asked_and_not_answered() {
        let mut services = Services::default();
        for at in 0..1000 {
            services.see(&echo(true), None, at * MS);
            if !(500..543).contains(&at) {
                services.see(&echo(false), Some(Mac([2; 6])), at * MS + 200_000);
            }
        }
        let [service] = services.finish().try_into().unwrap();
        assert_eq!((service.what.as_str(), service.address.as_str()), ("ICMP echo", "10.0.0.2"));
        assert_eq!((service.requests, service.answers), (1000, 957));
        assert_eq!(service.interval_ms, 1.0);
        assert_eq!(service.mac.as_deref(), Some("02:02:02:02:02:02"));
        let longest = service.silences.iter().max_by_key(|silence| length_ns(silence)).unwrap();
        assert_eq!((longest.begin_ns, longest.end_ns), (499 * MS + 200_000, 543 * MS + 200_000));
        assert_eq!((longest.requests, longest.is_unfinished), (44, false));
    }

    #[test]
    fn answers_that_come_in_bursts_do_not_make_the_interval_shorter() {
        let mut services = Services::default();
        for at in 0..1000 {
            services.see(&echo(true), None, at * MS);
            // Ten at once.
            if at % 10 == 9 {
                (0..10).for_each(|one| services.see(&echo(false), None, at * MS + 1000 + one));
            }
        }
        let [service] = services.finish().try_into().unwrap();
        assert_eq!((service.answers, service.interval_ms), (1000, 1.0));
    }

    #[test]
    fn what_never_answers_again_is_silent_as_long_as_it_is_asked() {
        let mut services = Services::default();
        for at in 0..100 {
            services.see(&echo(true), None, at * MS);
            if at < 50 {
                services.see(&echo(false), None, at * MS);
            }
        }
        let [service] = services.finish().try_into().unwrap();
        let last = service.silences.last().unwrap();
        assert_eq!((last.begin_ns, last.end_ns, last.requests), (49 * MS, 99 * MS, 50));
        assert!(last.is_unfinished);
    }

    #[test]
    fn the_lower_port_answers_whatever_connections_come_and_go() {
        let mut services = Services::default();
        let (client, server) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for at in 0..20_u16 {
            let ports = (40_000 + at, 80);
            let request = IpFlow {
                source: client,
                destination: server,
                protocol: TCP,
                ports: Some(ports),
                is_request: false,
            };
            let answer =
                IpFlow { source: server, destination: client, ports: Some((ports.1, ports.0)), ..request };
            services.see(&request, None, i64::from(at) * 10 * MS);
            services.see(&answer, None, i64::from(at) * 10 * MS + 1000);
        }
        let [service] = services.finish().try_into().unwrap();
        assert_eq!((service.what.as_str(), service.answers, service.interval_ms), ("TCP port 80", 20, 10.0));
    }

    #[test]
    fn of_very_many_those_that_answer_most_are_kept() {
        let mut services = Services::default();
        let server = IpAddr::from([10, 0, 0, 2]);
        for at in 0..20_000_u32 {
            services.see(&echo(false), None, i64::from(at) * MS);
            let flow = IpFlow { source: server, destination: IpAddr::from(at.to_be_bytes()), ..echo(false) };
            services.see(&flow, None, i64::from(at) * MS);
        }
        let [service] = services.finish().try_into().unwrap();
        assert_eq!(service.answers, 20_000);
    }
}
