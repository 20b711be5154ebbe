//! A ring of blocks in memory that the kernel fills with frames and we read in place (TPACKET_V3).
//!
//! See packet(7) and the kernel's Documentation/networking/packet_mmap.rst.
#![expect(unsafe_code, reason = "the ring is memory shared with the kernel")]

use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dunlin_clock::SECOND_NS;
use libc::{sockaddr_ll, tpacket_block_desc, tpacket_hdr_v1, tpacket_hdr_variant1, tpacket3_hdr};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::filter::Filter;
use crate::packet_socket::{self, Statistics, set_option};
use crate::pcapng::{Direction, LinkType};
use crate::{Result, WireError};

const BLOCK_BYTES: usize = 1 << 20;
/// After this long the kernel hands over a block that is not full.
const RETIRE_MS: u32 = 20;
/// A block's description, where its frames begin.
const DESCRIPTION_BYTES: usize = size_of::<tpacket_block_desc>();

/// A ring on one interface.
pub(super) struct Ring {
    socket: socket2::Socket,
    interface: String,
    link_type: LinkType,
    memory: NonNull<u8>,
    blocks: usize,
    next: usize,
}

// SAFETY: the memory belongs to the ring alone, which unmaps it, and is shared with nobody but the kernel.
unsafe impl Send for Ring {}

impl Ring {
    /// Begins to keep the frames of an interface of the current network namespace that fit a filter.
    pub(super) fn open(interface: &str, filter: &Filter, snap_bytes: u32, blocks: usize) -> Result<Self> {
        let (socket, index) = packet_socket::open(interface)?;
        let link = Link::of(interface, packet_socket::hardware_type(&socket, interface, index)?)?;
        socket
            .attach_filter(&filter.program(link.header_bytes(), snap_bytes))
            .map_err(WireError::io("filter the frames of", interface))?;
        // Frames take the room they need; their number only has to agree with the rest.
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: blocks as u32,
            tp_frame_size: BLOCK_BYTES as u32,
            tp_frame_nr: blocks as u32,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        let make = || {
            set_option(&socket, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as u32))?;
            set_option(&socket, libc::PACKET_RX_RING, &request)?;
            // What leaves through a loopback comes in again.
            set_option(&socket, libc::PACKET_IGNORE_OUTGOING, &libc::c_int::from(link == Link::Loopback))?;
            map(&socket, blocks * BLOCK_BYTES)
        };
        let memory = make().map_err(WireError::io("make a ring for the frames of", interface))?;
        let interface = interface.to_owned();
        let ring = Self { socket, interface, link_type: link.link_type(), memory, blocks, next: 0 };
        packet_socket::bind(&ring.socket, &ring.interface, index)?;
        Ok(ring)
    }

    pub(super) fn link_type(&self) -> LinkType {
        self.link_type
    }

    /// Waits until a block has been handed over, at most for `limit`.
    pub(super) fn wait(&self, limit: Duration) -> Result<()> {
        if self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER != 0 {
            return Ok(());
        }
        let mut watched = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        match poll(&mut watched, limit) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(WireError::io("wait for the frames of", &self.interface)(error)),
        }
        let failed = watched[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR));
        // Said once when the interface goes down; it may come up again.
        match self.socket.take_error() {
            Ok(Some(error)) if error.raw_os_error() != Some(libc::ENETDOWN) => {
                Err(WireError::io("read the frames of", &self.interface)(error))
            }
            _ => {
                if failed {
                    std::thread::sleep(Duration::from_millis(RETIRE_MS.into()));
                }
                Ok(())
            }
        }
    }

    /// Hands all frames of the next block to `take`; says how many, none if no block has been handed over.
    pub(super) fn read_block(&mut self, mut take: impl FnMut(Frame<'_>)) -> Option<u64> {
        if self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the block is within the map; until its status is given back below the kernel leaves it alone.
        let block = unsafe {
            std::slice::from_raw_parts(self.memory.as_ptr().add(self.next * BLOCK_BYTES), BLOCK_BYTES)
        };
        let mut count = 0;
        for frame in frames(block) {
            take(frame);
            count += 1;
        }
        self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.blocks;
        Some(count)
    }

    /// Lets no further frame in.
    pub(super) fn close_intake(&self) -> Result<()> {
        self.socket
            .attach_filter(&[crate::bpf::keep(0)])
            .map_err(WireError::io("end the capture of", &self.interface))
    }

    /// What the kernel let through and dropped since the last call.
    pub(super) fn take_statistics(&self) -> Result<Statistics> {
        packet_socket::take_statistics(&self.socket, &self.interface)
    }

    /// The next block's status: says whose it is.
    fn status(&self) -> &AtomicU32 {
        let at = self.next * BLOCK_BYTES
            + offset_of!(tpacket_block_desc, hdr)
            + offset_of!(tpacket_hdr_v1, block_status);
        // SAFETY: within the map, aligned as blocks are to pages; the kernel too writes it in one piece.
        unsafe { AtomicU32::from_ptr(self.memory.as_ptr().add(at).cast()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; nothing refers to it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.blocks * BLOCK_BYTES) };
    }
}

