//! What answered others, how regularly, and for how long it did not.
//!
//! Of two ends the one with the lower port answers the other; of an echo, the one that was asked.

use std::collections::HashMap;
use std::net::IpAddr;

use dunlin_record::{Service, Silence};

use crate::decode::{IpFlow, Mac};

/// So many are followed; of more, those are forgotten first that answered least.
const MOST_SERVICES: usize = 4096;
/// So many are worth to be told; migrations are looked for in all.
pub const MOST_SERVICES_TOLD: usize = 256;
/// With fewer answers than that nothing is usual.
const LEAST_ANSWERS: u64 = 8;
/// With fewer requests a silence is none: one request precedes every answer.
const LEAST_REQUESTS: u64 = 2;
/// Of the waits for an answer so many of a hundred are usual.
const USUAL_PERCENT: u64 = 95;
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
    /// When the first of these came.
    first_asked_ns: i64,
    /// From answer to answer, from request to request, and from the first request that is not answered yet to an answer.
    intervals: Intervals,
    request_intervals: Intervals,
    waits: Intervals,
    /// The longest, in no order.
    silences: Vec<Unanswered>,
    /// As many as are kept are at least as long as this.
    least_ns: i64,
}

/// Requests that were not answered for some time.
#[derive(Debug, Clone, Copy)]
struct Unanswered {
    /// The answer before.
    last_ns: i64,
    /// The first of them.
    begin_ns: i64,
    /// The answer after them, or the last of them.
    end_ns: i64,
    requests: u64,
    is_unfinished: bool,
}

/// A distribution of intervals: counts and sums in buckets that grow with the value.
#[derive(Debug, Clone)]
struct Intervals(Box<[(u32, u64); BUCKETS]>);

impl Services {
    /// Takes a packet; `mac` is its source. One that does not want an answer, as an acknowledgement, is no request.
    pub(crate) fn see(&mut self, flow: &IpFlow, mac: Option<Mac>, wants_answer: bool, at_ns: i64) {
        let Some(Recent { place, is_answer, .. }) = self.find(flow) else { return };
        let Some((_, answers)) = self.all.get_mut(place) else { return };
        if is_answer {
            answers.mac = mac.or(answers.mac);
            answers.answer(at_ns);
        } else if wants_answer {
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
            first_asked_ns: 0,
            intervals: Intervals::new(),
            request_intervals: Intervals::new(),
            waits: Intervals::new(),
            silences: Vec::new(),
            least_ns: i64::MIN,
        }
    }

    fn request(&mut self, at_ns: i64) {
        if self.requests > 0 {
            self.request_intervals.add(at_ns.saturating_sub(self.asked_ns));
        }
        if self.asked == 0 {
            self.first_asked_ns = at_ns;
        }
        self.requests += 1;
        self.asked += 1;
        self.asked_ns = at_ns;
    }

    fn answer(&mut self, at_ns: i64) {
        if let Some(last_ns) = self.last_ns {
            if at_ns >= last_ns {
                self.intervals.add(at_ns.saturating_sub(last_ns));
            }
            if self.asked > 0 && at_ns >= self.first_asked_ns {
                self.waits.add(at_ns.saturating_sub(self.first_asked_ns));
                self.keep(self.unanswered(last_ns, at_ns, false));
            }
        }
        self.answers += 1;
        self.asked = 0;
        self.last_ns = Some(at_ns);
    }

    fn unanswered(&self, last_ns: i64, end_ns: i64, is_unfinished: bool) -> Unanswered {
        Unanswered { last_ns, begin_ns: self.first_asked_ns, end_ns, requests: self.asked, is_unfinished }
    }

    /// Keeps the longest.
    fn keep(&mut self, silence: Unanswered) {
        if silence.requests < LEAST_REQUESTS || silence.length_ns() <= self.least_ns {
            return;
        }
        if self.silences.len() < MOST_SILENCES {
            self.silences.push(silence);
        } else if let Some(shortest) = self.silences.iter_mut().min_by_key(|one| one.length_ns()) {
            *shortest = silence;
        }
        if self.silences.len() == MOST_SILENCES {
            self.least_ns = self.silences.iter().map(Unanswered::length_ns).min().unwrap_or(i64::MIN);
        }
    }

