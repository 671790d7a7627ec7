//! When the next events are worth a plan: a channel's latency budget, spent only where it makes batches larger.
//!
//! Few events gain nothing by waiting for each other, so they go at once; where several come within the budget they wait for
//! it. No I/O, no clock.

use std::time::Duration;

/// How fast the measured rate follows: about that of the last tenth of a second.
const MEMORY_MS: f64 = 100.0;

/// Events that are a plan of their own, however young.
const ENOUGH: i64 = 20_000;

/// Decides when a plan is made.
#[derive(Clone, Debug, Default)]
pub struct Batcher {
    /// Events in a millisecond.
    rate: f64,
    /// When it was measured, and the end of the spool then.
    measured: Option<(i64, i64)>,
    /// When the first event that is not planned was seen, with its offset.
    since: Option<(i64, i64)>,
}

impl Batcher {
    /// When the events from `cursor` to `end` are to be planned, in milliseconds of the same clock as `now_ms`; none when
    /// there are none.
    pub fn due_ms(&mut self, now_ms: i64, cursor: i64, end: i64, linger_max: Duration) -> Option<i64> {
        self.measure(now_ms, end);
        if cursor >= end {
            self.since = None;
            return None;
        }
        let since = match self.since {
            Some((since, offset)) if offset == cursor => since,
            _ => {
                self.since = Some((now_ms, cursor));
                now_ms
            }
        };
        if end - cursor >= ENOUGH {
            return Some(now_ms);
        }
        Some(since + self.linger_ms(linger_max))
    }

    /// So long events wait for others at present.
    pub fn linger_ms(&self, linger_max: Duration) -> i64 {
        let longest = linger_max.as_millis() as f64;
        if self.rate * longest >= 2.0 { longest as i64 } else { 0 }
    }

    fn measure(&mut self, now_ms: i64, end: i64) {
        let Some((before_ms, before)) = self.measured else {
            self.measured = Some((now_ms, end));
            return;
        };
        let passed = (now_ms - before_ms) as f64;
        if passed < 1.0 {
            return;
        }
        let now = (end - before) as f64 / passed;
        let weight = 1.0 - (-passed / MEMORY_MS).exp();
        self.rate += weight * (now - self.rate);
        self.measured = Some((now_ms, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_millis(10);

    #[test]
    fn a_single_event_goes_at_once_and_many_wait_for_each_other() {
        let mut batcher = Batcher::default();
        assert_eq!(batcher.due_ms(0, 0, 0, BUDGET), None);
        assert_eq!(batcher.due_ms(1_000, 0, 1, BUDGET), Some(1_000));
        // Ten events in a millisecond, for a second: each plan takes what has come meanwhile.
        let mut cursor = 1;
        let mut plans = 0;
        for ms in 0..1_000 {
            let (now, end) = (2_000 + ms, 1 + (ms + 1) * 10);
            if batcher.due_ms(now, cursor, end, BUDGET).is_some_and(|due| due <= now) {
                (cursor, plans) = (end, plans + 1);
            }
        }
        assert!((85..=110).contains(&plans), "{plans} plans");
        // Then quiet again.
        assert_eq!(batcher.due_ms(9_000, cursor, cursor, BUDGET), None);
        assert_eq!(batcher.due_ms(9_500, cursor, cursor + 1, BUDGET), Some(9_500));
    }

    #[test]
    fn a_backlog_does_not_wait() {
        let mut batcher = Batcher::default();
        batcher.due_ms(0, 0, 0, BUDGET);
        assert_eq!(batcher.due_ms(10, 0, 1_000_000, BUDGET), Some(10));
    }
}
