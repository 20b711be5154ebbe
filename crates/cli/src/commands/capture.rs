//! `dunlin capture`: the packets of an interface of this machine, on their own.

use std::path::PathBuf;
use std::time::Duration;

use dunlin_clock::Deadline;
use dunlin_wire::{CAPTURE_SNAP_BYTES, CaptureSpec, CaptureSummary, Filter, WireError};

use super::cancel_on_signals;
use crate::failure::{Exit, Failure, Result};
use crate::terminal;
use crate::time::time;

/// How long until it is seen that the capture is to end.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Capture the packets of an interface to a file that Wireshark opens.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The interface, as in `ip link`
    #[arg(long, short = 'i', value_name = "IF")]
    interface: String,
    /// The file, in pcapng; replaced if it is there
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
}

pub(crate) fn run(args: Args) -> Result {
    let cancel = cancel_on_signals()?;
    let spec = CaptureSpec {
        interface: args.interface,
        description: String::new(),
        filter: args.filter,
        snap_bytes: args.snap,
    };
    let capture = dunlin_wire::capture(&spec, &args.out).map_err(|error| failure(&error))?;
    let until = args
        .duration
        .map_or("Ctrl-C".to_owned(), |duration| format!("{} s have passed", duration.as_secs_f64()));
    terminal::say(&format!("capturing {} to {} until {until}", spec.interface, args.out.display()));
    let deadline = Deadline::after(args.duration.unwrap_or(Duration::MAX));
    while !cancel.is_cancelled() && !deadline.passed() && !capture.has_ended() {
        std::thread::sleep(deadline.step(LOOK_UP));
    }
    let summary = capture.stop().map_err(|error| failure(&error))?;
    terminal::print(&(told(&summary) + "\n"))?;
    match &summary.cut_short {
        None => Ok(()),
        Some(why) => Err(Failure::says(Exit::Failed, format!("the file was cut short: {why}"))
            .hint("make room, or keep less by --filter or --snap")),
    }
}

/// What a capture came to, in a line.
fn told(summary: &CaptureSummary) -> String {
    format!(
        "{} packets of {} bytes captured, {} dropped; stamps are of CLOCK_REALTIME, mapped to the monotonic clock to \
         within {:.1} us",
        summary.written,
        summary.bytes,
        summary.dropped,
        summary.clock_error_ns as f64 / 1e3
    )
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
            clock_error_ns: 150,
            ..CaptureSummary::default()
        };
        assert_eq!(
            told(&summary),
            "10 packets of 15140 bytes captured, 2 dropped; stamps are of CLOCK_REALTIME, mapped to the monotonic clock \
             to within 0.1 us"
        );
    }
}
