//! The one place where the broker reads the clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall-clock milliseconds that never run backwards within a process, so that ages and expiries stay sane when the
/// clock is set.
#[derive(Debug, Default)]
pub struct Clock {
    latest_ms: AtomicI64,
}

impl Clock {
    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        self.latest_ms.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_runs_backwards() {
        let clock = Clock::default();
        let now = clock.now_ms();
        clock.latest_ms.store(now + 60_000, Ordering::Relaxed);
        assert_eq!(clock.now_ms(), now + 60_000);
    }
}
