//! Which frames a capture keeps: a small part of libpcap's filter language, made into a program for the kernel.

use std::fmt;
use std::str::FromStr;

use socket2::SockFilter;

use crate::bpf::{
    IF_ANY_BIT, IF_EQUAL, LOAD_U8, LOAD_U16, LOAD_U16_FROM_X, LOAD_U32, X_IS_IP_HEADER_BYTES, keep,
};

/// Where the kernel shows a program the frame's protocol, whatever its link's header is.
const PROTOCOL_AT: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL) as u32;

/// Which frames a capture keeps: all, or those that fit one of several terms.
///
/// Written as `tcp port 4444 or icmp`: terms joined by `or`, each a protocol (`ip`, `ip6`, `arp`, `icmp`, `icmp6`,
/// `tcp`, `udp`), after `tcp` or `udp` a port if wanted (source or destination), or a port alone. Every such text
/// means to libpcap what it means here, but that extension headers of IPv6 are not looked behind and only the first
/// fragment of a packet is known to belong to a port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    terms: Vec<Term>,
}

/// A filter that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is no filter: expected terms as in \"tcp port 4444 or icmp\", found \"{found}\"")]
pub struct FilterError {
    text: String,
    found: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Term {
    /// Absent for a port of TCP or UDP alike.
    protocol: Option<Protocol>,
    port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Ip,
    Ip6,
    Arp,
    Icmp,
    Icmp6,
    Tcp,
    Udp,
}

impl Protocol {
    const ALL: [Self; 7] = [Self::Ip, Self::Ip6, Self::Arp, Self::Icmp, Self::Icmp6, Self::Tcp, Self::Udp];

    fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Arp => "arp",
            Self::Icmp => "icmp",
            Self::Icmp6 => "icmp6",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let wrong = |found: &[&str]| FilterError { text: text.to_owned(), found: found.join(" ") };
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return Ok(Self::default());
        }
        let terms = words.split(|word| *word == "or").map(|words| term(words).ok_or_else(|| wrong(words)));
        Ok(Self { terms: terms.collect::<Result<_, _>>()? })
    }
}

fn term(words: &[&str]) -> Option<Term> {
    let (protocol, rest) = match words {
        [first, rest @ ..] if *first != "port" => {
            (Some(Protocol::ALL.into_iter().find(|protocol| protocol.name() == *first)?), rest)
        }
        words => (None, words),
    };
    let port = match rest {
        [] => None,
        ["port", port] => Some(port.parse().ok()?),
        _ => return None,
    };
    // Nothing at all is no term, and only some protocols have ports.
    let known = protocol.map_or(port.is_some(), |protocol| port.is_none() || protocol.has_ports());
    known.then_some(Term { protocol, port })
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<String> = self.terms.iter().map(Term::to_string).collect();
        f.write_str(&terms.join(" or "))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.protocol.map_or("", Protocol::name), self.port) {
            ("", Some(port)) => write!(f, "port {port}"),
            (protocol, Some(port)) => write!(f, "{protocol} port {port}"),
            (protocol, None) => f.write_str(protocol),
        }
    }
}

impl Filter {
    /// What TCP carries from or to a port.
    #[must_use]
    pub fn tcp_port(port: u16) -> Self {
        Self { terms: vec![Term { protocol: Some(Protocol::Tcp), port: Some(port) }] }
    }

    /// The program: keeps `snap_bytes` of what fits, whose IP header begins after `link_bytes`.
    pub(super) fn program(&self, link_bytes: u32, snap_bytes: u32) -> Vec<SockFilter> {
        let cases: Vec<Case> = self.terms.iter().flat_map(Term::cases).collect();
        if cases.is_empty() {
            return vec![keep(snap_bytes)];
        }
        let mut program: Vec<SockFilter> =
            cases.iter().flat_map(|case| case.instructions(link_bytes, snap_bytes)).collect();
        program.push(keep(0));
        program
    }
}

/// One shape of frame that a term lets through.
struct Case {
    ether_type: u16,
    ip_protocol: Option<u8>,
    port: Option<u16>,
}

const IPV4: u16 = libc::ETH_P_IP as u16;
const IPV6: u16 = libc::ETH_P_IPV6 as u16;
const ARP: u16 = libc::ETH_P_ARP as u16;

