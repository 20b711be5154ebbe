//! What the bench and a helper say to each other: frames of a little-endian `u32` length and so many bytes of postcard.
//!
//! A helper begins with a line that says which version of this it speaks ([`VERSION`]): there is no other to agree on, as
//! both ends should be the same binary. Still, what comes in may be anything.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use super::host_protocol::{HostAsk, HostTell};
use dunlin_probe::TcpProbeSummary;
use dunlin_record::{FileCompression, TcpProbe};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Raised with every change of what is said here.
pub(super) const VERSION: u32 = 7;
/// What a helper's first line begins with; its version follows.
pub(super) const GREETING: &str = "dunlin-helper ";
/// The longest first line.
pub(super) const GREETING_BYTES: u64 = 64;

/// The longest frame: far more than the rows of a flood of probes in one batch.
pub(super) const FRAME_BYTES: u32 = 16 << 20;

/// What the sender of a carried file shows its receiver.
pub(crate) type Token = [u8; 32];

/// From the bench to the helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Names the request in all that is told about it.
    pub(super) id: u32,
    pub(super) ask: Ask,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    Ping,
    /// What its clocks say now.
    Clock,
    /// A task: rows until stopped.
    WatchPassages {
        interface: String,
    },
    /// A task: rows until stopped.
    CountInterface {
        interface: String,
    },
    /// A task: rows until stopped.
    CountFlow {
        interface: String,
        filter: String,
    },
    /// A task: rows until stopped.
    CountCpu,
    /// A task: rows until stopped.
    CountProcessCpu {
        pid: u32,
        vcpu_threads: Vec<u32>,
    },
    /// A task: packets to a file on the helper's host until stopped.
    Capture {
        interface: String,
        description: String,
        filter: String,
        snap_bytes: u32,
        #[serde(with = "super::bytes::path")]
        path: PathBuf,
    },
    /// A task: answers datagrams until stopped.
    UdpEcho {
        bind: SocketAddrV4,
    },
    /// A task: responds to TCP probes until stopped.
    TcpResponder {
        bind: SocketAddrV4,
    },
    /// A task: rows until stopped.
    ProbeTcp {
        peer: SocketAddrV4,
        probe: TcpProbe,
    },
    /// A task: serves the guests' web pages until stopped.
    HttpServer {
        bind: SocketAddrV4,
        memory_limit_bytes: u64,
        increase_calls: u32,
    },
    /// A task: asks for a page until [`Ask::EndLoad`]. How long answers took is told at its end, so that nothing travels beside
    /// what is measured.
    HttpLoad {
        target: SocketAddrV4,
        path: String,
        interval_ns: i64,
    },
    /// Ends a load, which may first wait for the answers that can still come.
    EndLoad {
        task: u32,
        waits: bool,
    },
    /// Whether a task has ended by itself.
    HasEnded {
        task: u32,
    },
    GoodputSink {
        bind: SocketAddrV4,
        limit_ms: u64,
    },
    GoodputSource {
        to: SocketAddrV4,
        limit_ms: u64,
    },
    /// A task: receives a file, once somebody shows the token.
    CarryIn {
        bind: SocketAddrV4,
        #[serde(with = "super::bytes::path")]
        path: PathBuf,
        token: Token,
        /// How many may decompress.
        threads: u32,
        /// The file's length.
        expected: u64,
    },
    /// A task: sends a file.
    CarryOut {
        from: Ipv4Addr,
        to: SocketAddrV4,
        #[serde(with = "super::bytes::path")]
        path: PathBuf,
        token: Token,
        compression: FileCompression,
        level: Option<u32>,
        threads: u32,
        sparse: bool,
    },
    /// What is at a path.
    LookAtFile {
        #[serde(with = "super::bytes::path")]
        path: PathBuf,
    },
    /// Makes a hole of all of a file that is there, of a length.
    EmptyFile {
        #[serde(with = "super::bytes::path")]
        path: PathBuf,
        length: u64,
    },
    /// A TCP port that nobody has just now.
    FreePort {
        address: Ipv4Addr,
    },
    /// Ends a process and all that descend from it.
    EndTree {
        pid: u32,
    },
    /// Ends the task that the request of this id began.
    Stop {
        task: u32,
    },
    /// Nothing but a sign of life; it is not answered.
    Beat,
    /// What a machine that is reached by its helper alone has to be asked.
    Host(HostAsk),
}

