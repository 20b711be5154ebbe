//! Pages of anonymous memory, read and written a word at a time in a way no compiler removes.
#![expect(unsafe_code, reason = "mapped memory and volatile access")]

use std::io;
use std::ptr::NonNull;

/// The size of a page: what a hypervisor tracks as written or not.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Words in a page.
pub(crate) const PAGE_WORDS: usize = PAGE_BYTES / size_of::<u64>();

/// A private mapping of whole pages, unmapped at the end.
///
/// The mapping asks for no huge pages: with them the guest's first touch of one page would write 512.
#[derive(Debug)]
pub(crate) struct Pages {
    start: NonNull<u64>,
    count: usize,
}

// SAFETY: the mapping belongs to this value alone, wherever it goes.
unsafe impl Send for Pages {}

impl Pages {
    /// Maps `count` pages.
    pub(crate) fn map(count: usize) -> io::Result<Self> {
        let bytes = count.checked_mul(PAGE_BYTES).ok_or(io::ErrorKind::OutOfMemory)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the range is the mapping just made. A kernel without huge pages refuses the advice, and needs none.
        unsafe { libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE) };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, count })
    }

    /// How many pages there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Writes a word of a page.
    pub(crate) fn write(&mut self, page: usize, word: usize, value: u64) {
        let place = self.place(page, word);
        // SAFETY: the place is aligned and inside the mapping, which this value alone owns.
        unsafe { place.write_volatile(value) };
    }

    /// Reads a word of a page.
    pub(crate) fn read(&self, page: usize, word: usize) -> u64 {
        // SAFETY: the place is aligned and inside the mapping, whose pages hold plain numbers.
        unsafe { self.place(page, word).read_volatile() }
    }

    /// The bytes of the first pages.
    pub(crate) fn bytes(&self, pages: usize) -> &[u8] {
        // SAFETY: as many bytes of the mapping as there are, plain numbers that nobody changes while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes_of(pages)) }
    }

    /// The same, to be written.
    pub(crate) fn bytes_mut(&mut self, pages: usize) -> &mut [u8] {
        // SAFETY: as above, and this borrow is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.bytes_of(pages)) }
    }

    fn bytes_of(&self, pages: usize) -> usize {
        pages.min(self.count) * PAGE_BYTES
    }

    fn place(&self, page: usize, word: usize) -> NonNull<u64> {
        assert!(page < self.count && word < PAGE_WORDS, "word {word} of page {page} lies outside");
        // SAFETY: checked above to lie inside the mapping.
        unsafe { self.start.add(page * PAGE_WORDS + word) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this start and size, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.count * PAGE_BYTES) };
    }
}
