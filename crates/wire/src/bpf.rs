//! Classic BPF: the instructions of our filters, which the kernel runs on each frame.
//!
//! See the kernel's Documentation/networking/filter.rst.

use socket2::SockFilter;

pub(crate) const LOAD_U32: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(crate) const LOAD_U16: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
pub(crate) const LOAD_U8: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
pub(crate) const LOAD_U32_FROM_X: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_IND) as u16;
pub(crate) const LOAD_U16_FROM_X: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16;
pub(crate) const X_IS_IP_HEADER_BYTES: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
pub(crate) const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(crate) const IF_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Ends a program: keeps so many bytes of the frame, or with 0 none of it.
pub(crate) fn keep(bytes: u32) -> SockFilter {
    SockFilter::new(RETURN, 0, 0, bytes)
}
