//! The live line of a bench: on a terminal it is redrawn twice a second, elsewhere a line comes every five seconds.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::tally::{Tally, histogram};

/// Draws until it is dropped.
pub struct Progress {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// `quiet` draws nothing at all.
    pub fn start(what: &'static str, tallies: Vec<Arc<Tally>>, quiet: bool) -> Self {
        if quiet {
            return Self { stop: None, thread: None };
        }
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let live = std::io::stderr().is_terminal();
            let interval = if live { Duration::from_millis(500) } else { Duration::from_secs(5) };
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            let start = Instant::now();
            let (mut then, mut records_then, mut bytes_then) = (start, 0, 0);
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
                let now = Instant::now();
                let seconds = (now - then).as_secs_f64();
                let records: u64 = tallies.iter().map(|tally| tally.records()).sum();
                let bytes: u64 = tallies.iter().map(|tally| tally.bytes()).sum();
                let mut recent = histogram();
                tallies.iter().for_each(|tally| tally.take_recent(&mut recent));
                let latency = if recent.is_empty() {
                    String::new()
                } else {
                    let ms = |quantile| recent.value_at_quantile(quantile) as f64 / 1000.0;
                    format!(", p50 {:.2} ms, p99 {:.2} ms", ms(0.5), ms(0.99))
                };
                let line = format!(
                    "{what} {records} records in {}s: {:.0} records/s, {:.1} MB/s{latency}",
                    (now - start).as_secs(),
                    (records - records_then) as f64 / seconds,
                    (bytes - bytes_then) as f64 / seconds / 1e6,
                );
                if live {
                    bar.set_message(line);
                    bar.tick();
                } else {
                    eprintln!("{line}");
                }
                (then, records_then, bytes_then) = (now, records, bytes);
            }
            bar.finish_and_clear();
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only draws; if it panicked the panic has been printed already.
            let _ = thread.join();
        }
    }
}