fn map(socket: &socket2::Socket, bytes: usize) -> std::io::Result<NonNull<u8>> {
    // SAFETY: a new mapping of the socket's ring, at a place of the kernel's choice.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            socket.as_raw_fd(),
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    NonNull::new(memory.cast()).ok_or_else(|| std::io::Error::other("mapped at address 0"))
}

/// What an interface's frames begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Ethernet,
    Loopback,
    Raw,
}

impl Link {
    fn of(interface: &str, hardware_type: u16) -> Result<Self> {
        match hardware_type {
            libc::ARPHRD_ETHER => Ok(Self::Ethernet),
            libc::ARPHRD_LOOPBACK => Ok(Self::Loopback),
            libc::ARPHRD_NONE => Ok(Self::Raw),
            other => Err(WireError::Answer {
                what: format!("the frames of {interface}"),
                why: format!("they are neither Ethernet nor bare IP (its hardware type is {other})"),
            }),
        }
    }

    fn header_bytes(self) -> u32 {
        if self == Self::Raw { 0 } else { 14 }
    }

    fn link_type(self) -> LinkType {
        if self == Self::Raw { LinkType::Raw } else { LinkType::Ethernet }
    }
}

/// A frame in the ring, or its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// The kernel's stamp, in nanoseconds of `CLOCK_REALTIME`.
    pub(super) epoch_ns: i64,
    pub(super) original_bytes: u32,
    pub(super) bytes: &'a [u8],
    pub(super) direction: Direction,
    /// The tag that the kernel took out of the frame: four bytes that belong behind the hardware addresses.
    pub(super) vlan_tag: Option<[u8; 4]>,
}

/// The frames of a block; ends early where the block makes no sense.
fn frames(block: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let header = |field: usize| u32_at(block, offset_of!(tpacket_block_desc, hdr) + field).unwrap_or(0);
    // The last frame says that none follows, so only the count ends the block; it cannot be more than fit.
    let count = header(offset_of!(tpacket_hdr_v1, num_pkts)) as usize;
    let count = count.min(block.len() / size_of::<tpacket3_hdr>());
    let mut at = header(offset_of!(tpacket_hdr_v1, offset_to_first_pkt)) as usize;
    (0..count).map_while(move |_| {
        let frame = block.get(at.max(DESCRIPTION_BYTES)..)?;
        at += u32_at(frame, offset_of!(tpacket3_hdr, tp_next_offset))? as usize;
        parse(frame)
    })
}

