//! A guest of 512 bytes that the firmware boots from its disk: it stands still, writes, shuts itself down or resets itself.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Nothing.
    Nothing,
    /// Writes the sectors from one to another over and over, 32 KiB at a time, each time something else.
    Write {
        /// From this one …
        first: u32,
        /// … to before this one.
        last: u32,
    },
    /// Shuts itself down after so many 18ths of a second (as ACPI says, on a `q35`).
    ShutDown(u16),
    /// Resets itself after as many.
    Reset(u16),
}

/// Where it has what it is to do, and what it knows.
const DEED: usize = 0x1c0;
const TICKS: usize = 0x1c2;
const FIRST: usize = 0x1c4;
const LAST: usize = 0x1c8;
/// The request to the firmware for writing (`EDD`, disk address packet).
const PACKET: usize = 0x1e0;

/// Its code, which the firmware puts at 0x7c00:
///
/// ```text
///        cli; segments = 0; sp = 0x7c00; sti; cld; [0x7dbf] = drive
///        deed 0: idle      deed 1: write      else bx = ticks now + [0x7dc2]
/// wait:  hlt; until the ticks at 0x46c are bx
///        deed 2: out 0x2000 to port 0x604 (ACPI, S5), idle  deed 3: out 0xfe to port 0x64
/// idle:  hlt; idle again
/// write: count up [0x7dd0], fill 32 KiB at 0x8000 with that
///        int 0x13, ah = 0x43 with the packet at 0x7de0; failed: idle
///        its sector is 64 further, or [0x7dc4] where that is [0x7dc8]; write again
/// ```
const CODE: [u8; 129] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfb, 0xfc, 0x88, 0x16, 0xbf,
    0x7d, 0x80, 0x3e, 0xc0, 0x7d, 0x00, 0x74, 0x2b, 0x80, 0x3e, 0xc0, 0x7d, 0x01, 0x74, 0x27, 0x8b, 0x1e,
    0x6c, 0x04, 0x03, 0x1e, 0xc2, 0x7d, 0xf4, 0xa1, 0x6c, 0x04, 0x29, 0xd8, 0x78, 0xf8, 0x80, 0x3e, 0xc0,
    0x7d, 0x02, 0x75, 0x09, 0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xeb, 0x04, 0xb0, 0xfe, 0xe6, 0x64,
    0xf4, 0xeb, 0xfd, 0x66, 0xff, 0x06, 0xd0, 0x7d, 0x66, 0xa1, 0xd0, 0x7d, 0xbf, 0x00, 0x80, 0xb9, 0x00,
    0x20, 0x66, 0xf3, 0xab, 0xbe, 0xe0, 0x7d, 0xb4, 0x43, 0x30, 0xc0, 0x8a, 0x16, 0xbf, 0x7d, 0xcd, 0x13,
    0x72, 0xdc, 0x66, 0xa1, 0xe8, 0x7d, 0x66, 0x83, 0xc0, 0x40, 0x66, 0x3b, 0x06, 0xc8, 0x7d, 0x72, 0x04,
    0x66, 0xa1, 0xc4, 0x7d, 0x66, 0xa3, 0xe8, 0x7d, 0xeb, 0xc6,
];

/// The first sector of a disk that boots it.
pub(crate) fn boot_sector(deed: Deed) -> [u8; 512] {
    let mut sector = [0; 512];
    sector[..CODE.len()].copy_from_slice(&CODE);
    let (number, ticks, first, last) = match deed {
        Deed::Nothing => (0, 0, 0, 0),
        Deed::Write { first, last } => (1, 0, first, last),
        Deed::ShutDown(ticks) => (2, ticks, 0, 0),
        Deed::Reset(ticks) => (3, ticks, 0, 0),
    };
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(DEED, &[number]);
    put(TICKS, &u16::to_le_bytes(ticks));
    put(FIRST, &u32::to_le_bytes(first));
    put(LAST, &u32::to_le_bytes(last));
    put(PACKET, &[0x10, 0, 64, 0, 0, 0x80, 0, 0]);
    put(PACKET + 8, &u64::to_le_bytes(first.into()));
    put(510, &[0x55, 0xaa]);
    sector
}

/// Makes a raw image of it.
pub(crate) fn image(path: &Path, size_mib: u32, deed: Deed) {
    let file = File::create(path).unwrap();
    file.set_len(u64::from(size_mib) << 20).unwrap();
    file.write_all_at(&boot_sector(deed), 0).unwrap();
}