impl Term {
    fn cases(&self) -> Vec<Case> {
        let (tcp, udp) = (libc::IPPROTO_TCP as u8, libc::IPPROTO_UDP as u8);
        let carried = |ether_types: &[u16], ip_protocols: &[u8]| {
            let port = self.port;
            let of = |ether_type: u16| {
                let case = move |ip_protocol: &u8| Case { ether_type, ip_protocol: Some(*ip_protocol), port };
                ip_protocols.iter().map(case).collect::<Vec<_>>()
            };
            ether_types.iter().copied().flat_map(of).collect()
        };
        let whole = |ether_type| vec![Case { ether_type, ip_protocol: None, port: None }];
        match self.protocol {
            Some(Protocol::Ip) => whole(IPV4),
            Some(Protocol::Ip6) => whole(IPV6),
            Some(Protocol::Arp) => whole(ARP),
            Some(Protocol::Icmp) => carried(&[IPV4], &[libc::IPPROTO_ICMP as u8]),
            Some(Protocol::Icmp6) => carried(&[IPV6], &[libc::IPPROTO_ICMPV6 as u8]),
            Some(Protocol::Tcp) => carried(&[IPV4, IPV6], &[tcp]),
            Some(Protocol::Udp) => carried(&[IPV4, IPV6], &[udp]),
            None => carried(&[IPV4, IPV6], &[tcp, udp]),
        }
    }
}

/// An instruction that goes on with the next, or where its check fails, with what follows the case.
enum Step {
    Do(u16, u32),
    /// Goes on only if what was loaded equals this.
    Need(u32),
    /// Goes on only if what was loaded has none of these bits.
    NeedNone(u32),
    /// Skips the next two steps if what was loaded equals this.
    Or(u32),
}

impl Case {
    fn instructions(&self, link_bytes: u32, snap_bytes: u32) -> Vec<SockFilter> {
        let steps = self.steps(link_bytes);
        let mut instructions = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            // Over the steps that follow and the instruction that keeps the frame.
            let fail = (steps.len() - index) as u8;
            instructions.push(match *step {
                Step::Do(code, at) => SockFilter::new(code, 0, 0, at),
                Step::Need(value) => SockFilter::new(IF_EQUAL, 0, fail, value),
                Step::NeedNone(bits) => SockFilter::new(IF_ANY_BIT, fail, 0, bits),
                Step::Or(value) => SockFilter::new(IF_EQUAL, 2, 0, value),
            });
        }
        instructions.push(keep(snap_bytes));
        instructions
    }

    fn steps(&self, link_bytes: u32) -> Vec<Step> {
        let is_v4 = self.ether_type == IPV4;
        let mut steps = vec![Step::Do(LOAD_U32, PROTOCOL_AT), Step::Need(self.ether_type.into())];
        if let Some(ip_protocol) = self.ip_protocol {
            let at = link_bytes + if is_v4 { 9 } else { 6 };
            steps.extend([Step::Do(LOAD_U8, at), Step::Need(ip_protocol.into())]);
        }
        if let Some(port) = self.port {
            // Source, then destination.
            let (load, at) = if is_v4 {
                const FRAGMENT_OFFSET: u32 = 0x1fff;
                steps.extend([Step::Do(LOAD_U16, link_bytes + 6), Step::NeedNone(FRAGMENT_OFFSET)]);
                steps.push(Step::Do(X_IS_IP_HEADER_BYTES, link_bytes));
                (LOAD_U16_FROM_X, link_bytes)
            } else {
                (LOAD_U16, link_bytes + 40)
            };
            steps.extend([Step::Do(load, at), Step::Or(port.into())]);
            steps.extend([Step::Do(load, at + 2), Step::Need(port.into())]);
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_filter_is_written_as_it_is_read() {
        for text in ["", "tcp", "tcp port 4444 or icmp", "port 53", "arp or ip6 or udp port 7007 or icmp6"] {
            assert_eq!(text.parse::<Filter>().unwrap().to_string(), text);
        }
        assert_eq!("  tcp   port 80".parse::<Filter>().unwrap().to_string(), "tcp port 80");
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_term_at_fault() {
        for (text, found) in [
            ("tcp or", ""),
            ("tcp or sctp", "sctp"),
            ("tcp port 65536", "tcp port 65536"),
            ("icmp port 1 or tcp", "icmp port 1"),
            ("tcp and port 80", "tcp and port 80"),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap_err().found, found, "{text}");
        }
    }

    #[test]
    fn the_kernel_takes_every_program() {
        // It checks every program whole; what programs let through is tested with real packets.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for text in ["", "arp", "tcp port 1 or udp port 2 or port 3 or icmp or icmp6 or ip or ip6"] {
            let filter: Filter = text.parse().unwrap();
            for link_bytes in [0, 14] {
                let program = filter.program(link_bytes, 128);
                socket2::SockRef::from(&socket).attach_filter(&program).unwrap();
            }
        }
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in "(tcp|port|or|80| |x){0,12}") {
            if let Ok(filter) = text.parse::<Filter>() {
                prop_assert_eq!(filter.to_string().parse::<Filter>(), Ok(filter));
            }
        }
    }
}
