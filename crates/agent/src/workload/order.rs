//! Which page of a working set comes next.

use dunlin_agent_proto::PageOrder;

use super::content::mix;

/// The pages of a working set in some order, for ever.
#[derive(Debug)]
pub(super) struct Order {
    kind: PageOrder,
    pages: usize,
    /// How many came.
    count: u64,
    /// The page that comes next, where they come in turn.
    cursor: usize,
}

impl Order {
    /// An order of so many pages, at least 1.
    pub(super) fn new(kind: PageOrder, pages: usize) -> Self {
        Self { kind, pages, count: 0, cursor: 0 }
    }

    /// The next page.
    pub(super) fn next_page(&mut self) -> usize {
        self.count += 1;
        match self.kind {
            PageOrder::Sequential => {
                let page = self.cursor;
                self.cursor = if page + 1 == self.pages { 0 } else { page + 1 };
                page
            }
            PageOrder::Uniform => self.uniform(),
            PageOrder::Zipf => self.zipf(),
        }
    }

    /// How many pages came so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Full passes, where pages come in turn.
    pub(super) fn passes(&self) -> Option<u64> {
        (self.kind == PageOrder::Sequential).then(|| self.count / self.pages as u64)
    }

    fn uniform(&self) -> usize {
        // The upper half of a product maps a random number to a range without a division (Lemire 2019).
        ((u128::from(mix(self.count)) * self.pages as u128) >> 64) as usize
    }

    /// The continuous law of density 1/x on [1, n+1), cut to whole numbers: its distribution is ln x / ln(n+1), whose
    /// inverse is (n+1)^u.
    fn zipf(&self) -> usize {
        // 53 bits are what a double holds.
        let u = (mix(self.count) >> 11) as f64 / (1_u64 << 53) as f64;
        let rank = (u * ((self.pages + 1) as f64).ln()).exp() as usize;
        rank.clamp(1, self.pages) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each of ten pages came.
    fn counts(kind: PageOrder, draws: u32) -> [u32; 10] {
        let mut order = Order::new(kind, 10);
        let mut counts = [0; 10];
        (0..draws).for_each(|_| counts[order.next_page()] += 1);
        assert_eq!(order.count(), u64::from(draws));
        counts
    }

    #[test]
    fn pages_in_turn_come_once_a_pass() {
        assert_eq!(counts(PageOrder::Sequential, 30), [3; 10]);
        let mut order = Order::new(PageOrder::Sequential, 10);
        let pages: Vec<_> = (0..12).map(|_| order.next_page()).collect();
        assert_eq!(pages, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
        assert_eq!(order.passes(), Some(1));
        assert_eq!(Order::new(PageOrder::Zipf, 10).passes(), None);
    }

    #[test]
    fn pages_at_random_come_equally_often() {
        let counts = counts(PageOrder::Uniform, 10_000);
        assert!(counts.iter().all(|count| (850..=1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn by_zipfs_law_a_page_is_the_rarer_the_higher_its_number() {
        let counts = counts(PageOrder::Zipf, 100_000);
        for (page, count) in counts.into_iter().enumerate() {
            let rank = page as f64 + 1.0;
            let expected = 100_000.0 * ((rank + 1.0) / rank).ln() / 11_f64.ln();
            assert!((f64::from(count) / expected - 1.0).abs() < 0.1, "page {page}: {count}, not {expected}");
        }
    }

    #[test]
    fn a_single_page_is_always_the_next() {
        for kind in [PageOrder::Sequential, PageOrder::Uniform, PageOrder::Zipf] {
            let mut order = Order::new(kind, 1);
            assert!((0..100).all(|_| order.next_page() == 0), "{kind:?}");
        }
    }
}
