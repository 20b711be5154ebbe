//! How fast an image is sent by each codec, to nobody: what limits it where the network does not.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot read has nothing to measure")]

use std::fs::File;
use std::io;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dunlin_image::{Content, StreamSettings, receive, send};
use dunlin_record::FileCompression::{self, Gzip, None, Zstd};

const IMAGE_BYTES: u64 = 32 << 20;
const WAYS: [(FileCompression, u32); 5] = [(None, 1), (Gzip, 1), (Gzip, 2), (Zstd, 1), (Zstd, 2)];

/// Half of which compresses away.
fn image() -> File {
    let file = tempfile::tempfile().unwrap();
    Content { seed: 1, compressible_percent: 50 }.write(&file, 0, IMAGE_BYTES).unwrap();
    file
}

fn settings((compression, threads): (FileCompression, u32)) -> StreamSettings {
    StreamSettings { compression, level: Option::None, threads, sparse: true }
}

fn name((compression, threads): (FileCompression, u32)) -> BenchmarkId {
    BenchmarkId::new(compression.name(), threads)
}

fn sending(c: &mut Criterion) {
    let image = image();
    let mut group = c.benchmark_group("send an image");
    group.throughput(Throughput::Bytes(IMAGE_BYTES)).sample_size(10);
    for way in WAYS {
        group.bench_function(name(way), |b| {
            b.iter(|| send(&image, &mut io::sink(), settings(way), &mut |_| ()).unwrap());
        });
    }
}

fn receiving(c: &mut Criterion) {
    let image = image();
    let mut group = c.benchmark_group("receive an image");
    group.throughput(Throughput::Bytes(IMAGE_BYTES)).sample_size(10);
    for way in WAYS {
        let mut stream = Vec::new();
        send(&image, &mut stream, settings(way), &mut |_| ()).unwrap();
        let to = tempfile::tempfile().unwrap();
        group.bench_function(name(way), |b| {
            b.iter(|| receive(&mut &stream[..], &to, way.1, Option::None).unwrap());
        });
    }
}

criterion_group!(codecs, sending, receiving);
criterion_main!(codecs);
