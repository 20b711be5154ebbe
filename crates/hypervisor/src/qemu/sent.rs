//! What the host's kernel says of a connection: how much was sent on it.

use std::path::Path;
use std::time::Duration;

use super::vm::QemuVm;

/// Limit of asking.
const LIMIT: Duration = Duration::from_secs(3);

impl QemuVm {
    /// How much this host has sent to an address of TCP, on the connections that are open there; absent where it does not tell.
    pub(super) fn sent_bytes(&self, address: &str) -> Option<i64> {
        // Only addresses with a port are of TCP.
        address.parse::<std::net::SocketAddr>().ok()?;
        let args = ["-tiHn", "dst", address].map(Into::into);
        let output = self.host.run(Path::new("ss"), &args, LIMIT).ok()?;
        sent(&String::from_utf8_lossy(&output.stdout))
    }
}

/// All together, by what `ss` says; absent where it says nothing of it.
fn sent(said: &str) -> Option<i64> {
    let told =
        said.split_whitespace().filter_map(|word| word.strip_prefix("bytes_sent:")?.parse::<i64>().ok());
    told.fold(None, |all, one| Some(all.unwrap_or(0).saturating_add(one)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ss -tiHn` (iproute2 6.1).
    #[test]
    fn what_is_sent_on_all_connections_is_added_up() {
        let one = "ESTAB 0 0 10.78.0.11:40222 10.78.0.12:10809\n\t cubic wscale:7,7 rto:204 bytes_sent:67119233 bytes_acked:67119234 segs_out:3";
        assert_eq!(sent(one), Some(67_119_233));
        assert_eq!(sent(&format!("{one}\n{one}")), Some(2 * 67_119_233));
        assert_eq!(sent("ESTAB 0 0 10.78.0.11:40222 10.78.0.12:10809"), None);
    }
}