/// The frame whose header begins here.
fn parse(at: &[u8]) -> Option<Frame<'_>> {
    const ADDRESS_AT: usize = size_of::<tpacket3_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);
    const VARIANT_AT: usize = offset_of!(tpacket3_hdr, hv1);
    let field = |offset| u32_at(at, offset);
    let seconds = i64::from(field(offset_of!(tpacket3_hdr, tp_sec))?);
    let nanoseconds = i64::from(field(offset_of!(tpacket3_hdr, tp_nsec))?);
    let start = usize::from(u16_at(at, offset_of!(tpacket3_hdr, tp_mac))?);
    let bytes = at.get(start..)?.get(..field(offset_of!(tpacket3_hdr, tp_snaplen))? as usize)?;
    let packet_type = *at.get(ADDRESS_AT + offset_of!(sockaddr_ll, sll_pkttype))?;
    let status = field(offset_of!(tpacket3_hdr, tp_status))?;
    let vlan_tag = if status & libc::TP_STATUS_VLAN_VALID == 0 {
        None
    } else {
        let tci = u32_at(at, VARIANT_AT + offset_of!(tpacket_hdr_variant1, tp_vlan_tci))? as u16;
        let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
            libc::ETH_P_8021Q as u16
        } else {
            u16_at(at, VARIANT_AT + offset_of!(tpacket_hdr_variant1, tp_vlan_tpid))?
        };
        let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
        Some([a, b, c, d])
    };
    Some(Frame {
        epoch_ns: seconds * SECOND_NS + nanoseconds,
        original_bytes: field(offset_of!(tpacket3_hdr, tp_len))?,
        bytes,
        direction: if packet_type == libc::PACKET_OUTGOING { Direction::Out } else { Direction::In },
        vlan_tag,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A block as the kernel fills it, with frames of these bytes; the second has had its VLAN tag taken out.
    fn block(contents: &[&[u8]]) -> Vec<u8> {
        const BYTES_AT: usize = 82;
        let mut block = vec![0; DESCRIPTION_BYTES];
        let header_at = offset_of!(tpacket_block_desc, hdr);
        put(&mut block, header_at + offset_of!(tpacket_hdr_v1, num_pkts), contents.len() as u32);
        put(&mut block, header_at + offset_of!(tpacket_hdr_v1, offset_to_first_pkt), 48);
        for (index, bytes) in contents.iter().enumerate() {
            let mut frame = vec![0; BYTES_AT];
            put(&mut frame, offset_of!(tpacket3_hdr, tp_sec), 7);
            put(&mut frame, offset_of!(tpacket3_hdr, tp_nsec), index as u32);
            put(&mut frame, offset_of!(tpacket3_hdr, tp_snaplen), bytes.len() as u32);
            put(&mut frame, offset_of!(tpacket3_hdr, tp_len), 1500);
            put(&mut frame, offset_of!(tpacket3_hdr, tp_mac), BYTES_AT as u32);
            if index == 1 {
                put(&mut frame, offset_of!(tpacket3_hdr, tp_status), libc::TP_STATUS_VLAN_VALID);
                put(&mut frame, offset_of!(tpacket3_hdr, hv1) + 4, 0x2005);
                frame[48 + offset_of!(sockaddr_ll, sll_pkttype)] = libc::PACKET_OUTGOING;
            }
            frame.extend_from_slice(bytes);
            frame.resize(frame.len().next_multiple_of(16), 0);
            let length = frame.len() as u32;
            put(&mut frame, offset_of!(tpacket3_hdr, tp_next_offset), length);
            block.extend(frame);
        }
        block
    }

    fn put(bytes: &mut [u8], at: usize, value: u32) {
        bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    #[test]
    fn the_frames_of_a_block_are_found_with_all_that_is_known_of_them() {
        let contents: [&[u8]; 3] = [b"first", b"second", b""];
        let block = block(&contents);
        let frames: Vec<Frame<'_>> = frames(&block).collect();
        assert_eq!(frames.len(), 3);
        for (index, (frame, bytes)) in frames.iter().zip(contents).enumerate() {
            let second = index == 1;
            assert_eq!(frame.bytes, bytes);
            assert_eq!(frame.epoch_ns, 7 * SECOND_NS + i64::try_from(index).unwrap());
            assert_eq!(frame.original_bytes, 1500);
            assert_eq!(frame.vlan_tag, second.then_some([0x81, 0x00, 0x20, 0x05]));
            assert_eq!(frame.direction, if second { Direction::Out } else { Direction::In });
        }
    }

    proptest! {
        #[test]
        fn a_block_that_makes_no_sense_never_panics(
            at in proptest::collection::vec((0_usize..300, any::<u8>()), 0..40),
            length in 0_usize..400,
        ) {
            let mut block = block(&[b"first", b"second"]);
            for (at, byte) in at {
                if let Some(place) = block.get_mut(at) {
                    *place = byte;
                }
            }
            block.truncate(length);
            prop_assert!(frames(&block).count() <= block.len() / size_of::<tpacket3_hdr>());
        }
    }
}
