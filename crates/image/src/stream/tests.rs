use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};

use proptest::prelude::*;

use super::format::{Frame, Header, Packed, checksum};
use super::*;
use crate::{Content, data_bytes};

const ALL: [FileCompression; 3] = [FileCompression::None, FileCompression::Gzip, FileCompression::Zstd];

fn settings(compression: FileCompression) -> StreamSettings {
    StreamSettings { compression, level: None, threads: 2, sparse: true }
}

fn file(length: u64, written: &[(u64, u64)]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(length).unwrap();
    let content = Content { seed: length, compressible_percent: 50 };
    for (offset, bytes) in written {
        content.write(&file, *offset, *bytes).unwrap();
    }
    file
}

fn bytes(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn sent(file: &File, settings: StreamSettings) -> (Vec<u8>, Sent) {
    let mut stream = Vec::new();
    let sent = send(file, &mut stream, settings, &mut |_| ()).unwrap();
    (stream, sent)
}

fn received(mut stream: &[u8]) -> Result<(File, Received)> {
    let file = tempfile::tempfile().unwrap();
    receive(&mut stream, &file, 2, None).map(|received| (file, received))
}

#[test]
fn a_sparse_file_comes_as_it_is_and_its_holes_stay_holes() {
    let from = file(40 << 20, &[(5000, 3 << 20), (20 << 20, 1), ((40 << 20) - 4096, 4096)]);
    // Written, but of no use to anybody.
    from.write_all_at(&vec![0; 8 << 20], 24 << 20).unwrap();
    for compression in ALL {
        let (stream, sent) = sent(&from, settings(compression));
        assert_eq!(sent.sent_bytes, stream.len() as u64);
        assert_eq!(sent.compress_ns.is_some(), compression != FileCompression::None);
        assert!(sent.content_bytes < (3 << 20) + 5 * 4096, "{sent:?}");
        let half = 0.5 * sent.content_bytes as f64;
        if compression != FileCompression::None {
            assert!((sent.sent_bytes as f64) < 1.1 * half, "{sent:?}");
        }
        let (to, received) = received(&stream).unwrap();
        assert!(bytes(&to) == bytes(&from));
        assert_eq!((received.checksum, received.content_bytes), (sent.checksum, sent.content_bytes));
        assert!(to.metadata().unwrap().blocks() * 512 < 4 << 20, "{:?}", to.metadata().unwrap().blocks());
    }
}

#[test]
fn where_holes_are_to_be_sent_they_become_bytes() {
    let from = file(3 << 20, &[(1 << 20, 4096)]);
    let (stream, sent) = sent(&from, StreamSettings { sparse: false, ..settings(FileCompression::None) });
    assert_eq!(sent.content_bytes, 3 << 20);
    assert!(stream.len() > 3 << 20);
    let (to, _) = received(&stream).unwrap();
    assert!(bytes(&to) == bytes(&from));
    assert_eq!(data_bytes(&to).unwrap(), 3 << 20);
}

#[test]
fn progress_ends_at_all_that_is_no_hole_also_where_it_is_zeros() {
    let from = file(300 << 20, &[(0, 5 << 20)]);
    from.write_all_at(&vec![0; 200 << 20], 64 << 20).unwrap();
    let mut told = Vec::new();
    let mut stream = Vec::new();
    send(&from, &mut stream, settings(FileCompression::None), &mut |done| told.push(done)).unwrap();
    assert!(told.is_sorted(), "{told:?}");
    assert_eq!(told.last(), Some(&data_bytes(&from).unwrap()));
    let silent = told.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    assert!(silent <= 70 << 20, "something goes meanwhile: {told:?}");
    received(&stream).unwrap();
}

#[test]
fn an_empty_file_is_a_file() {
    let (stream, sent) = sent(&file(0, &[]), settings(FileCompression::Zstd));
    assert_eq!((sent.file_bytes, sent.content_bytes), (0, 0));
    let (to, _) = received(&stream).unwrap();
    assert_eq!(to.metadata().unwrap().len(), 0);
}

#[test]
fn gzip_members_and_zstd_frames_are_what_others_take_for_them() {
    let from = file(3 << 20, &[(0, 3 << 20)]);
    for (compression, magic) in [
        (FileCompression::Gzip, &[0x1f, 0x8b, 8][..]),
        (FileCompression::Zstd, &[0x28, 0xb5, 0x2f, 0xfd][..]),
    ] {
        let (stream, _) = sent(&from, settings(compression));
        // Behind the header and the frame's kind and lengths.
        assert_eq!(&stream[29..29 + magic.len()], magic);
    }
}

#[test]
fn what_cannot_be_had_is_refused() {
    let file = file(10, &[]);
    let base = settings(FileCompression::Gzip);
    for (wrong, why) in [
        (StreamSettings { threads: 0, ..base }, "0 threads cannot be: from 1 to 64 may compress"),
        (StreamSettings { threads: 65, ..base }, "65 threads cannot be: from 1 to 64 may compress"),
        (StreamSettings { level: Some(10), ..base }, "gzip of level 10 cannot be: its levels are 1 to 9"),
        (
            StreamSettings { level: Some(23), compression: FileCompression::Zstd, ..base },
            "zstd of level 23 cannot be: its levels are 1 to 22",
        ),
        (
            StreamSettings { level: Some(1), compression: FileCompression::None, ..base },
            "a compression of level 1 cannot be: without compression there are no levels",
        ),
    ] {
        let error = send(&file, &mut Vec::new(), wrong, &mut |_| ()).unwrap_err();
        assert_eq!(error.to_string(), why);
    }
}

#[test]
fn a_stream_that_takes_no_more_ends_the_sending() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let from = file(64 << 20, &[(0, 64 << 20)]);
    for compression in ALL {
        let error = send(&from, &mut Full(2 << 20), settings(compression), &mut |_| ()).unwrap_err();
        assert!(matches!(error, ImageError::Send(_)) && error.is_of_stream(), "{error:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_or_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, [1; 5000]).unwrap();
    let unreadable = File::options().write(true).open(&path).unwrap();
    let error = send(&unreadable, &mut Vec::new(), settings(FileCompression::None), &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the image at byte 0");
    let (stream, _) = sent(&file(5000, &[(0, 5000)]), settings(FileCompression::Zstd));
    let error = receive(&mut &stream[..], &File::open(&path).unwrap(), 1, None).unwrap_err();
    assert_eq!(error.to_string(), "cannot set the length of the image at byte 5000");
    assert!(!error.is_of_stream());
}

fn stream(length: u64, compression: FileCompression, frames: &[Frame]) -> Vec<u8> {
    let mut stream = Vec::new();
    Header { compression, length }.write(&mut stream).unwrap();
    for frame in frames {
        frame.write(&mut stream).unwrap();
    }
    stream
}

fn extent(offset: u64, length: u32) -> Vec<u8> {
    [&offset.to_le_bytes()[..], &length.to_le_bytes(), &vec![7; length as usize]].concat()
}

fn block(plain: &[u8]) -> Frame {
    Frame::Block(Packed { plain_bytes: plain.len() as u32, bytes: plain.to_vec() })
}

fn end(length: u64, plain: &[u8], content_bytes: u64) -> Frame {
    let mut hasher = checksum(length);
    hasher.update(plain);
    Frame::End { content_bytes, checksum: *hasher.finalize().as_bytes() }
}

#[test]
fn foreign_streams_are_refused_by_what_is_wrong_with_them() {
    use FileCompression::{Gzip, None, Zstd};
    let refused = |stream: &[u8]| received(stream).unwrap_err();
    assert!(matches!(refused(b"not at all an image's stream"), ImageError::NoStream));
    assert!(matches!(refused(b""), ImageError::CutShort));
    assert!(matches!(refused(b"dunlinim\x02\0\0\0________"), ImageError::Version { found: 2, known: 1 }));
    assert!(matches!(refused(b"dunlinim\x01\0\x03\0________"), ImageError::Malformed { .. }));
    assert!(matches!(refused(b"dunlinim\x01\0\0\x01________"), ImageError::Malformed { .. }));
    assert!(matches!(refused(&stream(u64::MAX, None, &[])), ImageError::File { .. }));

    let one = |plain: &[u8]| refused(&stream(100, None, &[block(plain)]));
    assert!(matches!(one(&extent(90, 11)), ImageError::Beyond { offset: 90, length: 11, file: 100 }));
    assert!(matches!(one(&extent(u64::MAX, 2)), ImageError::Beyond { .. }));
    assert!(matches!(one(&extent(3, 0)), ImageError::Malformed { .. }));
    assert!(matches!(one(&extent(3, 9)[..20]), ImageError::Malformed { .. }));
    assert!(matches!(one(&[1, 2]), ImageError::Malformed { .. }));
    let twice = [extent(0, 10), extent(9, 2)].concat();
    assert!(matches!(one(&twice), ImageError::Overlap { offset: 9, below: 10 }));
    let backwards = stream(100, None, &[block(&extent(50, 10)), block(&extent(0, 10))]);
    assert!(matches!(refused(&backwards), ImageError::Overlap { offset: 0, below: 60 }));

    let bomb = vec![0; 64 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&bomb).unwrap();
    for (compression, bytes) in [
        (Gzip, gzip.finish().unwrap()),
        (Zstd, zstd::bulk::compress(&bomb, 3).unwrap()),
        (Zstd, vec![1, 2, 3]),
    ] {
        let packed = Frame::Block(Packed { plain_bytes: 4096, bytes });
        let error = refused(&stream(64 << 20, compression, &[packed]));
        assert!(matches!(error, ImageError::Packed { announced: 4096 }), "{error:?}");
    }
    let huge = Frame::Block(Packed { plain_bytes: u32::MAX, bytes: vec![] });
    assert!(matches!(refused(&stream(100, Zstd, &[huge])), ImageError::TooLarge { .. }));

    let plain = extent(10, 20);
    received(&stream(100, None, &[block(&plain), Frame::Nothing, end(100, &plain, 20)])).unwrap();
    let wrong = [end(100, &plain, 21), end(101, &plain, 20), end(100, &extent(11, 20), 20)];
    for wrong in wrong {
        let error = refused(&stream(100, None, &[block(&plain), wrong]));
        assert!(matches!(error, ImageError::Checksum), "{error:?}");
    }
    let whole = stream(100, None, &[block(&plain), end(100, &plain, 20)]);
    for cut in 0..whole.len() {
        assert!(matches!(refused(&whole[..cut]), ImageError::CutShort), "cut at {cut}");
    }
    let file = tempfile::tempfile().unwrap();
    let error = receive(&mut &whole[..], &file, 1, Some(99)).unwrap_err();
    assert!(matches!(error, ImageError::Length { announced: 100, expected: 99 }), "{error:?}");
    assert_eq!(file.metadata().unwrap().len(), 0, "nothing was touched");
}

fn any_settings() -> impl Strategy<Value = StreamSettings> {
    (0_usize..3, proptest::option::of(1_u32..9), 1_u32..5, any::<bool>()).prop_map(
        |(which, level, threads, sparse)| {
            let level = level.filter(|_| ALL[which] != FileCompression::None);
            StreamSettings { compression: ALL[which], level, threads, sparse }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_file_comes_as_it_was(
        length in 0_u64..3_000_000,
        places in proptest::collection::vec((0_u64..3_000_000, 1_u64..200_000, 0_u8..=101), 0..8),
        settings in any_settings(),
    ) {
        let from = file(length, &[]);
        for (offset, bytes, percent) in places {
            let bytes = bytes.min(length.saturating_sub(offset));
            match percent {
                101 if bytes > 0 => from.write_all_at(&vec![0; bytes as usize], offset).unwrap(),
                _ => Content { seed: offset, compressible_percent: percent }.write(&from, offset, bytes).unwrap(),
            }
        }
        let (stream, sent) = sent(&from, settings);
        let (to, received) = received(&stream).unwrap();
        prop_assert!(bytes(&to) == bytes(&from));
        prop_assert_eq!(received.checksum, sent.checksum);
        prop_assert!(settings.sparse || sent.content_bytes == length);
    }

    #[test]
    fn a_changed_stream_never_panics_nor_passes_for_another_content(
        settings in any_settings(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let from = file(20_000, &[(3000, 9000)]);
        let (mut stream, _) = sent(&from, settings);
        for (at, byte) in changes {
            let at = at.index(stream.len());
            // Of a length so large a file would be made.
            if !(12..20).contains(&at) {
                stream[at] = byte;
            }
        }
        if let Ok((to, _)) = received(&stream) {
            prop_assert!(bytes(&to) == bytes(&from));
        }
    }

    #[test]
    fn foreign_frames_never_panic(compression in 0_usize..3, frames: Vec<u8>) {
        let mut stream = stream(1000, ALL[compression], &[]);
        stream.extend(frames);
        let _ = received(&stream);
    }
}
