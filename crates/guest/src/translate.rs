//! Workloads between the record's words and the agent's.

use std::net::SocketAddrV4;

use dunlin_agent_proto as proto;
use dunlin_record::{
    Achieved, ClockSeen, Cpu, DiskFile, HttpServed, HttpServer, LostNumbers, MemoryRead, MemoryWrite,
    Pattern, Rate, Received, StreamSeen, Workload,
};

use crate::{GuestError, Result};

const MIB: f64 = 1024.0 * 1024.0;
const PAGE_MIB: f64 = 4096.0 / MIB;
const SECOND_NS: f64 = 1e9;
const MILLISECOND_NS: f64 = 1e6;

/// A workload as the agent is asked for it.
pub(crate) fn in_the_agents_words(
    workload: &Workload,
    peer: Option<SocketAddrV4>,
) -> Result<proto::Workload> {
    Ok(match workload {
        Workload::MemoryWrite(asked) => proto::Workload::Memory(writing(asked)?),
        Workload::MemoryRead(asked) => proto::Workload::Memory(reading(asked)?),
        Workload::DiskWrite(asked) => proto::Workload::Disk(file(asked, proto::DiskAccess::Write)),
        Workload::DiskRead(asked) => proto::Workload::Disk(file(asked, proto::DiskAccess::Read)),
        Workload::Cpu(Cpu { priority }) => proto::Workload::Cpu { priority: narrow("priority", *priority)? },
        Workload::Clock => proto::Workload::Clock,
        Workload::HttpServer(HttpServer { increase_calls }) => {
            proto::Workload::HttpServer { increase_calls: *increase_calls }
        }
        Workload::TcpSend(asked) => stream(peer, None, Some(asked.rate_mib_s))?,
        Workload::TcpReceive(_) => stream(peer, None, None)?,
        Workload::UdpSend(asked) => stream(peer, Some(asked.datagram_bytes), Some(asked.rate_mib_s))?,
        Workload::UdpReceive(asked) => stream(peer, Some(asked.datagram_bytes), None)?,
        Workload::Several { .. } => {
            return Err(GuestError::Refused { what: "start several workloads under one number".into() });
        }
    })
}

fn stream(
    peer: Option<SocketAddrV4>,
    datagram_bytes: Option<u32>,
    sends: Option<Rate>,
) -> Result<proto::Workload> {
    let Some(peer) = peer else {
        return Err(GuestError::Refused { what: "start a stream without another end".into() });
    };
    let datagram_bytes = datagram_bytes.map(|bytes| narrow("datagram_bytes", bytes)).transpose()?;
    Ok(proto::Workload::Stream(proto::StreamWork { peer, datagram_bytes, sends: sends.map(rate) }))
}

fn writing(asked: &MemoryWrite) -> Result<proto::MemoryWork> {
    Ok(proto::MemoryWork {
        allocated_mib: asked.allocated_mib.unwrap_or(asked.working_set_mib),
        working_set_mib: asked.working_set_mib,
        rate: rate(asked.rate_mib_s),
        order: order(asked.pattern),
        access: proto::Access::Write { bytes_per_page: narrow("bytes_per_page", asked.bytes_per_page)? },
        compressibility_percent: narrow("compressibility_percent", asked.compressibility_percent)?,
    })
}

fn reading(asked: &MemoryRead) -> Result<proto::MemoryWork> {
    Ok(proto::MemoryWork {
        allocated_mib: asked.allocated_mib.unwrap_or(asked.working_set_mib),
        working_set_mib: asked.working_set_mib,
        rate: rate(asked.rate_mib_s),
        order: order(asked.pattern),
        access: proto::Access::Read,
        compressibility_percent: narrow("compressibility_percent", asked.compressibility_percent)?,
    })
}

fn file(asked: &DiskFile, access: proto::DiskAccess) -> proto::DiskWork {
    let DiskFile { file_mib, rate_mib_s, direct } = *asked;
    proto::DiskWork { file_mib, rate: rate(rate_mib_s), access, direct }
}

