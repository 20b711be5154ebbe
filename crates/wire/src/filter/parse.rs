//! Reads a filter's text: words, brackets, and what they mean; and says where one is not understood.
//!
//! ```text
//! any  = all { ("or" | "||") all }
//! all  = one { ("and" | "&&") one }
//! one  = ("not" | "!") one | "(" any ")" | test
//! test = [protocol] [side] "port" PORT["-"PORT]     side = "src" | "dst"
//!      | [side] ("host" ADDRESS | "net" ADDRESS"/"BITS)
//!      | "ether" [side] "host" MAC
//!      | "vlan" [ID] | "tunnel" | TUNNEL [NUMBER]
//!      | ["proto"] PROTOCOL | "ip" | "ip6"
//! ```

use std::net::IpAddr;

use super::{Node, PacketFilterError, Side, Test, Version};
use crate::decode::{Mac, Protocol, Tunnel, by_name};

/// More brackets and negations in each other than anybody writes.
const MOST_DEPTH: usize = 64;

type Result<T> = std::result::Result<T, PacketFilterError>;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

pub(super) fn parse(text: &str) -> Result<Node> {
    let mut words = Words { words: split(text), next: 0, length: text.chars().count() };
    let node = words.any(0)?;
    match words.peek() {
        None => Ok(node),
        Some(")") => Err(words.wrong("this bracket closes nothing".into())),
        Some(word) => Err(words.wrong(format!("\"{word}\" follows without \"and\" or \"or\""))),
    }
}

/// The words, each with its place in characters from 1. Brackets and `!` are words of their own.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let mut is_inside = false;
    for (at, letter) in (1..).zip(text.chars()) {
        match letter {
            letter if letter.is_whitespace() => is_inside = false,
            '(' | ')' | '!' => {
                words.push((at, letter.into()));
                is_inside = false;
            }
            letter => match words.last_mut().filter(|_| is_inside) {
                Some((_, word)) => word.push(letter),
                None => {
                    words.push((at, letter.into()));
                    is_inside = true;
                }
            },
        }
    }
    words
}

struct Words {
    words: Vec<(usize, String)>,
    next: usize,
    /// Of the text, in characters.
    length: usize,
}

