//! When a transfer that is under way takes too long.
//!
//! Two rules. A transfer has its timeout, plus the time that the bytes moved so far take at the lowest rate: a large
//! request over a thin line is served, a byte now and then is not. And while others wait for memory, a transfer that
//! moves less than the lowest rate over a sixth of its timeout is given up at once (a slow one is looked at more often,
//! lest each of many costs those who wait that time once more). Time in which we did not look at the
//! socket ([`Progress::excuse`]) does not count for the second rule; it does for the first, so that all waiting ends.

use std::time::Duration;

use tokio::time::Instant;

/// One transfer: a request from its first byte to its last, or responses from the first unwritten byte on.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    started: Instant,
    started_bytes: u64,
    checked: Instant,
    checked_bytes: u64,
}

/// The limits of a transfer.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time for a transfer of no bytes.
    pub timeout: Duration,
    /// Bytes per second that extend it.
    pub rate_min: u64,
}

impl Pace {
    fn time_for(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.rate_min.max(1) as f64)
    }

    fn check_every(&self) -> Duration {
        self.timeout / 6
    }
}

impl Progress {
    /// A transfer that starts now, at a running count of bytes.
    pub fn start(now: Instant, bytes: u64) -> Progress {
        Progress { started: now, started_bytes: bytes, checked: now, checked_bytes: bytes }
    }

    /// What moved since the last look says nothing of the client: the second rule starts anew.
    pub fn excuse(&mut self, now: Instant, bytes: u64) {
        (self.checked, self.checked_bytes) = (now, bytes);
    }

    /// When to look again; `None` when the transfer is to be given up. `contended`: others wait for its memory.
    pub fn check(&mut self, now: Instant, bytes: u64, pace: &Pace, contended: bool) -> Option<Instant> {
        let deadline = self.started + pace.timeout + pace.time_for(bytes - self.started_bytes);
        if now >= deadline {
            return None;
        }
        let mut again = self.checked + pace.check_every();
        if now >= again {
            let slow = pace.time_for(bytes - self.checked_bytes) < now - self.checked;
            if slow && contended {
                return None;
            }
            again = now + pace.check_every() / 5;
            if !slow {
                self.excuse(now, bytes);
                again = now + pace.check_every();
            }
        }
        Some(deadline.min(again))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { timeout: Duration::from_secs(30), rate_min: 1_000 };

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn bytes_extend_the_timeout_at_the_lowest_rate() {
        let start = Instant::now();
        let mut transfer = Progress::start(start, 500);
        assert!(transfer.check(at(start, 29), 500, &PACE, false).is_some());
        assert!(transfer.check(at(start, 39), 10_500, &PACE, false).is_some());
        assert!(transfer.check(at(start, 40), 10_500, &PACE, false).is_none());
    }

    #[test]
    fn a_slow_transfer_is_given_up_early_only_while_others_wait() {
        let start = Instant::now();
        let mut transfer = Progress::start(start, 0);
        assert_eq!(transfer.check(start, 0, &PACE, true), Some(at(start, 5)));
        assert!(transfer.check(at(start, 5), 5_000, &PACE, true).is_some(), "the rate was just kept");
        assert_eq!(transfer.check(at(start, 10), 9_000, &PACE, false), Some(at(start, 11)), "nobody waits");
        assert!(transfer.check(at(start, 11), 10_999, &PACE, true).is_none());
    }
}
