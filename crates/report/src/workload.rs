//! The words for what a guest was asked to do, and for what it did.

use dunlin_record::{
    Achieved, Cpu, DiskFile, Flag, HttpServer, MemoryRead, MemoryWrite, Outcome, Pattern, Rate, Received,
    StreamSeen, UdpStream, Workload,
};

use crate::format::number;

/// What was asked, dials at their defaults left out.
pub(crate) fn asked(workload: &Workload) -> String {
    match workload {
        Workload::MemoryWrite(asked) => memory_write(asked),
        Workload::MemoryRead(asked) => memory_read(asked),
        Workload::DiskWrite(asked) => disk_file("disk-write", asked),
        Workload::DiskRead(asked) => disk_file("disk-read", asked),
        Workload::Cpu(Cpu { priority }) => format!("cpu, priority {priority}"),
        Workload::Clock => "clock".into(),
        Workload::TcpSend(asked) => format!("tcp-send, {}", speed(asked.rate_mib_s)),
        Workload::TcpReceive(asked) => format!("tcp-receive, {}", speed(asked.rate_mib_s)),
        Workload::UdpSend(asked) => format!("udp-send, {}", datagrams(asked)),
        Workload::UdpReceive(asked) => format!("udp-receive, {}", datagrams(asked)),
        Workload::Several { each } => each.iter().map(asked).collect::<Vec<_>>().join(" + "),
        Workload::HttpServer(HttpServer { increase_calls: 0 }) => "http-server".into(),
        Workload::HttpServer(HttpServer { increase_calls }) => {
            format!("http-server, {increase_calls} x 10 MiB held")
        }
    }
}

fn memory_write(asked: &MemoryWrite) -> String {
    let MemoryWrite {
        working_set_mib,
        allocated_mib,
        rate_mib_s,
        bytes_per_page,
        pattern,
        compressibility_percent,
    } = asked;
    let mut text = format!("memory-write, {working_set_mib} MiB {}", speed(*rate_mib_s));
    text.push_str(&memory_dials(*allocated_mib, *pattern, *compressibility_percent));
    if *bytes_per_page != 8 {
        text.push_str(&format!(", {bytes_per_page} bytes a page"));
    }
    text
}

fn memory_read(asked: &MemoryRead) -> String {
    let MemoryRead { working_set_mib, allocated_mib, rate_mib_s, pattern, compressibility_percent } = asked;
    let dials = memory_dials(*allocated_mib, *pattern, *compressibility_percent);
    format!("memory-read, {working_set_mib} MiB {}{dials}", speed(*rate_mib_s))
}

fn disk_file(kind: &str, asked: &DiskFile) -> String {
    let DiskFile { file_mib, rate_mib_s, direct } = asked;
    let direct = if *direct { ", past the guest's cache" } else { "" };
    format!("{kind}, {file_mib} MiB {}{direct}", speed(*rate_mib_s))
}

fn datagrams(asked: &UdpStream) -> String {
    format!("{} bytes a datagram {}", asked.datagram_bytes, speed(asked.rate_mib_s))
}

fn memory_dials(allocated_mib: Option<u32>, pattern: Pattern, compressibility_percent: u32) -> String {
    let allocated = allocated_mib.map(|mib| format!(", of {mib} MiB allocated"));
    let pattern = match pattern {
        Pattern::Sequential => None,
        Pattern::Uniform => Some(", pages at random".into()),
        Pattern::Zipf => Some(", pages by Zipf's law".into()),
    };
    let compressible =
        (compressibility_percent > 0).then(|| format!(", {compressibility_percent} % compressible"));
    [allocated, pattern, compressible].into_iter().flatten().collect()
}

fn speed(rate: Rate) -> String {
    match rate {
        Rate::Full => "at full speed".into(),
        Rate::MibPerSecond(rate) => format!("at {rate} MiB/s"),
    }
}

/// What was achieved, as far as it applies; of several workloads one after the other.
pub(crate) fn achieved(done: &Achieved) -> String {
    done.parts().iter().map(achieved_of_one).collect::<Vec<_>>().join(" + ")
}

