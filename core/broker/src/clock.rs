//! The one place where the broker reads the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Two readings of the time, both in milliseconds since the Unix epoch.
///
/// [`Clock::now_ms`] is for ages, expiries and sessions: it takes the wall clock once, at the start, and counts from
/// there, so that nothing ends or lasts longer because somebody sets the clock. [`Clock::wall_ms`] is for what is
/// compared with records' timestamps or becomes one: it says what the wall clock says now, as Kafka does, so that an
/// error of that clock ends when it is corrected.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    start_ms: i64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        Clock { start: Instant::now(), start_ms: wall_ms() }
    }

    /// Rises steadily.
    pub fn now_ms(&self) -> i64 {
        self.start_ms + self.start.elapsed().as_millis() as i64
    }

    /// What the wall clock shows; may jump either way.
    pub fn wall_ms(&self) -> i64 {
        wall_ms()
    }

    /// When [`Clock::now_ms`] will be `at_ms`.
    pub fn instant(&self, at_ms: i64) -> Instant {
        self.start + Duration::from_millis(at_ms.saturating_sub(self.start_ms).max(0) as u64)
    }
}

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_go_on_from_where_the_wall_clock_stood_at_the_start() {
        let clock = Clock { start: Instant::now(), start_ms: 1_000 };
        let now_ms = clock.now_ms();
        assert!((1_000..61_000).contains(&now_ms), "{now_ms}: not the wall clock");
        assert_eq!(clock.instant(1_500), clock.start + Duration::from_millis(500));
        assert_eq!(clock.instant(0), clock.start, "the past is now");
        assert!(clock.wall_ms() > 1_000_000_000_000, "the wall clock itself");
    }
}
