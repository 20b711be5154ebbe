//! What an interface has sent and received: the kernel's 64-bit counters, by netlink (rtnetlink(7), `IFLA_STATS64`).

use dunlin_clock::{MILLISECOND_NS, now_ns};
use dunlin_record::shapes::WIRE;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::recording::Source;
use crate::{Recording, Result, RowSink, Summary, WireError};

/// Room for one link's description, which is some 2 KiB.
const ANSWER_BYTES: usize = 32 << 10;

/// An interface's counters since it was made, as seen from its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// When they were read, on the bench's clock.
    pub t_ns: i64,
    /// Bytes sent, with Ethernet headers.
    pub tx_bytes: u64,
    /// Bytes received, with Ethernet headers.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Frames received.
    pub rx_packets: u64,
}

impl InterfaceCounters {
    fn row(&self) -> [i64; WIRE.len()] {
        let [tx_bytes, rx_bytes, tx_packets, rx_packets] =
            [self.tx_bytes, self.rx_bytes, self.tx_packets, self.rx_packets].map(u64::cast_signed);
        [self.t_ns, tx_bytes, rx_bytes, tx_packets, rx_packets]
    }
}

/// Records the counters of an interface of the current network namespace every 10 ms as rows of
/// [`WIRE`].
///
/// # Errors
/// Where the interface is not there.
pub fn count_interface(interface: &str, sink: RowSink) -> Result<Recording> {
    let mut source = Counters::open(interface)?;
    source.read_now()?;
    Recording::start("counters", source, sink)
}

/// Reads the counters of an interface of the current network namespace once.
///
/// # Errors
/// Where the interface is not there.
pub fn read_interface(interface: &str) -> Result<InterfaceCounters> {
    Counters::open(interface)?.read_now()
}

struct Counters {
    interface: String,
    socket: Socket,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Source for Counters {
    const PERIOD_NS: i64 = 10 * MILLISECOND_NS;

    fn read(&mut self, rows: &mut Vec<i64>) -> Result<()> {
        rows.extend(self.read_now()?.row());
        Ok(())
    }

    fn summary(&mut self) -> Result<Summary> {
        Ok(Summary::default())
    }
}

impl Counters {
    fn open(interface: &str) -> Result<Self> {
        let index =
            nix::net::if_::if_nametoindex(interface).map_err(WireError::io("find interface", interface))?;
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(WireError::io("open netlink for", interface))?;
        socket.bind_auto().map_err(WireError::io("bind netlink for", interface))?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(WireError::io("connect netlink for", interface))?;
        Ok(Self {
            interface: interface.to_owned(),
            socket,
            request: get_link(index),
            answer: Vec::with_capacity(ANSWER_BYTES),
        })
    }

    fn read_now(&mut self) -> Result<InterfaceCounters> {
        const READ: &str = "read the counters of";
        let before_ns = now_ns();
        self.socket.send(&self.request, 0).map_err(WireError::io(READ, &self.interface))?;
        let t_ns = before_ns + (now_ns() - before_ns) / 2;
        self.answer.clear();
        // The kernel answers while it takes the request, so there is nothing to wait for.
        self.socket
            .recv(&mut self.answer, libc::MSG_DONTWAIT)
            .map_err(WireError::io(READ, &self.interface))?;
        self.counters(t_ns)
    }

    fn counters(&self, t_ns: i64) -> Result<InterfaceCounters> {
        let wrong = |why: String| WireError::Answer {
            what: format!("the kernel's answer about {}", self.interface),
            why,
        };
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&self.answer)
            .map_err(|error| wrong(error.to_string()))?;
        let link = match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => link,
            NetlinkPayload::Error(error) => {
                return Err(WireError::io("read the counters of", &self.interface)(error.to_io()));
            }
            _ => return Err(wrong("it is not about a link".into())),
        };
        let stats = link
            .attributes
            .into_iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Stats64(stats) => Some(stats),
                _ => None,
            })
            .ok_or_else(|| wrong("it has no 64-bit counters".into()))?;
        Ok(InterfaceCounters {
            t_ns,
            tx_bytes: stats.tx_bytes,
            rx_bytes: stats.rx_bytes,
            tx_packets: stats.tx_packets,
            rx_packets: stats.rx_packets,
        })
    }
}

/// The request for everything about one link.
fn get_link(index: u32) -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    let payload = NetlinkPayload::from(RouteNetlinkMessage::GetLink(link));
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_named_in_the_error() {
        let error = read_interface("dunlin-none").unwrap_err();
        assert_eq!(error.to_string(), "cannot find interface dunlin-none");
    }
}
