//! How much somebody used lately: sums over sliding windows, and how long until that is little enough again.
//!
//! Kafka's `Rate` over a `SampledStat`, so that both brokers throttle alike: a sum a window, the oldest one forgotten as a
//! whole; the time counted is the ten full windows before this one, even when less has passed, and what has passed of
//! this one. Time is an argument.

use std::collections::VecDeque;

/// Windows that count (`quota.window.num`).
pub const WINDOWS: usize = 11;

/// Length of one in milliseconds (`quota.window.size.seconds`).
pub const WINDOW_MS: i64 = 1_000;

/// What was used in one window.
#[derive(Clone, Copy, Debug)]
struct Window {
    started_ms: i64,
    last_ms: i64,
    sum: f64,
}

/// What one client used of one thing.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    /// At most one more than [`WINDOWS`]: the oldest may overlap the time that counts.
    windows: VecDeque<Window>,
}

impl Rate {
    /// Adds what was used; returns for how long nothing more may be, in milliseconds: 0 within the limit, in units a
    /// second.
    pub fn charge(&mut self, used: f64, limit: f64, now_ms: i64) -> u64 {
        self.add(used, now_ms);
        self.wait_ms(limit, now_ms)
    }

    /// As [`Rate::charge`], but what would be above the limit is not taken, unless nothing else was used: what is above it
    /// all by itself would never be taken. Returns whether it was taken, too.
    pub fn charge_within(&mut self, used: f64, limit: f64, now_ms: i64) -> (u64, bool) {
        self.forget(now_ms);
        let alone = self.windows.iter().all(|window| window.sum <= 0.0);
        let wait_ms = self.charge(used, limit, now_ms);
        if wait_ms == 0 || alone {
            return (wait_ms, true);
        }
        self.take_back(used, now_ms);
        (wait_ms, false)
    }

    /// What was charged last was not used after all.
    pub fn take_back(&mut self, used: f64, now_ms: i64) {
        self.add(-used, now_ms);
    }

    /// True when nothing counts any more.
    pub fn is_idle(&self, now_ms: i64) -> bool {
        self.windows.back().is_none_or(|newest| is_over(newest, now_ms))
    }

    fn add(&mut self, used: f64, now_ms: i64) {
        self.forget(now_ms);
        match self.windows.back_mut() {
            Some(window) if now_ms - window.started_ms < WINDOW_MS => {
                window.sum += used;
                window.last_ms = now_ms;
            }
            _ => {
                if self.windows.len() > WINDOWS {
                    self.windows.pop_front();
                }
                self.windows.push_back(Window { started_ms: now_ms, last_ms: now_ms, sum: used });
            }
        }
    }

    /// If `R` is the rate seen over the time `W` and `L` the limit, then `R * W / (W + x) = L` after the wait `x`.
    fn wait_ms(&mut self, limit: f64, now_ms: i64) -> u64 {
        self.forget(now_ms);
        let counted_ms = self.counted_ms(now_ms) as f64;
        let rate = self.windows.iter().map(|window| window.sum).sum::<f64>() * 1_000.0 / counted_ms;
        if rate <= limit {
            return 0;
        }
        // The cast saturates.
        ((rate - limit) / limit * counted_ms).round() as u64
    }

    /// The time over which the rate is taken.
    fn counted_ms(&self, now_ms: i64) -> i64 {
        let elapsed = self.windows.front().map_or(0, |oldest| now_ms - oldest.started_ms);
        let missing = (WINDOWS as i64 - 1 - elapsed / WINDOW_MS).max(0);
        (elapsed + missing * WINDOW_MS).max(1)
    }

    fn forget(&mut self, now_ms: i64) {
        while self.windows.front().is_some_and(|oldest| is_over(oldest, now_ms)) {
            self.windows.pop_front();
        }
    }
}

fn is_over(window: &Window, now_ms: i64) -> bool {
    now_ms - window.last_ms >= WINDOWS as i64 * WINDOW_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_waits_until_its_average_is_the_limit() {
        let mut rate = Rate::default();
        // 10 windows count from the start on: 10 seconds of 100 a second are free.
        assert_eq!(rate.charge(1_000.0, 100.0, 0), 0);
        // 2,000 over 10 s: 200 a second, until 10 s more have passed.
        assert_eq!(rate.charge(1_000.0, 100.0, 0), 10_000);
        // Half a second later so much less.
        assert_eq!(rate.charge(0.0, 100.0, 500), 9_500);
    }

    #[test]
    fn a_steady_use_within_the_limit_is_never_held_up_and_above_it_soon_is() {
        let (mut within, mut above) = (Rate::default(), Rate::default());
        for now_ms in (0..60_000).step_by(100) {
            assert_eq!(within.charge(9.5, 100.0, now_ms), 0, "after {now_ms} ms");
        }
        let held = (0..20_000).step_by(100).find(|now_ms| above.charge(20.0, 100.0, *now_ms) > 0).unwrap();
        assert!((4_500..=5_500).contains(&held), "twice the limit, 10 s free: {held} ms");
    }

    #[test]
    fn who_waits_as_told_keeps_the_limit() {
        let (mut rate, mut now_ms, mut used) = (Rate::default(), 0, 0.0);
        while now_ms < 600_000 {
            now_ms += 1 + rate.charge(50.0, 100.0, now_ms) as i64;
            used += 50.0;
        }
        let average = used / (now_ms as f64 / 1_000.0);
        assert!((97.0..=105.0).contains(&average), "{average} a second");
    }

    #[test]
    fn what_is_refused_is_not_used() {
        let mut rate = Rate::default();
        assert_eq!(rate.charge_within(900.0, 100.0, 0), (0, true));
        assert_eq!(rate.charge_within(600.0, 100.0, 0), (5_000, false));
        assert_eq!(rate.charge_within(600.0, 100.0, 0), (5_000, false), "as before");
        assert_eq!(rate.charge_within(100.0, 100.0, 0), (0, true));
    }

    #[test]
    fn what_is_above_the_limit_by_itself_is_taken_after_a_pause() {
        let mut rate = Rate::default();
        assert_eq!(rate.charge_within(5_000.0, 100.0, 0), (40_000, true));
        assert!(!rate.charge_within(5_000.0, 100.0, 1_000).1);
        assert_eq!(rate.charge_within(5_000.0, 100.0, 11_000), (40_000, true));
    }

    #[test]
    fn what_was_long_ago_is_forgotten_and_memory_is_bounded() {
        let mut rate = Rate::default();
        assert!(rate.is_idle(0));
        for now_ms in 0..100_000 {
            rate.charge(1.0, 2_000.0, now_ms);
        }
        assert!(rate.windows.len() <= WINDOWS + 1, "{}", rate.windows.len());
        assert!(!rate.is_idle(110_998));
        assert!(rate.is_idle(110_999));
        assert_eq!(rate.charge(10.0, 1.0, 111_000), 0, "ten seconds' worth at once");
    }

    #[test]
    fn a_tiny_limit_makes_a_long_wait_and_no_overflow() {
        let mut rate = Rate::default();
        assert_eq!(rate.charge(1e300, f64::MIN_POSITIVE, 0), u64::MAX);
    }
}