fn achieved_of_one(done: &Achieved) -> String {
    let percent = |value: Option<f64>, of: &str| value.map(|value| format!("{} % {of}", number(value)));
    let clock = done.clock.map(|clock| {
        format!(
            "longest gap {} ms, {} gaps over 1 ms ({} ms in all), {} jumps of the wall clock (largest {} ms), {} of \
             the boot-time clock (largest {} ms)",
            number(clock.longest_gap_ms),
            clock.gaps,
            number(clock.gaps_total_ms),
            clock.realtime_jumps,
            number(clock.realtime_jump_ms),
            clock.boottime_jumps,
            number(clock.boottime_jump_ms),
        )
    });
    let served = done.http_server.map(|served| {
        format!(
            "{} requests answered, {} refused, {} broken off, {} MiB held",
            served.answered,
            served.refused,
            served.broken,
            number(served.held_mib)
        )
    });
    let parts = [
        done.rate_mib_s.map(|rate| format!("{}\u{a0}MiB/s", number(rate))),
        done.operations_per_s.map(|rate| format!("{} FFTs a second", number(rate))),
        percent(done.user_percent, "of a vCPU in user mode"),
        percent(done.system_percent, "in the kernel"),
        clock,
        served,
        done.stream.as_ref().map(stream_seen),
        done.damage(),
        done.last_words.as_ref().map(|last_words| format!("died: {last_words}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn stream_seen(seen: &StreamSeen) -> String {
    let connections = seen.connections.map(|connections| format!("{connections} connections"));
    let received = seen.received.as_ref().map(|received| {
        let gap_ms = received.longest_gap_ns as f64 / 1e6;
        let Received { missing, late, repeated, .. } = received;
        format!(
            "{missing} blocks missing, {late} late, {repeated} repeated, longest gap {} ms (guest's clock)",
            number(gap_ms)
        )
    });
    [connections, received].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The gravest outcome there is, in a sentence that stands above all figures; nothing if no guest was damaged.
pub(crate) fn corruption(outcomes: &[Outcome]) -> Option<String> {
    let damaged = outcomes.iter().filter(|outcome| outcome.flags.iter().any(|flag| flag.is_damage()));
    let trials: Vec<String> = damaged
        .map(|outcome| {
            let done = outcome.workload.as_ref().and_then(|workload| workload.achieved.as_ref());
            let stream = || outcome.streams.iter().find_map(|stream| stream.seen.as_ref()?.damage());
            let damage = done
                .and_then(Achieved::damage)
                .or_else(stream)
                .or_else(|| copy_damage(outcome))
                .unwrap_or_else(|| "the guest was damaged".into());
            format!("{} ({}): {damage}", outcome.id, outcome.vm)
        })
        .collect();
    let has = |flag: Flag| outcomes.iter().any(|outcome| outcome.flags.contains(&flag));
    let what = match () {
        () if has(Flag::CorruptMemory) => "MEMORY",
        () if has(Flag::CorruptDisk) => "A DISK",
        () if has(Flag::CorruptCopy) => "A COPY",
        () => "A STREAM",
    };
    (!trials.is_empty())
        .then(|| format!("{what} WAS CORRUPTED, the gravest outcome of a migration. {}.", trials.join("; ")))
}

/// Which of what was brought to the other host is not the same there.
fn copy_damage(outcome: &Outcome) -> Option<String> {
    let disks = outcome.storage_compared.iter().filter_map(|compared| {
        let at_bytes = compared.differs_at_bytes?;
        Some(format!("the hosts' images of {} differ, first at byte {at_bytes}", compared.disk))
    });
    let files = outcome.files.iter().filter(|file| file.verified == Some(false));
    let files = files.map(|file| format!("{} has another checksum at the destination", file.file));
    let all: Vec<String> = disks.chain(files).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

#[cfg(test)]
mod tests {
    use dunlin_record::ClockSeen;

    use super::*;

    #[test]
    fn only_dials_that_were_turned_are_named() {
        let mut write = MemoryWrite::new(16, Rate::MibPerSecond(20.0));
        assert_eq!(asked(&Workload::MemoryWrite(write.clone())), "memory-write, 16 MiB at 20 MiB/s");
        write.allocated_mib = Some(64);
        write.pattern = Pattern::Zipf;
        write.bytes_per_page = 4096;
        write.compressibility_percent = 50;
        assert_eq!(
            asked(&Workload::MemoryWrite(write)),
            "memory-write, 16 MiB at 20 MiB/s, of 64 MiB allocated, pages by Zipf's law, 50 % compressible, 4096 \
             bytes a page"
        );
        let file = DiskFile { file_mib: 64, rate_mib_s: Rate::Full, direct: true };
        let said = asked(&Workload::DiskRead(file));
        assert_eq!(said, "disk-read, 64 MiB at full speed, past the guest's cache");
        assert_eq!(asked(&Workload::Cpu(Cpu { priority: 3 })), "cpu, priority 3");
    }

    #[test]
    fn each_kind_says_what_applies_to_it() {
        let memory = Achieved { rate_mib_s: Some(20.0), corrupt_pages: Some(1), ..Achieved::default() };
        let said = achieved(&memory);
        assert!(said.starts_with("20") && said.contains("1 pages did not hold"), "{said}");
        let cpu = Achieved { operations_per_s: Some(100.0), user_percent: Some(75.0), ..Achieved::default() };
        let said = achieved(&cpu);
        assert!(said.contains("FFTs") && said.contains("75") && !said.contains("MiB"), "{said}");
        let seen = ClockSeen { gaps: 7, ..ClockSeen::default() };
        let said = achieved(&Achieved { clock: Some(seen), ..Achieved::default() });
        assert!(said.contains("7 gaps over 1 ms"), "{said}");
        let dead = Achieved { last_words: Some("alas".into()), ..Achieved::default() };
        let said = achieved(&Achieved::of_parts(vec![memory, dead]));
        assert!(said.contains("MiB/s") && said.ends_with(" + died: alas"), "{said}");
    }
}
