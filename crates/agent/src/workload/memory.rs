//! Work on memory: a working set is filled, written or read in some order at some rate, and compared at the end with
//! what must be in it.

use std::hint::black_box;
use std::sync::atomic::AtomicBool;

use dunlin_agent_proto::{Access, MemoryWork, PageRate, Work};

use super::content::Content;
use super::order::Order;
use super::{is_stopped, pace};
use crate::memory;
use crate::pages::{PAGE_BYTES, Pages};

const MIB: u64 = 1024 * 1024;
/// Memory that must stay free beside what is allocated, or the kernel would end process 1.
const RESERVE_BYTES: u64 = 16 * MIB;

/// Pages, and what each of them must hold.
#[derive(Debug)]
pub(super) struct WorkingSet {
    pages: Pages,
    content: Content,
    order: Order,
    access: Access,
    /// How often each page was written since it was filled. Kept beside the pages: their content follows from it.
    writes: Vec<u32>,
}

/// What was done by when; the comparison came after.
pub(super) struct Done {
    pub(super) work: Work,
    pub(super) ended_ns: i64,
}

/// Allocates and fills all pages.
pub(super) fn prepare(asked: &MemoryWork, stop: &AtomicBool) -> Result<WorkingSet, String> {
    let MemoryWork { allocated_mib, working_set_mib, rate, order, access, compressibility_percent } = *asked;
    if working_set_mib == 0 || working_set_mib > allocated_mib {
        return Err(format!("a working set of {working_set_mib} MiB of {allocated_mib} MiB allocated"));
    }
    pace::check(rate)?;
    let bytes_per_page = match access {
        Access::Read => size_of::<u64>(),
        Access::Write { bytes_per_page } => usize::from(bytes_per_page),
    };
    if !(8..=PAGE_BYTES).contains(&bytes_per_page) || !bytes_per_page.is_multiple_of(8) {
        return Err(format!("{bytes_per_page} bytes of a page"));
    }
    if compressibility_percent > 100 {
        return Err(format!("a compressibility of {compressibility_percent} %"));
    }
    let bytes = u64::from(allocated_mib) * MIB;
    let held = memory::read()?;
    let available_bytes = held.available_bytes + held.swap_free_bytes;
    if bytes + RESERVE_BYTES > available_bytes {
        let available_mib = available_bytes / MIB;
        return Err(format!(
            "{allocated_mib} MiB of memory: the guest has {available_mib} MiB available, swap included"
        ));
    }
    let pages_of = |mib: u32| mib as usize * (MIB as usize / PAGE_BYTES);
    let pages = Pages::map(pages_of(allocated_mib)).map_err(|error| format!("allocate memory: {error}"))?;
    let content = Content::new(bytes_per_page, usize::from(compressibility_percent));
    WorkingSet::fill(pages, content, Order::new(order, pages_of(working_set_mib)), access, stop)
        .ok_or_else(|| "it was stopped before every page had been written".into())
}

/// Works until it is stopped.
pub(super) fn work(mut set: WorkingSet, rate: PageRate, stop: &AtomicBool) -> Result<Done, String> {
    let ended_ns = pace::keep(rate, stop, |count| {
        match set.access {
            Access::Read => set.read_pages(count),
            Access::Write { .. } => set.write_pages(count),
        }
        Ok(())
    })?;
    let corrupt_pages = set.count_corrupt();
    let work = Work::Memory { pages: set.order.count(), passes: set.order.passes(), corrupt_pages };
    Ok(Done { work, ended_ns })
}

impl WorkingSet {
    /// Writes every word of every page; `None` if stopped meanwhile.
    fn fill(
        mut pages: Pages,
        content: Content,
        order: Order,
        access: Access,
        stop: &AtomicBool,
    ) -> Option<Self> {
        for page in 0..pages.count() {
            if is_stopped(stop) {
                return None;
            }
            content.fill(&mut pages, page);
        }
        let writes = vec![0; pages.count()];
        Some(Self { pages, content, order, access, writes })
    }

    fn write_pages(&mut self, count: u64) {
        for _ in 0..count {
            let page = self.order.next_page();
            if let Some(writes) = self.writes.get_mut(page) {
                *writes = writes.wrapping_add(1);
                self.content.change(&mut self.pages, page, *writes);
            }
        }
    }

    /// A word of each is enough: a page that is not there comes as a whole.
    fn read_pages(&mut self, count: u64) {
        for _ in 0..count {
            let page = self.order.next_page();
            black_box(self.pages.read(page, 0));
        }
    }

    fn count_corrupt(&self) -> u64 {
        let pages = self.writes.iter().enumerate();
        pages.filter(|&(page, &writes)| !self.content.is_whole(&self.pages, page, writes)).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use dunlin_agent_proto::PageOrder;

    use super::*;

    fn set_of(order: PageOrder) -> WorkingSet {
        let access = Access::Write { bytes_per_page: 8 };
        let (pages, content) = (Pages::map(20).unwrap(), Content::new(8, 0));
        WorkingSet::fill(pages, content, Order::new(order, 10), access, &AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn every_page_is_found_whole_in_any_order_and_only_the_working_set_is_written() {
        for order in [PageOrder::Sequential, PageOrder::Uniform, PageOrder::Zipf] {
            let mut set = set_of(order);
            for count in [0, 3, 7, 25] {
                set.write_pages(count);
                set.read_pages(count);
                assert_eq!(set.count_corrupt(), 0);
            }
            let (worked_on, left) = set.writes.split_at(10);
            assert_eq!(worked_on.iter().sum::<u32>(), 35);
            assert_eq!(left, [0; 10]);
        }
    }

    #[test]
    fn a_page_that_went_back_in_time_or_changed_its_place_is_corrupt() {
        let mut set = set_of(PageOrder::Sequential);
        set.write_pages(15);
        set.content.change(&mut set.pages, 2, 1);
        set.content.change(&mut set.pages, 7, 2);
        let foreign = set.pages.read(18, 100);
        set.pages.write(19, 100, foreign);
        assert_eq!(set.count_corrupt(), 3);
    }
}