fn rate(rate: Rate) -> proto::PageRate {
    match rate {
        Rate::Full => proto::PageRate::Full,
        Rate::MibPerSecond(rate) => proto::PageRate::MibPerSecond(rate),
    }
}

fn order(pattern: Pattern) -> proto::PageOrder {
    match pattern {
        Pattern::Sequential => proto::PageOrder::Sequential,
        Pattern::Uniform => proto::PageOrder::Uniform,
        Pattern::Zipf => proto::PageOrder::Zipf,
    }
}

/// The agent judges what is possible; here it is only whether the value can be said at all.
fn narrow<T: TryFrom<u32>>(dial: &str, value: u32) -> Result<T> {
    T::try_from(value)
        .map_err(|_| GuestError::Refused { what: format!("start a workload with {dial} = {value}") })
}

/// What a workload did, as it is recorded.
pub(crate) fn in_the_records_words(achieved: &proto::Achieved) -> Achieved {
    let elapsed_s = achieved.elapsed_ns as f64 / SECOND_NS;
    // Stopped at once, nothing was done: a rate of 0, not of 0/0.
    let per_second = |amount: f64| if elapsed_s > 0.0 { amount / elapsed_s } else { 0.0 };
    let percent = |ns: u64| per_second(ns as f64 / SECOND_NS) * 100.0;
    let base = Achieved { elapsed_s: Some(elapsed_s), ..Achieved::default() };
    match &achieved.work {
        proto::Work::Memory { pages, passes, corrupt_pages } => Achieved {
            rate_mib_s: Some(per_second(*pages as f64 * PAGE_MIB)),
            passes: *passes,
            corrupt_pages: Some(*corrupt_pages),
            ..base
        },
        proto::Work::Disk { pages, passes, corrupt_pages } => Achieved {
            rate_mib_s: Some(per_second(*pages as f64 * PAGE_MIB)),
            passes: Some(*passes),
            corrupt_disk_pages: Some(*corrupt_pages),
            ..base
        },
        proto::Work::Cpu { operations, wrong_results, user_ns, system_ns } => Achieved {
            operations_per_s: Some(per_second(*operations as f64)),
            user_percent: Some(percent(*user_ns)),
            system_percent: Some(percent(*system_ns)),
            wrong_results: Some(*wrong_results),
            ..base
        },
        proto::Work::Clock { looks, gaps, realtime, boottime } => {
            let largest_jump_ms =
                |jumps: proto::Excursions| if jumps.count > 0 { ms(jumps.largest_ns) } else { 0.0 };
            let clock = ClockSeen {
                looks: *looks,
                longest_gap_ms: ms(gaps.largest_ns),
                gaps: gaps.count,
                gaps_total_ms: ms(gaps.total_ns),
                realtime_jumps: realtime.count,
                realtime_jump_ms: largest_jump_ms(*realtime),
                boottime_jumps: boottime.count,
                boottime_jump_ms: largest_jump_ms(*boottime),
            };
            Achieved { clock: Some(clock), ..base }
        }
        &proto::Work::HttpServer { answered, refused, broken, held_bytes, corrupt_pages, wrong_results } => {
            let held_mib = held_bytes as f64 / MIB;
            Achieved {
                http_server: Some(HttpServed { answered, refused, broken, held_mib }),
                corrupt_pages: Some(corrupt_pages),
                wrong_results: Some(wrong_results),
                ..base
            }
        }
        proto::Work::Stream { bytes, connections, received } => Achieved {
            rate_mib_s: Some(per_second(*bytes as f64 / MIB)),
            stream: Some(StreamSeen {
                bytes: *bytes,
                connections: Some(*connections).filter(|connections| *connections > 0),
                received: received.as_ref().map(what_came),
            }),
            ..base
        },
    }
}

fn what_came(received: &proto::Received) -> Received {
    let proto::Received { missing, late, repeated, corrupted, longest_gap_ns, ref lost } = *received;
    let lost = lost.iter().map(|&(first, count)| LostNumbers { first, count }).collect();
    Received { missing, late, repeated, corrupted, longest_gap_ns, lost }
}