/// From the helper to the bench.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// The request it is about.
    pub(super) id: u32,
    pub(super) tell: Tell,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Tell {
    Pong,
    Clock {
        monotonic_ns: i64,
        epoch_ns: i64,
        /// How far apart the two may have been read.
        error_ns: i64,
    },
    Started,
    /// Whole rows, laid end to end.
    Rows(Vec<i64>),
    Listening {
        at: SocketAddrV4,
    },
    Arrived {
        bytes: u64,
        during_ns: i64,
    },
    Sent {
        rtt_ns: i64,
    },
    /// A task has ended; all its rows were told before.
    Stopped {
        dropped: Option<u64>,
        clock_error_ns: Option<i64>,
    },
    /// A capture has ended; its file is whole.
    Captured {
        accepted: u64,
        dropped: u64,
        written: u64,
        bytes: u64,
        clock_offset_ns: i64,
        clock_error_ns: i64,
        cut_short: Option<String>,
    },
    /// A TCP probe has ended; all its rows were told before.
    ProbedTcp(TcpProbeSummary),
    HasEnded(bool),
    /// A server of web pages has ended.
    Served {
        answered: u64,
        refused: u64,
        broken: u64,
        held_bytes: u64,
        corrupt_pages: u64,
        wrong_results: u64,
    },
    /// A load has ended; how long each answer took was told before, as rows of one value.
    Loaded {
        requests: u64,
        failed: u64,
        cpu_busy_ns: Option<i64>,
        cpu_all_ns: Option<i64>,
    },
    /// What one end of a file that is carried tells.
    Carry(CarryTold),
    /// What is at a path, if anything is.
    File(Option<FileLook>),
    Done,
    Failed {
        why: String,
    },
    /// An answer to [`Ask::Host`].
    Host(HostTell),
}

