//! What one client thread has done so far. Written by that thread, read by the progress line and the summary.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Counts and latencies of one client thread.
#[derive(Debug)]
pub struct Tally {
    records: AtomicU64,
    bytes: AtomicU64,
    /// Nanoseconds from the run's start to the last record counted: when this thread's work was really over.
    last_ns: AtomicU64,
    latencies: Mutex<Latencies>,
    errors: Mutex<BTreeMap<String, u64>>,
}

#[derive(Debug)]
struct Latencies {
    all: Histogram<u64>,
    /// Since the progress line was last drawn.
    recent: Histogram<u64>,
}

/// A histogram of microseconds, exact to three digits, up to a day.
pub fn histogram() -> Histogram<u64> {
    const DAY_US: u64 = 24 * 60 * 60 * 1_000_000;
    Histogram::new_with_bounds(1, DAY_US, 3).expect("these bounds are within what the histogram offers")
}

impl Tally {
    pub fn new() -> Self {
        Self {
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            latencies: Mutex::new(Latencies { all: histogram(), recent: histogram() }),
            errors: Mutex::new(BTreeMap::new()),
        }
    }

    /// One record done, `at` since the run's start.
    pub fn record(&self, bytes: usize, at: Duration, latency: Option<Duration>) {
        self.records.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last_ns.fetch_max(at.as_nanos() as u64, Ordering::Relaxed);
        if let Some(latency) = latency {
            let micros = latency.as_micros() as u64;
            let mut latencies = lock(&self.latencies);
            latencies.all.saturating_record(micros);
            latencies.recent.saturating_record(micros);
        }
    }

    pub fn error(&self, error: impl Into<String>) {
        *lock(&self.errors).entry(error.into()).or_default() += 1;
    }

    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn last(&self) -> Duration {
        Duration::from_nanos(self.last_ns.load(Ordering::Relaxed))
    }

    pub fn errors(&self) -> BTreeMap<String, u64> {
        lock(&self.errors).clone()
    }

    /// Adds all latencies to `sum`.
    pub fn add_latencies(&self, sum: &mut Histogram<u64>) {
        *sum += &lock(&self.latencies).all;
    }

    /// Adds the latencies since the last call to `sum`.
    pub fn take_recent(&self, sum: &mut Histogram<u64>) {
        let mut latencies = lock(&self.latencies);
        *sum += &latencies.recent;
        latencies.recent.reset();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_latencies_are_handed_out_once_and_all_are_kept() {
        let tally = Tally::new();
        tally.record(100, Duration::from_millis(5), Some(Duration::from_micros(40)));
        tally.record(100, Duration::from_millis(3), Some(Duration::from_secs(7_200)));
        tally.record(100, Duration::from_millis(4), None);
        let (mut recent, mut all) = (histogram(), histogram());
        tally.take_recent(&mut recent);
        tally.take_recent(&mut recent);
        tally.add_latencies(&mut all);
        assert_eq!((recent.len(), all.len()), (2, 2));
        assert!(all.max() >= 7_190_000_000);
        assert_eq!((tally.records(), tally.bytes(), tally.last()), (3, 300, Duration::from_millis(5)));
    }
}
