//! What a stream of payload begins like: migrations, and what they go through or may be taken for.

use dunlin_record::StreamKind;

/// QEMU: `migration/qemu-file.h`, `QEMU_VM_FILE_MAGIC` and version 3, in network order; before 2007 it was 2.
const QEMU: [u8; 4] = *b"QEVM";
/// QEMU: `migration/multifd.h`, `MULTIFD_MAGIC`, then version 1.
const QEMU_CHANNEL: [u8; 8] = [0x11, 0x22, 0x33, 0x44, 0, 0, 0, 1];
/// Xen: `docs/specs/libxc-migration-stream.pandoc`, a marker of ones and `XENF`.
const LIBXC: [u8; 12] = *b"\xff\xff\xff\xff\xff\xff\xff\xffXENF";
/// Xen: `docs/specs/libxl-migration-stream.pandoc`; before it, what `xl` itself writes; what it is greeted with; XenServer's.
const XEN: [&[u8]; 4] = [b"LibxlFmt", b"Xen saved domain", b"xl migration receiver", b"XenSavedDom"];
/// NBD: `doc/proto.md`, what a server greets with.
const NBD: [u8; 8] = *b"NBDMAGIC";
/// Libvirt: `src/rpc/virnetprotocol.x`: a length, then the number of the remote program.
const LIBVIRT: [u8; 4] = [0x20, 0x00, 0x80, 0x86];
const HTTP: [&[u8]; 8] =
    [b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"HTTP/1."];

/// What a stream with this begin is; `None` where it is not known. The begin may be cut.
pub(crate) fn recognize(begin: &[u8]) -> Option<StreamKind> {
    let starts = |with: &[u8]| begin.starts_with(with);
    match begin {
        [0x16, 0x03, 0..=4, ..] => Some(StreamKind::Tls),
        _ if starts(&QEMU) => {
            let version = begin.get(4..)?.first_chunk().map(|version| u32::from_be_bytes(*version));
            version.is_none_or(|version| (1..=16).contains(&version)).then_some(StreamKind::QemuMigration)
        }
        _ if starts(&QEMU_CHANNEL) => Some(StreamKind::QemuChannel),
        _ if starts(&LIBXC) || XEN.iter().any(|head| starts(head)) => Some(StreamKind::XenMigration),
        _ if starts(&NBD) => Some(StreamKind::Nbd),
        _ if starts(b"SSH-") => Some(StreamKind::Ssh),
        _ if begin.get(4..).is_some_and(|rest| rest.starts_with(&LIBVIRT)) => Some(StreamKind::Libvirt),
        _ if HTTP.iter().any(|head| starts(head)) => Some(StreamKind::Http),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn streams_are_known_by_their_heads() {
        let cases: [(&[u8], Option<StreamKind>); 16] = [
            (b"QEVM\0\0\0\x03\x07", Some(StreamKind::QemuMigration)),
            (b"QEVM", Some(StreamKind::QemuMigration)),
            (b"QEVM\x80\0\0\x03", None),
            (b"\x11\x22\x33\x44\0\0\0\x01abcd", Some(StreamKind::QemuChannel)),
            (b"\x11\x22\x33\x44\0\0\0\x02", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xffXENF\0\0\0\x02", Some(StreamKind::XenMigration)),
            (b"LibxlFmt\0\0\0\x02", Some(StreamKind::XenMigration)),
            (b"Xen saved domain, xl format\n \0 \r", Some(StreamKind::XenMigration)),
            (b"XenSavedDomv2-\n", Some(StreamKind::XenMigration)),
            (b"NBDMAGICIHAVEOPT", Some(StreamKind::Nbd)),
            (b"\x16\x03\x01\x02\0\x01", Some(StreamKind::Tls)),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Some(StreamKind::Ssh)),
            (b"\0\0\0\x1c\x20\0\x80\x86\0\0\0\x01", Some(StreamKind::Libvirt)),
            (b"GET / HTTP/1.1\r\n", Some(StreamKind::Http)),
            (b"QEV", None),
            (b"", None),
        ];
        for (begin, kind) in cases {
            assert_eq!(recognize(begin), kind, "{begin:?}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(begin in proptest::collection::vec(any::<u8>(), 0..40)) {
            recognize(&begin);
        }
    }
}
