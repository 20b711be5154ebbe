//! Work on the network: the guest's end of a stream of numbered blocks, whose other end listens outside.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use dunlin_agent_proto::{PageRate, Received, StreamWork, Work};
use dunlin_traffic::{Account, NUMBERED_MIN_BYTES, Role, StreamEnd, StreamSpec, Transport};

const MIB: f64 = 1024.0 * 1024.0;
/// How long the first connection may take; later ones are tried for as long as the work goes on.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// An end that can reach the other.
#[derive(Debug)]
pub(super) struct Stream {
    end: StreamEnd,
    receives: bool,
}

/// Takes the way to the other end.
pub(super) fn prepare(asked: &StreamWork) -> Result<Stream, String> {
    let StreamWork { peer, datagram_bytes, sends } = *asked;
    let transport = match datagram_bytes.map(usize::from) {
        None => Transport::Tcp,
        Some(datagram_bytes) if datagram_bytes >= NUMBERED_MIN_BYTES => Transport::Udp { datagram_bytes },
        Some(datagram_bytes) => return Err(format!("datagrams of {datagram_bytes} bytes")),
    };
    let role = match sends {
        None => Role::Receive,
        Some(PageRate::Full) => Role::Send { bytes_per_s: None },
        Some(PageRate::MibPerSecond(rate)) if rate.is_finite() && rate > 0.0 => {
            Role::Send { bytes_per_s: Some(rate * MIB) }
        }
        Some(PageRate::MibPerSecond(rate)) => return Err(format!("a rate of {rate} MiB/s")),
    };
    let end = StreamEnd::dial(StreamSpec { transport, role }, peer, CONNECT_LIMIT)
        .map_err(|error| format!("reach {peer}: {error}"))?;
    Ok(Stream { end, receives: role == Role::Receive })
}

impl Stream {
    /// Sends or receives until it is stopped.
    pub(super) fn work(self, stop: &AtomicBool) -> Result<Work, String> {
        let mut account = Account::default();
        let outcome = self.end.run(stop, &mut |event| account.add(&event));
        outcome.map_err(|error| format!("keep the stream going: {error}"))?;
        let Account { bytes, connections, missing, late, repeated, corrupted, longest_gap_ns, lost, .. } =
            account;
        let received = Received { missing, late, repeated, corrupted, longest_gap_ns, lost };
        Ok(Work::Stream { bytes, connections, received: self.receives.then_some(received) })
    }
}