/// What one end of a file that is carried tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CarryTold {
    /// How far the sender is.
    Progress { done_bytes: u64, total_bytes: u64 },
    /// It was sent, and its receiver has said that it is written.
    Sent {
        file_bytes: u64,
        content_bytes: u64,
        sent_bytes: u64,
        compress_ns: Option<i64>,
        transfer_ns: i64,
        checksum: [u8; 32],
    },
    /// It was received and written.
    Received { content_bytes: u64, decompress_ns: Option<i64>, checksum: [u8; 32] },
    /// It broke off, and what it made of the file is undone: for something on its host, or else on the way.
    Broke { why: String, is_here: bool },
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileLook {
    pub(crate) is_file: bool,
    pub(crate) bytes: u64,
    /// What it takes up: nothing where it is but a hole.
    pub(crate) allocated_bytes: u64,
    /// What its file system still takes of this user; absent where that is not told.
    pub(crate) room_bytes: Option<u64>,
}

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the stream broke")]
    Io(#[from] io::Error),
    #[error("a frame of {bytes} bytes is longer than any should be")]
    TooLong { bytes: u64 },
    #[error("a frame is no message")]
    Malformed(#[from] postcard::Error),
}

/// Writes one frame in one piece.
pub(super) fn write_frame(
    to: &mut (impl Write + ?Sized),
    message: &impl Serialize,
) -> Result<(), FrameError> {
    let mut frame = postcard::to_extend(message, vec![0; 4])?;
    let bytes = frame.len() - 4;
    match u32::try_from(bytes) {
        Ok(length) if length <= FRAME_BYTES => frame[..4].copy_from_slice(&length.to_le_bytes()),
        _ => return Err(FrameError::TooLong { bytes: bytes as u64 }),
    }
    to.write_all(&frame)?;
    to.flush()?;
    Ok(())
}

/// Reads one frame; `None` where the stream ends between two.
pub(super) fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut start = Vec::with_capacity(4);
    from.by_ref().take(4).read_to_end(&mut start)?;
    if start.is_empty() {
        return Ok(None);
    }
    let broken = || FrameError::Io(io::ErrorKind::UnexpectedEof.into());
    let length = u32::from_le_bytes(start.try_into().map_err(|_| broken())?);
    if length > FRAME_BYTES {
        return Err(FrameError::TooLong { bytes: length.into() });
    }
    // Grows with what really comes, so a wrong length costs no memory.
    let mut frame = Vec::new();
    from.by_ref().take(length.into()).read_to_end(&mut frame)?;
    if frame.len() < length as usize {
        return Err(broken());
    }
    Ok(Some(postcard::from_bytes(&frame)?))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use dunlin_record::{ProbeConnection, RequestResponse, SocketBuffers, StreamProbe};
    use proptest::prelude::*;

    use super::*;
    use crate::helper::bytes::Bytes;
    use crate::helper::host_protocol::Device;

    fn read_all(mut bytes: &[u8]) -> Result<Vec<Report>, FrameError> {
        let mut reports = Vec::new();
        while let Some(report) = read_frame(&mut bytes)? {
            reports.push(report);
        }
        Ok(reports)
    }

    #[test]
    fn a_frame_longer_than_any_should_be_is_refused_unread() {
        assert!(matches!(read_all(&u32::MAX.to_le_bytes()), Err(FrameError::TooLong { bytes: 0xffff_ffff })));
        let rows = Report { id: 1, tell: Tell::Rows(vec![i64::MIN; FRAME_BYTES as usize / 8]) };
        let mut written = Vec::new();
        assert!(matches!(write_frame(&mut written, &rows), Err(FrameError::TooLong { .. })));
        assert!(written.is_empty());
    }

    #[test]
    fn a_stream_that_breaks_inside_a_frame_is_an_error() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &Report { id: 7, tell: Tell::Failed { why: "tired".into() } }).unwrap();
        assert_eq!(read_all(&bytes).unwrap().len(), 1);
        for cut in 1..bytes.len() {
            assert!(matches!(read_all(&bytes[..cut]), Err(FrameError::Io(_))), "cut at {cut}");
        }
    }

    #[test]
    fn a_tcp_probe_is_asked_and_told_of_with_and_without_its_options() {
        let asked = [
            TcpProbe::RequestResponse(RequestResponse::default()),
            TcpProbe::Stream(StreamProbe { send_buffer_bytes: Some(9), ..StreamProbe::default() }),
        ];
        for probe in asked {
            let request =
                Request { id: 1, ask: Ask::ProbeTcp { peer: "10.0.0.1:7".parse().unwrap(), probe } };
            let mut bytes = Vec::new();
            write_frame(&mut bytes, &request).unwrap();
            assert_eq!(read_frame(&mut &bytes[..]).unwrap(), Some(request));
        }
        let buffers = SocketBuffers { send_bytes: 1, receive_bytes: 2 };
        let connection = |broken| ProbeConnection {
            peer: "10.0.0.2:7".into(),
            connected_ns: 1,
            ended_ns: 2,
            broken,
            local: buffers,
            remote: buffers,
            local_at_end: buffers,
            congestion_control: "cubic".into(),
            retransmitted_segments: None,
        };
        let connections = vec![connection(None), connection(Some("reset".into()))];
        let report =
            Report { id: 2, tell: Tell::ProbedTcp(TcpProbeSummary { cpu_ns: 1, wall_ns: 2, connections }) };
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &report).unwrap();
        assert_eq!(read_all(&bytes).unwrap(), [report]);
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..200)
    }

    /// Of any bytes that the kernel takes, unicode or not.
    fn os() -> impl Strategy<Value = OsString> {
        bytes().prop_map(OsString::from_vec)
    }

    fn path() -> impl Strategy<Value = PathBuf> {
        os().prop_map(PathBuf::from)
    }

    fn host_ask() -> impl Strategy<Value = HostAsk> {
        let args = || proptest::collection::vec(os(), 0..9);
        prop_oneof![
            (path(), args(), any::<u64>()).prop_map(|(program, args, limit_ms)| HostAsk::Run {
                program,
                args,
                limit_ms
            }),
            (path(), args(), path(), path()).prop_map(|(program, args, stdout, stderr)| HostAsk::Launch {
                program,
                args,
                stdout,
                stderr
            }),
            (path(), args()).prop_map(|(program, args)| HostAsk::AtEnd { program, args }),
            any::<u32>().prop_map(|task| HostAsk::Revoke { task }),
            (path(), any::<u64>()).prop_map(|(socket, limit_ms)| HostAsk::Dial { socket, limit_ms }),
            (path(), any::<u32>()).prop_map(|(path, mode)| HostAsk::Put { path, mode }),
            (any::<u32>(), bytes()).prop_map(|(task, bytes)| HostAsk::Send { task, bytes: Bytes(bytes) }),
            (any::<u32>(), any::<u64>()).prop_map(|(task, bytes)| HostAsk::Skip { task, bytes }),
            path().prop_map(|path| HostAsk::Fetch { path }),
            path().prop_map(|folder| HostAsk::List { folder }),
            (path(), bytes()).prop_map(|(path, bytes)| HostAsk::WritePrivate { path, bytes: Bytes(bytes) }),
            (any::<String>(), any::<String>()).prop_map(|(name, bridge)| HostAsk::AddTap { name, bridge }),
            any::<(u32, u64)>().prop_map(|(pid, started)| HostAsk::IsThere { pid, started }),
            Just(HostAsk::Machine),
        ]
    }

    fn host_tell() -> impl Strategy<Value = HostTell> {
        let device =
            (any::<String>(), any::<u32>(), any::<u8>(), any::<Option<u32>>(), any::<Option<[u8; 6]>>())
                .prop_map(|(name, address, prefix, mtu, mac)| Device {
                    name,
                    address: address.into(),
                    prefix,
                    mtu,
                    mac,
                });
        prop_oneof![
            (any::<String>(), any::<bool>(), bytes(), bytes()).prop_map(|(how, success, stdout, stderr)| {
                HostTell::Ran { how, success, stdout: Bytes(stdout), stderr: Bytes(stderr) }
            }),
            bytes().prop_map(|bytes| HostTell::Bytes(Bytes(bytes))),
            any::<u64>().prop_map(HostTell::Zeros),
            proptest::collection::vec(os(), 0..9).prop_map(HostTell::Files),
            any::<Option<i64>>().prop_map(HostTell::Resident),
            proptest::collection::vec(device, 0..9).prop_map(HostTell::Devices),
        ]
    }

    #[test]
    fn a_wrong_size_within_a_frame_costs_no_memory() {
        // What is asked or told, and then the length of what follows: 2^63 bytes, of which none come.
        let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
        for message in 0..40 {
            for kind in 0..40 {
                for before in 0..4 {
                    let frame = [&[0, message, kind][..], &vec![0; before], &huge].concat();
                    let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
                    let frame = [&length[..], &frame].concat();
                    let _ = read_frame::<Request>(&mut &frame[..]);
                    let _ = read_frame::<Report>(&mut &frame[..]);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_asked_of_a_host_and_told_by_it_is_read_as_it_was_written(
            id: u32,
            ask in host_ask(),
            tell in host_tell(),
        ) {
            let request = Request { id, ask: Ask::Host(ask) };
            let report = Report { id, tell: Tell::Host(tell) };
            let mut bytes = Vec::new();
            write_frame(&mut bytes, &request).unwrap();
            let length = bytes.len();
            write_frame(&mut bytes, &report).unwrap();
            prop_assert_eq!(read_frame::<Request>(&mut &bytes[..]).unwrap(), Some(request));
            prop_assert_eq!(read_frame::<Report>(&mut &bytes[length..]).unwrap(), Some(report));
        }

        #[test]
        fn a_message_of_a_host_with_some_bytes_changed_never_panics(
            ask in host_ask(),
            tell in host_tell(),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut asked = Vec::new();
            write_frame(&mut asked, &Request { id: 1, ask: Ask::Host(ask) }).unwrap();
            let mut told = Vec::new();
            write_frame(&mut told, &Report { id: 1, tell: Tell::Host(tell) }).unwrap();
            for (at, byte) in changes {
                // The length stays, to reach the decoder.
                for frame in [&mut asked, &mut told] {
                    let at = 4 + at.index(frame.len() - 4);
                    frame[at] = byte;
                }
            }
            let _ = read_frame::<Request>(&mut &asked[..]);
            let _ = read_frame::<Report>(&mut &told[..]);
        }

        #[test]
        fn what_is_written_is_read(id: u32, values: Vec<i64>, why: String) {
            let told = [Tell::Rows(values), Tell::Failed { why }, Tell::Pong];
            let reports: Vec<_> = told.into_iter().map(|tell| Report { id, tell }).collect();
            let mut bytes = Vec::new();
            for report in &reports {
                write_frame(&mut bytes, report).unwrap();
            }
            prop_assert_eq!(read_all(&bytes).unwrap(), reports);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>, frame: Vec<u8>) {
            let _ = read_all(&bytes);
            // The same as a frame of the right length, to reach the decoder.
            let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
            let _ = read_all(&[&length[..], &frame].concat());
            let _ = read_frame::<Request>(&mut &[&length[..], &frame].concat()[..]);
        }
    }
}
