//! One clock of a host: when it was read, and what follows for its stamps.

use std::ops::Range;

/// How many readings are kept: an hour of two a second. Then the older half is thinned, again and again.
const MOST_READINGS: usize = 8192;
/// How many readings on either side of a stamp are looked at. They may be many where one is as good as another.
const NEIGHBOURS: usize = 64;
/// The fastest that `adjtimex(2)` lets a clock be slewed: its `tick` may be 10 % off. What was faster was a step.
const FASTEST_SLEW_PPM: i128 = 100_000;
/// What may lie between a stamp and our seeing it, in nanoseconds.
const SHORT_NS: i128 = 1_000_000_000;
const MILLION: i128 = 1_000_000;

/// A reading of the clock. All stamps in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// It was read after this moment of the bench's clock …
    pub(super) asked_ns: i64,
    /// … and before this one.
    pub(super) answered_ns: i64,
    /// What it said.
    pub(super) said_ns: i64,
    /// How far off that may be.
    pub(super) apart_ns: i64,
    /// Whether it contradicts the one before: the clock was set between them, or ran faster than it should.
    pub(super) contradicts: bool,
}

/// What is to be added to a stamp of the clock, or where that ends up: somewhere in here. Wide enough for sums of any
/// stamps, for those of another machine may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) low: i128,
    pub(super) high: i128,
}

/// The readings of one clock in the order of the bench's time.
///
/// At a reading, what is to be added to its stamps lies between `asked - said` and `answered - said`. Some time away from
/// it, both clocks may have run apart by `apart_ppm` of that time. The truth lies within what every reading leaves, so
/// between two of them it is known best. Readings that contradict each other tell of a step: then each side of it counts for
/// itself. (A step no greater than what the clocks may run apart does not show, and nothing can tell it.)
#[derive(Debug)]
pub(super) struct Track {
    readings: Vec<Reading>,
    /// Where what goes together begins: 0, and each reading that contradicts the one before.
    starts: Vec<usize>,
    apart_ppm: i128,
}

impl Track {
    pub(super) fn new(apart_ppm: u32) -> Self {
        Self { readings: Vec::new(), starts: Vec::new(), apart_ppm: apart_ppm.into() }
    }

    /// When the last reading was taken, by the bench's clock.
    pub(super) fn last_ns(&self) -> Option<i64> {
        self.readings.last().map(|reading| reading.answered_ns)
    }

    pub(super) fn learn(&mut self, reading: Reading) {
        if reading.answered_ns < reading.asked_ns || reading.apart_ns < 0 {
            return;
        }
        let at = self.readings.partition_point(|other| other.asked_ns <= reading.asked_ns);
        self.readings.insert(at, reading);
        for later in at.max(1)..(at + 2).min(self.readings.len()) {
            let contradicts = contradict(&self.readings[later - 1], &self.readings[later], self.apart_ppm);
            self.readings[later].contradicts = contradicts;
        }
        if self.readings.len() > MOST_READINGS {
            self.thin();
        }
        self.find_starts();
    }

    /// The moment of a stamp on the bench's clock; absent before the first reading.
    ///
    /// Where the clock was set back it showed some times twice: the answer is as wide as to hold both.
    pub(super) fn moment(&self, said_ns: i64) -> Option<Bounds> {
        // What it never showed is a mistake of whoever stamped; it gets no better answer.
        join(self.possible(said_ns)).or_else(|| join(self.spans().map(|span| self.moment_by(span, said_ns))))
    }

    /// The same for a stamp that was taken before `seen_ns` of the bench's clock, and not long before: of two moments the
    /// later.
    pub(super) fn moment_seen(&self, said_ns: i64, seen_ns: i64) -> Option<Bounds> {
        let seen = i128::from(seen_ns);
        let in_time = |bounds: &Bounds| bounds.low <= seen;
        let newest = self.possible(said_ns).filter(in_time).max_by_key(|bounds| bounds.high)?;
        // Around a small step both may be meant: they cannot be told apart.
        let near = |bounds: &Bounds| newest.low - bounds.high <= SHORT_NS && in_time(bounds);
        join(self.possible(said_ns).filter(near))
    }

