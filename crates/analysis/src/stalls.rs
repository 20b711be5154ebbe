//! Times in which a stream did not move.

use dunlin_record::Outage;

use crate::moments::Moments;
use crate::units::ms_between;

/// How finely the series of streams tell the time.
pub(crate) const TICK_NS: i64 = 1_000_000;

/// The longest time without movement, of those that reach behind the migrate command. `moving_ns` are the beginnings of the
/// ticks in which something moved, in order.
pub(crate) fn longest_stall(moving_ns: impl Iterator<Item = i64>, moments: &Moments) -> Option<Outage> {
    let mut moving_ns: Vec<i64> = moving_ns.take_while(|t_ns| *t_ns < moments.window_end).collect();
    // One that had not ended when observation did is at least so long.
    moving_ns.push(moments.window_end);
    let stalls = moving_ns.windows(2).filter(|pair| pair[1] > moments.command);
    let longest = stalls.max_by_key(|pair| pair[1].saturating_sub(pair[0]))?;
    let start_ns = longest[0].saturating_add(TICK_NS).min(longest[1]);
    Some(Outage {
        start_ms: ms_between(moments.command, start_ns),
        length_ms: ms_between(start_ns, longest[1]),
    })
}