fn ms(ns: i64) -> f64 {
    ns as f64 / MILLISECOND_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(work: proto::Work) -> Achieved {
        in_the_records_words(&proto::Achieved { elapsed_ns: 2_000_000_000, work })
    }

    fn about(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-9)
    }

    #[test]
    fn a_rate_counts_pages_of_4_kib() {
        let memory = said(proto::Work::Memory { pages: 10_240, passes: Some(2), corrupt_pages: 0 });
        assert!(about(memory.rate_mib_s, 20.0) && about(memory.elapsed_s, 2.0), "{memory:?}");
        assert_eq!((memory.passes, memory.corrupt_pages, memory.clock), (Some(2), Some(0), None));
    }

    #[test]
    fn a_file_is_told_apart_from_memory() {
        let disk = said(proto::Work::Disk { pages: 10_240, passes: 2, corrupt_pages: 1 });
        assert!(about(disk.rate_mib_s, 20.0), "{disk:?}");
        assert_eq!((disk.passes, disk.corrupt_disk_pages, disk.corrupt_pages), (Some(2), Some(1), None));
        let asked = DiskFile { file_mib: 7, rate_mib_s: Rate::Full, direct: true };
        let words = in_the_agents_words(&Workload::DiskRead(asked), None).unwrap();
        let (rate, access) = (proto::PageRate::Full, proto::DiskAccess::Read);
        assert_eq!(words, proto::Workload::Disk(proto::DiskWork { file_mib: 7, rate, access, direct: true }));
    }

    #[test]
    fn shares_of_the_cpu_are_of_the_time_it_ran() {
        let (user_ns, system_ns) = (1_500_000_000, 20_000_000);
        let cpu = said(proto::Work::Cpu { operations: 50, wrong_results: 0, user_ns, system_ns });
        assert!(about(cpu.user_percent, 75.0) && about(cpu.system_percent, 1.0), "{cpu:?}");
        assert!(about(cpu.operations_per_s, 25.0) && cpu.rate_mib_s.is_none(), "{cpu:?}");
    }

    #[test]
    fn a_clock_that_only_drifts_has_not_jumped() {
        let drift = proto::Excursions { count: 0, total_ns: 0, largest_ns: 90_000 };
        let gaps = proto::Excursions { count: 2, total_ns: 5_500_000, largest_ns: 4_000_000 };
        let work = proto::Work::Clock { looks: 9, gaps, realtime: drift, boottime: drift };
        let clock = said(work).clock.unwrap();
        assert!(about(Some(clock.longest_gap_ms), 4.0) && about(Some(clock.gaps_total_ms), 5.5), "{clock:?}");
        assert_eq!((clock.realtime_jumps, clock.realtime_jump_ms), (0, 0.0));
    }

    #[test]
    fn every_dial_reaches_the_agent_and_one_that_cannot_be_said_is_refused() {
        let mut write = MemoryWrite {
            allocated_mib: Some(64),
            bytes_per_page: 4096,
            pattern: Pattern::Zipf,
            compressibility_percent: 30,
            ..MemoryWrite::new(16, Rate::MibPerSecond(5.0))
        };
        let asked = proto::MemoryWork {
            allocated_mib: 64,
            working_set_mib: 16,
            rate: proto::PageRate::MibPerSecond(5.0),
            order: proto::PageOrder::Zipf,
            access: proto::Access::Write { bytes_per_page: 4096 },
            compressibility_percent: 30,
        };
        let words = in_the_agents_words(&Workload::MemoryWrite(write.clone()), None).unwrap();
        assert_eq!(words, proto::Workload::Memory(asked));
        write.compressibility_percent = 300;
        let refused = in_the_agents_words(&Workload::MemoryWrite(write), None).unwrap_err();
        assert!(refused.to_string().contains("compressibility_percent = 300"), "{refused}");
    }
}