    /// What is to be added to stamps that it makes at a moment of the bench's clock.
    pub(super) fn offset_at(&self, t_ns: i64) -> Option<Bounds> {
        let at = self.readings.partition_point(|reading| reading.asked_ns <= t_ns);
        let last = self.readings.len().checked_sub(1)?;
        let around = [at.saturating_sub(1), at.min(last)];
        let t = i128::from(t_ns);
        let distance = |reading: &Reading| {
            (t - i128::from(reading.asked_ns)).abs().max((t - i128::from(reading.answered_ns)).abs())
        };
        join(around.into_iter().map(|index| {
            let span = self.span_of(index);
            let at = at.clamp(span.start, span.end);
            self.intersect(span, at, distance)
        }))
    }

    /// The same for all moments between two.
    pub(super) fn offset_during(&self, from_ns: i64, to_ns: i64) -> Option<Bounds> {
        let first = self.readings.partition_point(|reading| reading.asked_ns <= from_ns);
        let end = self.readings.partition_point(|reading| reading.asked_ns <= to_ns);
        let between = self.readings.get(first..end).unwrap_or_default();
        let moments = between.iter().map(|reading| reading.asked_ns).chain([from_ns, to_ns]);
        join(moments.filter_map(|t_ns| self.offset_at(t_ns)))
    }

    /// Where a stamp may be, by each stretch of readings that go together, if that may have been going on there.
    fn possible(&self, said_ns: i64) -> impl Iterator<Item = Bounds> + '_ {
        self.spans().filter_map(move |span| {
            let (first, last) = (&self.readings[span.start], &self.readings[span.end - 1]);
            let before = span.start.checked_sub(1).map(|before| &self.readings[before]);
            let after = self.readings.get(span.end);
            let bounds = self.moment_by(span, said_ns);
            let not_before = before.is_none_or(|before| {
                bounds.high >= before.asked_ns.into() || is_in_slew(before, first, said_ns)
            });
            let not_after = after.is_none_or(|after| {
                bounds.low <= after.answered_ns.into() || is_in_slew(last, after, said_ns)
            });
            (not_before && not_after).then_some(bounds)
        })
    }

    /// Where a stamp is by readings that go together.
    fn moment_by(&self, span: Range<usize>, said_ns: i64) -> Bounds {
        let said = i128::from(said_ns);
        let at = self.readings[span.clone()].partition_point(|reading| reading.said_ns <= said_ns);
        let at = span.start + at;
        let offset = self.intersect(span, at, |reading| (said - i128::from(reading.said_ns)).abs());
        Bounds { low: said + offset.low, high: said + offset.high }
    }

    /// What the readings of a stretch leave, from the two around position `at` outwards.
    fn intersect(&self, span: Range<usize>, at: usize, distance: impl Fn(&Reading) -> i128) -> Bounds {
        let ppm = self.apart_ppm_of(&span);
        let before = self.readings[span.start..at].iter().rev();
        let after = self.readings[at..span.end].iter();
        let sides: [&mut dyn Iterator<Item = &Reading>; 2] =
            [&mut before.take(NEIGHBOURS), &mut after.take(NEIGHBOURS)];
        let mut left = None;
        for side in sides {
            for reading in side {
                let apart = share(distance(reading), ppm);
                let offset = reading.offset().wider_by(apart);
                let Some(known) = left else {
                    left = Some(offset);
                    continue;
                };
                let Some(both) = offset.and(known) else {
                    // Together they contradict each other, if not one by one: what holds both claims no more than that.
                    left = Some(offset.or(known));
                    break;
                };
                left = Some(both);
                if apart > both.high - both.low {
                    break;
                }
            }
        }
        // A stretch has a reading; nothing known would be this.
        left.unwrap_or(Bounds { low: i64::MIN.into(), high: i64::MAX.into() })
    }

    /// By how much the clocks may run apart around a stretch. After a contradiction that may have been a fast slew it may be
    /// going on, until the next reading says that it is not.
    fn apart_ppm_of(&self, span: &Range<usize>) -> i128 {
        let alone = span.end == self.readings.len() && span.len() == 1 && self.apart_ppm > 0;
        let before = span.start.checked_sub(1).filter(|_| alone);
        let Some((before, last)) = before.map(|before| (&self.readings[before], &self.readings[span.start]))
        else {
            return self.apart_ppm;
        };
        slew_ppm(before, last).map_or(self.apart_ppm, |ppm| ppm.max(self.apart_ppm))
    }

    /// The stretches of readings that go together.
    fn spans(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let ends = self.starts.iter().skip(1).copied().chain([self.readings.len()]);
        self.starts.iter().copied().zip(ends).map(|(start, end)| start..end)
    }

    fn span_of(&self, reading: usize) -> Range<usize> {
        let next = self.starts.partition_point(|start| *start <= reading);
        let start = next.checked_sub(1).map_or(0, |index| self.starts[index]);
        start..self.starts.get(next).copied().unwrap_or(self.readings.len())
    }

    /// Leaves every second one of the older half.
    fn thin(&mut self) {
        let half = self.readings.len() / 2;
        let (mut index, mut contradicted) = (0, false);
        self.readings.retain_mut(|reading| {
            let stays = index >= half || index % 2 == 0;
            index += 1;
            // What contradicted one that goes still does not go together with the one before that.
            reading.contradicts |= contradicted;
            contradicted = reading.contradicts && !stays;
            stays
        });
    }

    fn find_starts(&mut self) {
        self.starts.clear();
        let starts =
            self.readings.iter().enumerate().filter(|(index, reading)| *index == 0 || reading.contradicts);
        self.starts.extend(starts.map(|(index, _)| index));
    }
}

