//! A bucket of tokens, for what comes in bursts: creating and deleting partitions (KIP-599).
//!
//! Filled at the rate of the limit, up to what that gives in all windows. Who empties it below zero waits until it is at
//! zero again: a burst is paid off at the limit, and does not count for longer. Time is an argument.

use super::rate::{WINDOW_MS, WINDOWS};

/// What one client has left.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    tokens: f64,
    at_ms: i64,
    /// When it is full again, which is as good as new.
    full_ms: i64,
}

/// The most that it holds.
fn most(limit: f64) -> f64 {
    limit * (WINDOWS as i64 * WINDOW_MS) as f64 / 1_000.0
}

impl TokenBucket {
    /// A full one.
    pub fn new(limit: f64, now_ms: i64) -> TokenBucket {
        TokenBucket { tokens: most(limit), at_ms: now_ms, full_ms: now_ms }
    }

    /// Takes tokens unless they are used up; then says in how many milliseconds there are some. More may be taken than
    /// there are: then nobody gets any for longer.
    pub fn take(&mut self, tokens: f64, limit: f64, now_ms: i64) -> Result<(), u64> {
        self.fill(limit, now_ms);
        if self.tokens < 0.0 {
            return Err(self.wait_ms(limit));
        }
        self.spend(tokens, limit);
        Ok(())
    }

    /// Takes tokens in any case, and says for how many milliseconds there are none; 0: there are.
    pub fn take_anyway(&mut self, tokens: f64, limit: f64, now_ms: i64) -> u64 {
        self.fill(limit, now_ms);
        self.spend(tokens, limit);
        if self.tokens < 0.0 { self.wait_ms(limit) } else { 0 }
    }

    /// True when it is full: another one would be the same.
    pub fn is_idle(&self, now_ms: i64) -> bool {
        now_ms >= self.full_ms
    }

    fn fill(&mut self, limit: f64, now_ms: i64) {
        let passed_ms = (now_ms - self.at_ms) as f64;
        self.tokens = (self.tokens + limit * passed_ms / 1_000.0).min(most(limit));
        self.at_ms = now_ms;
    }

    fn spend(&mut self, tokens: f64, limit: f64) {
        self.tokens -= tokens;
        let missing_ms = (most(limit) - self.tokens) / limit * 1_000.0;
        self.full_ms = self.at_ms.saturating_add(missing_ms.ceil() as i64);
    }

    fn wait_ms(&self, limit: f64) -> u64 {
        ((-self.tokens / limit * 1_000.0).round() as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_whole_and_paid_off_at_the_limit() {
        let mut bucket = TokenBucket::new(5.0, 0);
        assert_eq!(bucket.take(115.0, 5.0, 0), Ok(()), "55 are there");
        assert_eq!(bucket.take(1.0, 5.0, 0), Err(12_000));
        assert_eq!(bucket.take(1.0, 5.0, 11_000), Err(1_000));
        assert_eq!(bucket.take(1.0, 5.0, 12_000), Ok(()));
        assert_eq!(bucket.take(1.0, 5.0, 12_000), Err(200));
    }

    #[test]
    fn older_clients_get_theirs_and_are_held_up() {
        let mut bucket = TokenBucket::new(1.0, 0);
        assert_eq!(bucket.take_anyway(11.0, 1.0, 0), 0);
        assert_eq!(bucket.take_anyway(2.0, 1.0, 0), 2_000);
        assert_eq!(bucket.take_anyway(1.0, 1.0, 1_000), 2_000);
    }

    #[test]
    fn a_full_one_is_idle_and_holds_no_more() {
        let mut bucket = TokenBucket::new(2.0, 0);
        assert!(bucket.is_idle(0));
        bucket.take(10.0, 2.0, 0).unwrap();
        assert!(!bucket.is_idle(4_999));
        assert!(bucket.is_idle(5_000));
        assert_eq!(bucket.take_anyway(22.0, 2.0, 1_000_000), 0);
        assert_eq!(bucket.take_anyway(1.0, 2.0, 1_000_000), 500);
    }

    #[test]
    fn a_lower_limit_holds_at_once() {
        let mut bucket = TokenBucket::new(100.0, 0);
        assert_eq!(bucket.take(0.0, 1.0, 0), Ok(()));
        assert_eq!(bucket.take(12.0, 1.0, 0), Ok(()));
        assert_eq!(bucket.take(1.0, 1.0, 0), Err(1_000), "11 were left of 1,100");
    }
}
