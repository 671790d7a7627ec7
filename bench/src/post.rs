//! No limit: services that send events to an agent over HTTP/1.1, each over a connection that it keeps.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use serde_json::json;

use crate::pin;

/// What is sent.
pub struct Load {
    /// `host:port` of the agent.
    pub agent: String,
    /// Core of the senders.
    pub load_core: usize,
    /// `METHOD path`.
    pub to: String,
    /// Connections, each with one request under way.
    pub connections: usize,
    /// Events of a request; more than one as NDJSON.
    pub events: usize,
    /// Bytes of an event.
    pub size: usize,
    /// Requests a second in all; 0: as many as are answered.
    pub rate: u64,
    /// How long.
    pub seconds: u64,
}

/// Sends, and tells how many events were answered 200 and how long that took, in milliseconds from the moment at which a request
/// was due.
pub fn run(load: &Load) -> anyhow::Result<serde_json::Value> {
    pin::to_core(load.load_core)?;
    let request = request(load);
    let (began, next) = (Instant::now(), AtomicU64::new(0));
    let end = began + Duration::from_secs(load.seconds);
    let took = std::thread::scope(|scope| {
        let sender = || -> anyhow::Result<Histogram<u64>> {
            let stream = TcpStream::connect(&load.agent).context("the agent")?;
            stream.set_nodelay(true)?;
            let mut answers = BufReader::new(stream.try_clone()?);
            let mut stream = stream;
            let mut took = Histogram::new(3)?;
            loop {
                let mut due = Instant::now();
                if let Some(pace) = 1_000_000_000u64.checked_div(load.rate) {
                    due = began + Duration::from_nanos(next.fetch_add(1, Ordering::Relaxed) * pace);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                if due >= end {
                    return Ok(took);
                }
                stream.write_all(&request)?;
                answer(&mut answers)?;
                took.record(due.elapsed().as_micros() as u64)?;
            }
        };
        let senders: Vec<_> = (0..load.connections).map(|_| scope.spawn(sender)).collect();
        let mut all = Histogram::<u64>::new(3)?;
        for sender in senders {
            all.add(sender.join().expect("a sender does not panic")?)?;
        }
        anyhow::Ok(all)
    })?;
    let ms = |quantile: f64| took.value_at_quantile(quantile) as f64 / 1e3;
    Ok(json!({
        "requests": took.len(), "events": took.len() * load.events as u64, "seconds": began.elapsed().as_secs_f64(),
        "p50_ms": ms(0.5), "p99_ms": ms(0.99), "p999_ms": ms(0.999),
    }))
}

fn request(load: &Load) -> Vec<u8> {
    let filler = "x".repeat(load.size.saturating_sub(r#"{"order":""}"#.len()));
    let event = format!(r#"{{"order":"{filler}"}}"#);
    let (body, kind) = match load.events {
        0 => (String::new(), ""),
        1 => (event, "Content-Type: application/octet-stream\r\n"),
        many => ((event + "\n").repeat(many), "Content-Type: application/x-ndjson\r\n"),
    };
    let head =
        format!("{} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {}\r\n\r\n", load.to, body.len());
    (head + &body).into_bytes()
}

/// Reads one answer, which says its length.
fn answer(from: &mut BufReader<TcpStream>) -> anyhow::Result<()> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    ensure!(line.starts_with("HTTP/1.1 200"), "the agent answers {line:?}");
    let mut length = 0;
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    std::io::copy(&mut from.by_ref().take(length), &mut std::io::sink())?;
    Ok(())
}