impl Reading {
    fn offset(&self) -> Bounds {
        let (said, apart) = (i128::from(self.said_ns), i128::from(self.apart_ns));
        Bounds {
            low: i128::from(self.asked_ns) - said - apart,
            high: i128::from(self.answered_ns) - said + apart,
        }
    }
}

impl Bounds {
    /// The middle and how far the ends are from it.
    pub(super) fn middle(self) -> (i64, i64) {
        let middle = (self.low + self.high).div_euclid(2);
        (narrow(middle), narrow(self.high - middle))
    }

    fn wider_by(self, apart: i128) -> Self {
        Self { low: self.low - apart, high: self.high + apart }
    }

    fn and(self, other: Self) -> Option<Self> {
        let both = Self { low: self.low.max(other.low), high: self.high.min(other.high) };
        (both.low <= both.high).then_some(both)
    }

    fn or(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

fn join(all: impl Iterator<Item = Bounds>) -> Option<Bounds> {
    all.reduce(Bounds::or)
}

fn contradict(before: &Reading, after: &Reading, apart_ppm: i128) -> bool {
    let apart = share(i128::from(after.answered_ns) - i128::from(before.asked_ns), apart_ppm);
    before.offset().wider_by(apart).and(after.offset()).is_none()
}

/// Whether a stamp lies between two readings that contradict each other because the clock was slewed fast: then neither
/// tells alone where.
fn is_in_slew(before: &Reading, after: &Reading, said_ns: i64) -> bool {
    (before.said_ns..=after.said_ns).contains(&said_ns) && slew_ppm(before, after).is_some()
}

/// How fast the clock may have been slewed between two readings; none where it must have been set.
fn slew_ppm(before: &Reading, after: &Reading) -> Option<i128> {
    let (a, b) = (before.offset(), after.offset());
    let changed = (b.high - a.low).max(a.high - b.low);
    let during = (i128::from(after.asked_ns) - i128::from(before.answered_ns)).max(1);
    Some(changed * MILLION / during + 1).filter(|ppm| *ppm <= FASTEST_SLEW_PPM)
}

/// So many millionths of a time, rounded up.
fn share(time: i128, ppm: i128) -> i128 {
    (time * ppm + MILLION - 1) / MILLION
}

fn narrow(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}