    /// As it is asked: what waited in a queue while the machine was busy comes out at once, and would make answers' own shorter.
    fn interval_ns(&self) -> f64 {
        if self.requests >= LEAST_ANSWERS { &self.request_intervals } else { &self.intervals }.median_ns()
    }

    fn finish(mut self, key: Key) -> Service {
        if let Some(last_ns) = self.last_ns.filter(|last_ns| self.asked > 0 && self.asked_ns > *last_ns) {
            self.keep(self.unanswered(last_ns, self.asked_ns, true));
        }
        let interval_ns = self.interval_ns();
        let mut silences: Vec<Silence> = self.silences.iter().map(|one| one.tell(interval_ns)).collect();
        silences.sort_by_key(|silence| silence.begin_ns);
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
            interval_ms: interval_ns / 1e6,
            usual_wait_ms: self.waits.percentile_ns(USUAL_PERCENT) / 1e6,
            silences,
        }
    }
}

impl Unanswered {
    fn length_ns(&self) -> i64 {
        self.end_ns.saturating_sub(self.begin_ns)
    }

    /// What was not asked is not gone: it begins with the answer before only if that was as short before as usual.
    fn tell(&self, interval_ns: f64) -> Silence {
        let begin_ns = self.begin_ns.saturating_sub(interval_ns.round() as i64).max(self.last_ns);
        Silence { begin_ns, end_ns: self.end_ns, requests: self.requests, is_unfinished: self.is_unfinished }
    }
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

    fn median_ns(&self) -> f64 {
        self.percentile_ns(50)
    }

