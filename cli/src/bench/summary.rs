//! The result of a bench, for people and for programs.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::tally::{Tally, histogram};

/// What a run came to. Field names are the interface of `--json`.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub records: u64,
    /// Key and value bytes.
    pub bytes: u64,
    /// From the start of measuring to the last record.
    pub seconds: f64,
    pub records_per_second: f64,
    pub bytes_per_second: f64,
    /// None where no record told when it was sent.
    pub latency_ms: Option<Latency>,
    /// CPU time of this process over the whole run, warm-up included: near `seconds` per core it, not the broker, is
    /// what was measured.
    pub client_cpu_seconds: f64,
    pub failed: u64,
    /// How often each error came.
    pub errors: BTreeMap<String, u64>,
    pub interrupted: bool,
}

#[derive(Debug, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    pub max: f64,
    pub mean: f64,
}

impl Summary {
    /// Adds up the threads. `warm_up` is where measuring began, counted from the run's start like [`Tally::last`].
    pub fn of(tallies: &[Arc<Tally>], warm_up: Duration, interrupted: bool) -> Self {
        let records: u64 = tallies.iter().map(|tally| tally.records()).sum();
        let bytes: u64 = tallies.iter().map(|tally| tally.bytes()).sum();
        let last = tallies.iter().map(|tally| tally.last()).max().unwrap_or_default();
        let seconds = last.saturating_sub(warm_up).as_secs_f64();
        let rate = |amount: u64| if seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
        let mut latencies = histogram();
        let mut errors = BTreeMap::new();
        for tally in tallies {
            tally.add_latencies(&mut latencies);
            for (error, count) in tally.errors() {
                *errors.entry(error).or_insert(0) += count;
            }
        }
        let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
        let latency_ms = (!latencies.is_empty()).then(|| Latency {
            p50: ms(0.5),
            p95: ms(0.95),
            p99: ms(0.99),
            p99_9: ms(0.999),
            max: latencies.max() as f64 / 1000.0,
            mean: latencies.mean() / 1000.0,
        });
        Self {
            records,
            bytes,
            seconds,
            records_per_second: rate(records),
            bytes_per_second: rate(bytes),
            latency_ms,
            client_cpu_seconds: cpu_seconds().unwrap_or(0.0),
            failed: errors.values().sum(),
            errors,
            interrupted,
        }
    }

    pub fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "records     {} ({} bytes) in {:.2} s", self.records, self.bytes, self.seconds)?;
        let megabytes = self.bytes_per_second / 1e6;
        writeln!(out, "throughput  {:.0} records/s, {megabytes:.2} MB/s", self.records_per_second)?;
        if let Some(latency) = &self.latency_ms {
            let Latency { p50, p95, p99, p99_9, max, mean } = latency;
            writeln!(
                out,
                "latency ms  p50 {p50:.3}  p95 {p95:.3}  p99 {p99:.3}  p99.9 {p99_9:.3}  max {max:.3}  mean {mean:.3}"
            )?;
        }
        writeln!(out, "client CPU  {:.2} s", self.client_cpu_seconds)?;
        for (error, count) in &self.errors {
            writeln!(out, "failed      {count} times: {error}")?;
        }
        Ok(())
    }
}

/// User and system time of this process so far, from /proc (fields 14 and 15 of `stat`, in hundredths of a second: the
/// kernel reports USER_HZ, which is 100 on every Linux architecture in use).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the program's name in parentheses, may hold blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up_and_the_warm_up_is_left_out() {
        let (a, b) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
        for _ in 0..99 {
            a.record(1_000, Duration::from_secs(2), Some(Duration::from_millis(2)));
        }
        b.record(1_000, Duration::from_secs(3), Some(Duration::from_millis(50)));
        b.error("refused");
        b.error("refused");
        let summary = Summary::of(&[a, b], Duration::from_secs(1), false);
        assert_eq!((summary.records, summary.bytes, summary.failed), (100, 100_000, 2));
        assert_eq!(summary.seconds, 2.0);
        assert_eq!(summary.bytes_per_second, 50_000.0);
        let latency = summary.latency_ms.unwrap();
        assert!((1.99..2.01).contains(&latency.p99), "{}", latency.p99);
        assert!((49.9..50.1).contains(&latency.max), "{}", latency.max);
    }

    #[test]
    fn nothing_done_divides_by_nothing() {
        let summary = Summary::of(&[Arc::new(Tally::new())], Duration::ZERO, true);
        assert_eq!((summary.records_per_second, summary.bytes_per_second), (0.0, 0.0));
        assert!(summary.latency_ms.is_none());
    }

    #[test]
    fn this_process_has_used_some_time() {
        assert!(cpu_seconds().is_some_and(|seconds| (0.0..100_000.0).contains(&seconds)));
    }
}
