//! Group-committed fdatasync: the least latency of an append that is answered from the disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Runs `writers` closed loops for `seconds` and reports the latency of their appends in microseconds.
pub fn run(dir: &Path, writers: usize, size: usize, seconds: u64) -> anyhow::Result<serde_json::Value> {
    let path = dir.join("limits-fsync.log");
    let mut file = File::create(&path)?;
    let (sender, receiver) = mpsc::sync_channel::<mpsc::SyncSender<()>>(writers);
    let until = Instant::now() + Duration::from_secs(seconds);
    let threads: Vec<_> = (0..writers)
        .map(|_| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let (answer, answered) = mpsc::sync_channel(1);
                let mut latencies = Vec::new();
                while Instant::now() < until {
                    let started = Instant::now();
                    if sender.send(answer.clone()).is_err() || answered.recv().is_err() {
                        break;
                    }
                    latencies.push(started.elapsed().as_micros() as u64);
                }
                latencies
            })
        })
        .collect();
    drop(sender);
    let data = vec![0x5au8; size];
    let (mut syncs, mut appends) = (0u64, 0u64);
    let mut waiting = Vec::with_capacity(writers);
    while let Ok(first) = receiver.recv() {
        waiting.push(first);
        waiting.extend(receiver.try_iter());
        for _ in &waiting {
            file.write_all(&data)?;
        }
        file.sync_data()?;
        syncs += 1;
        appends += waiting.len() as u64;
        for answer in waiting.drain(..) {
            let _ = answer.send(());
        }
    }
    let mut histogram = Histogram::<u64>::new(3)?;
    for thread in threads {
        for latency in thread.join().expect("a writer does not panic") {
            histogram.record(latency)?;
        }
    }
    std::fs::remove_file(&path)?;
    Ok(serde_json::json!({
        "mode": "fsync", "writers": writers, "size": size, "appends": appends, "syncs": syncs,
        "p50_us": histogram.value_at_quantile(0.5), "p99_us": histogram.value_at_quantile(0.99),
        "p999_us": histogram.value_at_quantile(0.999), "max_us": histogram.max(),
    }))
}
