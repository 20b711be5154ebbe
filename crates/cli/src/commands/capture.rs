//! `dunlin capture`: the packets of an interface of this machine or of a host, on their own.

mod remote;

use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_clock::Cancel;
use dunlin_wire::{CAPTURE_SNAP_BYTES, CaptureSpec, CaptureSummary, Filter, WireError};

use super::cancel_on_signals;
use super::on_host::OnHost;
use crate::failure::{Exit, Failure, Result};
use crate::progress::{stay, until};
use crate::terminal;
use crate::time::time;
use remote::Target;

/// Capture the packets of an interface to a file that Wireshark opens.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The interface, as in `ip link` of the machine
    #[arg(long, short = 'i', value_name = "IF")]
    interface: String,
    /// The file here, in pcapng; replaced if it is there
    #[arg(long, short = 'o', value_name = "FILE")]
    out: PathBuf,
    /// Which frames are kept, as in "tcp port 4444 or icmp": terms of ip, ip6, arp, icmp, icmp6, tcp, udp, each of the
    /// last two with a port if wanted, or a port alone [default: all]
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: Filter,
    /// How many bytes of each frame are kept; the default is enough for nearly all headers
    #[arg(long, value_name = "BYTES", default_value_t = CAPTURE_SNAP_BYTES,
        value_parser = clap::value_parser!(u32).range(14..=262_144))]
    snap: u32,
    /// End the capture after this time, as in 10s or 500ms [default: go on until Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
    #[command(flatten)]
    at: OnHost,
}

pub(crate) fn run(args: Args) -> Result {
    let cancel = cancel_on_signals()?;
    let Args { at, interface, out, filter, snap, duration } = args;
    let spec = |description| CaptureSpec { interface, description, filter, snap_bytes: snap };
    if at.is_asked() {
        let target = Target::prepare(&out)?;
        if let Some(reached) = at.reach(&cancel)? {
            let spec = spec(reached.name().to_owned());
            return remote::run(reached, &spec, &target, duration, &cancel);
        }
    }
    capture_here(&spec(String::new()), &out, duration, &cancel)
}

fn capture_here(spec: &CaptureSpec, out: &Path, duration: Option<Duration>, cancel: &Cancel) -> Result {
    let capture = dunlin_wire::capture(spec, out).map_err(|error| failure(&error))?;
    terminal::say(&format!("capturing {} to {} until {}", spec.interface, out.display(), until(duration)));
    stay(duration, || !cancel.is_cancelled() && !capture.has_ended());
    let summary = capture.stop().map_err(|error| failure(&error))?;
    let stamps = format!(
        "stamps are of CLOCK_REALTIME, mapped to the monotonic clock to within {:.1} us",
        summary.clock_error_ns as f64 / 1e3
    );
    terminal::print(&(told(&summary, &stamps) + "\n"))?;
    cut_short(&summary, "the file was cut short")
}

/// What a capture came to, in a line.
fn told(summary: &CaptureSummary, stamps: &str) -> String {
    format!(
        "{} packets of {} bytes captured, {} dropped; {stamps}",
        summary.written, summary.bytes, summary.dropped
    )
}

fn cut_short(summary: &CaptureSummary, what: &str) -> Result {
    match &summary.cut_short {
        None => Ok(()),
        Some(why) => Err(Failure::says(Exit::Failed, format!("{what}: {why}"))
            .hint("make room, or keep less by --filter or --snap")),
    }
}

fn failure(error: &WireError) -> Failure {
    match error {
        WireError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::Machine, error)
                .hint("capturing needs root, or CAP_NET_RAW: setcap cap_net_raw+ep on the binary")
        }
        WireError::Io { .. } | WireError::Answer { .. } => Failure::new(Exit::BadInput, error),
        _ => Failure::new(Exit::Failed, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_that_lost_something_says_so() {
        let summary = CaptureSummary {
            accepted: 12,
            dropped: 2,
            written: 10,
            bytes: 15_140,
            ..CaptureSummary::default()
        };
        assert_eq!(
            told(&summary, "stamps are of CLOCK_REALTIME"),
            "10 packets of 15140 bytes captured, 2 dropped; stamps are of CLOCK_REALTIME"
        );
    }
}
