//! How much is read at once, and when the next step may begin, so that a rate is kept.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes of a step: a tenth of a second's, but large enough for a disk and small enough for whoever waits behind it.
const STEP_MIN: u64 = 64 * 1024;
const STEP_MAX: u64 = 4 * 1024 * 1024;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second.
    rate: u64,
    /// When the bytes read so far are paid for.
    next: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rate: u64) -> Pace {
        assert!(rate > 0, "a scrub without bytes a second");
        Pace { rate, next: None }
    }

    /// Bytes of the next step.
    pub(super) fn step_bytes(&self) -> u64 {
        (self.rate / 10).clamp(STEP_MIN, STEP_MAX)
    }

    /// When the next step may begin after one that began at `started` and read `bytes`. Time that was not used is not made
    /// up for.
    pub(super) fn after(&mut self, started: Instant, bytes: u64) -> Instant {
        let from = self.next.map_or(started, |next| next.max(started));
        let next = from + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        self.next = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_rate_is_kept_and_lost_time_is_not_made_up_for() {
        let mut pace = Pace::new(8 * MIB);
        let start = Instant::now();
        let seconds = Duration::from_secs;
        assert_eq!(pace.after(start, 8 * MIB), start + seconds(1));
        // Begun too early, before the last one was paid for.
        assert_eq!(pace.after(start, 8 * MIB), start + seconds(2));
        assert_eq!(pace.after(start + seconds(60), 16 * MIB), start + seconds(62));
    }

    #[test]
    fn steps_are_bounded() {
        assert_eq!(Pace::new(1).step_bytes(), STEP_MIN);
        assert_eq!(Pace::new(8 * MIB).step_bytes(), 8 * MIB / 10);
        assert_eq!(Pace::new(u64::MAX).step_bytes(), STEP_MAX);
    }
}
