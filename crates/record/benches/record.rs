//! The record's hot paths: an event written, a row pushed, a series read back.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot write has nothing to measure")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dunlin_record::{
    Event, EventKind, EventWriter, HostId, MigrationState, SeriesWriter, VmId, read_series, shapes,
};

/// A minute and a half of one probe at its default interval.
const ROWS: i64 = 100_000;
/// What a probe hands over at once when the machine is busy.
const ROWS_PUSHED: i64 = 1_000;

fn event(t_ns: i64) -> Event {
    Event {
        t_ns,
        host: Some(HostId::new("host-a")),
        vm: Some(VmId::new("vm0")),
        kind: EventKind::MigrationStatus {
            status: "its word".into(),
            state: Some(MigrationState::AwaitingSwitchOver),
        },
    }
}

fn row(seq: i64) -> [i64; 3] {
    let due_ns = 3_761_225_233_006 + seq * 1_000_000;
    // Requests leave some microseconds late, never by the same amount: what is compressed must not be too regular.
    [seq, due_ns, due_ns + 12_000 + seq * 7_919 % 9_001]
}

fn encode_an_event(c: &mut Criterion) {
    let event = event(3_761_225_233_006);
    c.bench_function("encode an event", |b| b.iter(|| serde_json::to_vec(black_box(&event)).unwrap()));
}

/// With its way through the compressor to the kernel, for each event is on disk before anyone acts on it.
fn write_an_event(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(&folder.path().join("events")).unwrap();
    let mut t_ns = 0;
    c.bench_function("write an event", |b| {
        b.iter(|| {
            t_ns += 1_000;
            writer.write(&event(t_ns)).unwrap();
        });
    });
}

fn push_rows(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = SeriesWriter::create(&folder.path().join("series.zst"), shapes::PROBE_SENT).unwrap();
    let mut seq = 0;
    let mut group = c.benchmark_group("series");
    group.throughput(Throughput::Elements(ROWS_PUSHED.unsigned_abs()));
    group.bench_function("push 1000 rows", |b| {
        b.iter_batched(
            || {
                seq += ROWS_PUSHED;
                (seq..seq + ROWS_PUSHED).map(row).collect::<Vec<_>>()
            },
            |rows| rows.iter().for_each(|row| writer.push(row).unwrap()),
            BatchSize::SmallInput,
        );
    });
}

fn read_rows(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("series.zst");
    let mut writer = SeriesWriter::create(&path, shapes::PROBE_SENT).unwrap();
    (0..ROWS).for_each(|seq| writer.push(&row(seq)).unwrap());
    writer.finish().unwrap();
    let mut group = c.benchmark_group("series");
    group.throughput(Throughput::Elements(ROWS.unsigned_abs()));
    group.bench_function("read 100000 rows", |b| {
        b.iter(|| {
            let series = read_series(&path).unwrap();
            assert_eq!(series.rows_of::<3>().map(|[.., sent_ns]| sent_ns).max(), Some(row(ROWS - 1)[2]));
        });
    });
}

criterion_group!(hot_paths, encode_an_event, write_an_event, push_rows, read_rows);
criterion_main!(hot_paths);