impl Words {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.next).map(|(_, word)| word.as_str())
    }

    fn take(&mut self) -> Option<String> {
        let (_, word) = self.words.get(self.next)?;
        self.next += 1;
        Some(word.clone())
    }

    fn take_if(&mut self, wanted: &[&str]) -> bool {
        let is_there = self.peek().is_some_and(|word| wanted.contains(&word));
        self.next += usize::from(is_there);
        is_there
    }

    /// An error at the next word.
    fn wrong(&self, why: String) -> PacketFilterError {
        let at = self.words.get(self.next).map_or(self.length + 1, |(at, _)| *at);
        PacketFilterError { why, at }
    }

    /// The next word as what `read` makes of it; `what` it should be is said where it makes nothing.
    fn value<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<T> {
        let Some(word) = self.peek() else {
            return Err(self.wrong(format!("it ends where {what} should follow")));
        };
        let value = read(word).ok_or_else(|| self.wrong(format!("\"{word}\" is not {what}")))?;
        self.next += 1;
        Ok(value)
    }

    fn any(&mut self, depth: usize) -> Result<Node> {
        let mut nodes = vec![self.all(depth)?];
        while self.take_if(&["or", "||"]) {
            nodes.push(self.all(depth)?);
        }
        Ok(joined(nodes, Node::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Node> {
        let mut nodes = vec![self.one(depth)?];
        while self.take_if(&["and", "&&"]) {
            nodes.push(self.one(depth)?);
        }
        Ok(joined(nodes, Node::All))
    }

    fn one(&mut self, depth: usize) -> Result<Node> {
        if depth == MOST_DEPTH {
            return Err(
                self.wrong(format!("more than {MOST_DEPTH} brackets and negations are in each other"))
            );
        }
        if self.take_if(&["not", "!"]) {
            return Ok(Node::Not(Box::new(self.one(depth + 1)?)));
        }
        let opened = self.words.get(self.next).map_or(0, |(at, _)| *at);
        if self.take_if(&["("]) {
            let node = self.any(depth + 1)?;
            return match self.peek() {
                Some(")") => {
                    self.next += 1;
                    Ok(node)
                }
                Some(word) => Err(self.wrong(format!("\"{word}\" follows without \"and\" or \"or\""))),
                None => Err(PacketFilterError { why: "this bracket is not closed".into(), at: opened }),
            };
        }
        self.test()
    }

    fn test(&mut self) -> Result<Node> {
        let begin = self.next;
        let Some(word) = self.take() else {
            return Err(self.wrong("it ends where a test should follow, as in \"tcp port 80\"".into()));
        };
        let protocol = match word.as_str() {
            "tcp" => Some(TCP),
            "udp" => Some(UDP),
            "sctp" => Some(SCTP),
            _ => None,
        };
        if protocol.is_some() && matches!(self.peek(), Some("port" | "src" | "dst")) {
            let side = self.side();
            if !self.take_if(&["port"]) {
                return Err(self.wrong("\"port\" should follow here".into()));
            }
            return self.ports(side, protocol);
        }
        match word.as_str() {
            "ether" => {
                let side = self.side();
                if !self.take_if(&["host"]) {
                    return Err(self.wrong("\"host\" should follow \"ether\"".into()));
                }
                let mac = self.value("an Ethernet address, as in 52:54:00:12:34:56", mac)?;
                Ok(Node::Test(Test::Ether { side, mac }))
            }
            "vlan" => {
                let id =
                    self.number_if_any("a VLAN's number", |number| (number < 4096).then_some(number as u16))?;
                Ok(Node::Test(Test::Vlan(id)))
            }
            "ip" => Ok(Node::Test(Test::Version(Version::V4))),
            "ip6" => Ok(Node::Test(Test::Version(Version::V6))),
            "tunnel" => Ok(Node::Test(Test::Tunnel { kinds: Tunnel::ALL.into(), id: None })),
            "proto" => {
                let protocols = self.value("a protocol's name or number", |word| {
                    let number = word.parse().ok().map(|number| vec![Protocol::OverIp(number)]);
                    number.or_else(|| protocols(word))
                })?;
                Ok(Node::Test(Test::Protocols(protocols)))
            }
            "src" | "dst" | "host" | "net" | "port" => {
                self.next = begin;
                let side = self.side();
                self.addresses_or_ports(side)
            }
            word => self.named(word, begin),
        }
    }

    fn addresses_or_ports(&mut self, side: Side) -> Result<Node> {
        if self.take_if(&["host"]) {
            let net: IpAddr = self.value("an address, as in 10.0.0.1", |word| word.parse().ok())?;
            let prefix = if net.is_ipv4() { 32 } else { 128 };
            return Ok(Node::Test(Test::Net { side, net, prefix }));
        }
        if self.take_if(&["net"]) {
            let (net, prefix) = self.value("a network, as in 10.0.0.0/8", net)?;
            return Ok(Node::Test(Test::Net { side, net, prefix }));
        }
        if self.take_if(&["port"]) {
            return self.ports(side, None);
        }
        Err(self.wrong("\"host\", \"net\" or \"port\" should follow here".into()))
    }

    fn ports(&mut self, side: Side, protocol: Option<u8>) -> Result<Node> {
        let (from, to) = self.value("a port or a range of ports, as in 80 or 49152-49215", |word| {
            let (from, to) = word.split_once('-').unwrap_or((word, word));
            let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
            (from <= to).then_some((from, to))
        })?;
        Ok(Node::Test(Test::Ports { side, protocol, from, to }))
    }

    fn side(&mut self) -> Side {
        if self.take_if(&["src"]) {
            Side::Source
        } else if self.take_if(&["dst"]) {
            Side::Destination
        } else {
            Side::Either
        }
    }

    /// A number, if one follows.
    fn number_if_any<T>(&mut self, what: &str, read: impl Fn(u32) -> Option<T>) -> Result<Option<T>> {
        if !self.peek().is_some_and(|word| word.starts_with(|letter: char| letter.is_ascii_digit())) {
            return Ok(None);
        }
        self.value(what, |word| word.parse().ok().and_then(&read)).map(Some)
    }

    /// A tunnel or a protocol by its name alone.
    fn named(&mut self, word: &str, begin: usize) -> Result<Node> {
        let kinds: Vec<Tunnel> = Tunnel::ALL.into_iter().filter(|tunnel| is_named(*tunnel, word)).collect();
        let protocols = protocols(word);
        if kinds.is_empty() {
            let Some(protocols) = protocols else {
                self.next = begin;
                return Err(self.wrong(format!("\"{word}\" is no test, protocol or tunnel")));
            };
            return Ok(Node::Test(Test::Protocols(protocols)));
        }
        let id = self.number_if_any("a tunnel's number", Some)?;
        let tunnel = Node::Test(Test::Tunnel { kinds, id });
        // With a number it was looked into; without, also where there was nothing in it.
        Ok(match protocols.filter(|_| id.is_none()) {
            Some(protocols) => Node::Any(vec![tunnel, Node::Test(Test::Protocols(protocols))]),
            None => tunnel,
        })
    }
}

/// One as it is, several joined.
fn joined(mut nodes: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    match nodes.pop() {
        Some(only) if nodes.is_empty() => only,
        last => {
            nodes.extend(last);
            join(nodes)
        }
    }
}

fn is_named(tunnel: Tunnel, word: &str) -> bool {
    tunnel.name().to_ascii_lowercase().replace(' ', "-") == word || tunnel == Tunnel::IpInIp && word == "ipip"
}

fn protocols(word: &str) -> Option<Vec<Protocol>> {
    // As libpcap has it.
    let word = if word == "icmp6" { "icmpv6" } else { word };
    Some(by_name(word)).filter(|protocols| !protocols.is_empty())
}

fn mac(word: &str) -> Option<Mac> {
    let mut bytes = word.split(':').map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() <= 2));
    let mac = std::array::from_fn(|_| bytes.next().flatten());
    let [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)] = mac else { return None };
    bytes.next().is_none().then_some(Mac([a, b, c, d, e, f]))
}

fn net(word: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = word.split_once('/')?;
    let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
    let most = if address.is_ipv4() { 32 } else { 128 };
    (prefix <= most).then_some((address, prefix))
}