    /// The mean of the bucket that this percentile is in; never the greatest alone, unless it is the only one.
    fn percentile_ns(&self, percent: u64) -> f64 {
        let all: u64 = self.0.iter().map(|(count, _)| u64::from(*count)).sum();
        let rank = if percent == 50 { all.div_ceil(2) } else { all * percent / 100 }.max(1);
        let mut seen = 0;
        let found = self.0.iter().find(|(count, _)| {
            seen += u64::from(*count);
            seen >= rank && *count > 0
        });
        found.map_or(0.0, |(count, sum)| *sum as f64 / f64::from(*count))
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
            services.see(&echo(true), None, true, at * MS);
            if !(500..543).contains(&at) {
                services.see(&echo(false), Some(Mac([2; 6])), true, at * MS + 200_000);
            }
        }
        let [service] = services.finish().try_into().unwrap();
        assert_eq!((service.what.as_str(), service.address.as_str()), ("ICMP echo", "10.0.0.2"));
        assert_eq!((service.requests, service.answers), (1000, 957));
        assert_eq!(service.interval_ms, 1.0);
        assert_eq!(service.mac.as_deref(), Some("02:02:02:02:02:02"));
        let longest =
            service.silences.iter().max_by_key(|silence| silence.end_ns - silence.begin_ns).unwrap();
        assert_eq!((longest.begin_ns, longest.end_ns), (499 * MS + 200_000, 543 * MS + 200_000));
        assert_eq!((longest.requests, longest.is_unfinished), (44, false));
    }

    #[test]
    fn answers_that_come_in_bursts_do_not_make_the_interval_shorter() {
        let mut services = Services::default();
        for at in 0..1000 {
            services.see(&echo(true), None, true, at * MS);
            // Ten at once.
            if at % 10 == 9 {
                (0..10).for_each(|one| services.see(&echo(false), None, true, at * MS + 1000 + one));
            }
        }
        let [service] = services.finish().try_into().unwrap();
        assert_eq!((service.answers, service.interval_ms), (1000, 1.0));
    }

    #[test]
    fn what_never_answers_again_is_silent_as_long_as_it_is_asked() {
        let mut services = Services::default();
        for at in 0..100 {
            services.see(&echo(true), None, true, at * MS);
            if at < 50 {
                services.see(&echo(false), None, true, at * MS);
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
            services.see(&request, None, true, i64::from(at) * 10 * MS);
            services.see(&answer, None, true, i64::from(at) * 10 * MS + 1000);
        }
        let [service] = services.finish().try_into().unwrap();
        assert_eq!((service.what.as_str(), service.answers, service.interval_ms), ("TCP port 80", 20, 10.0));
    }

    #[test]
    fn of_very_many_those_that_answer_most_are_kept() {
        let mut services = Services::default();
        let server = IpAddr::from([10, 0, 0, 2]);
        for at in 0..20_000_u32 {
            services.see(&echo(false), None, true, i64::from(at) * MS);
            let flow = IpFlow { source: server, destination: IpAddr::from(at.to_be_bytes()), ..echo(false) };
            services.see(&flow, None, true, i64::from(at) * MS);
        }
        let [service] = services.finish().try_into().unwrap();
        assert_eq!(service.answers, 20_000);
    }

    /// From the lower port's end, or to it.
    fn udp(client: u8, port: u16, is_answer: bool) -> IpFlow {
        let (client, server) = (IpAddr::from([10, 0, 0, client]), IpAddr::from([10, 0, 1, 2]));
        let (source, destination) = if is_answer { (server, client) } else { (client, server) };
        let ports = if is_answer { (port, 50_000) } else { (50_000, port) };
        IpFlow { source, destination, protocol: UDP, ports: Some(ports), is_request: false }
    }

    #[test]
    fn what_is_asked_seldom_is_not_silent_meanwhile() {
        let mut services = Services::default();
        // Two questions at once, every five seconds or after a long pause.
        let times = (0..20).map(|at| at * 5000).chain((0..20).map(|at| 1_000_000 + at * 5000));
        for at in times {
            services.see(&udp(1, 53, false), None, true, at * MS);
            services.see(&udp(1, 53, false), None, true, at * MS + 10_000);
            services.see(&udp(1, 53, true), None, true, at * MS + 500_000);
        }
        let [service] = services.finish().try_into().unwrap();
        let longest = service.silences.iter().map(|one| one.end_ns - one.begin_ns).max();
        assert!(longest.unwrap() <= 500_000 + (service.interval_ms * 1e6) as i64, "{service:?}");
        assert_eq!(service.usual_wait_ms, 0.5);
    }

    #[test]
    fn one_request_and_what_wants_no_answer_are_no_silence() {
        let mut services = Services::default();
        for at in 0..20 {
            services.see(&udp(1, 80, false), None, true, at * 400 * MS);
            services.see(&udp(1, 80, true), None, true, (at * 400 + 1) * MS);
            services.see(&udp(1, 80, false), None, false, (at * 400 + 2) * MS);
        }
        let [service] = services.finish().try_into().unwrap();
        assert_eq!((service.requests, service.answers), (20, 20));
        assert_eq!((service.interval_ms, service.silences.as_slice()), (400.0, &[][..]));
    }

    #[test]
    fn echoes_with_identifier_0_are_a_service() {
        let mut services = Services::default();
        for at in 0..20 {
            for is_request in [true, false] {
                let flow = IpFlow { ports: Some((0, 0)), ..echo(is_request) };
                services.see(&flow, None, true, at * MS);
            }
        }
        // Of a fragment no ports are known.
        let fragment = IpFlow { ports: None, ..udp(1, 53, true) };
        (0..20).for_each(|at| services.see(&fragment, None, true, at * MS));
        let [service] = services.finish().try_into().unwrap();
        assert_eq!((service.what.as_str(), service.requests, service.answers), ("ICMP echo", 20, 20));
    }

    #[test]
    fn all_that_are_kept_are_looked_through() {
        let mut services = Services::default();
        for at in 0..100 {
            for client in 1..=200_u8 {
                for port in [53, 123] {
                    let extra = i64::from(client) * 1000;
                    services.see(&udp(client, port, false), None, true, at * MS + extra);
                    services.see(&udp(client, port, true), None, true, at * MS + extra);
                }
            }
        }
        assert_eq!(services.finish().len(), 400);
    }
}
