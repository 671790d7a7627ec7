//! One partition read over and over from a running broker by the reader that [`crate::sendfile`] has: a request, then
//! 256 KiB at a time from a blocking socket. What the broker spends on it (its process's CPU time) compares with bare
//! `sendfile`, where the reader's sleeping and waking costs the same on both sides.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context, bail};
use buslane_wire::batch::Batches;
use buslane_wire::frame::{decode_response_header, encode_request};
use buslane_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use buslane_wire::{ApiKey, Encoder, ErrorCode, decode};

use crate::pin;
use crate::sendfile::READ_BYTES;

/// The last version that names topics.
const VERSION: i16 = 12;

/// Reads at least `bytes` of partition 0 of `topic`, from its beginning again and again, at most `chunk` bytes at once.
pub fn run(
    bootstrap: &str,
    load_core: usize,
    topic: &str,
    bytes: u64,
    chunk: usize,
) -> anyhow::Result<serde_json::Value> {
    pin::to_core(load_core)?;
    let mut socket = TcpStream::connect(bootstrap).with_context(|| format!("no broker at {bootstrap}"))?;
    socket.set_nodelay(true)?;
    let (started, cpu) = (Instant::now(), pin::thread_cpu_seconds());
    let (mut request, mut frame) = (Encoder::new(), Vec::new());
    let (mut got, mut offset) = (0, 0);
    while got < bytes {
        request.clear();
        let partition =
            FetchPartition { fetch_offset: offset, partition_max_bytes: chunk as i32, ..Default::default() };
        let fetch = FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: chunk as i32,
            topics: vec![FetchTopic { topic, partitions: vec![partition], ..Default::default() }],
            ..Default::default()
        };
        encode_request(&mut request, 0, None, VERSION, &fetch)?;
        socket.write_all(request.buffer())?;
        let mut len = [0; 4];
        socket.read_exact(&mut len)?;
        frame.resize(u32::from_be_bytes(len) as usize, 0);
        for part in frame.chunks_mut(READ_BYTES) {
            socket.read_exact(part)?;
        }
        let (_, body) = decode_response_header(&frame, ApiKey::Fetch, VERSION)?;
        let response: FetchResponse<'_> = decode(body, VERSION)?;
        let Some(partition) = response.responses.first().and_then(|topic| topic.partitions.first()) else {
            bail!("an answer without the partition: {}", response.error_code);
        };
        if partition.error_code != ErrorCode::NONE {
            bail!("topic {topic}, partition 0, offset {offset}: {}", partition.error_code);
        }
        let records = partition.records.as_ref().and_then(|r| r.borrowed()).unwrap_or_default();
        got += records.len() as u64;
        // The last batch may be cut: it comes again.
        for (_, header, _) in Batches::new(records).flatten() {
            offset = header.next_offset();
        }
        if offset >= partition.high_watermark {
            offset = 0;
        }
    }
    Ok(pin::moved(
        "fetch (CPU of the reader)",
        got,
        started.elapsed().as_secs_f64(),
        pin::thread_cpu_seconds() - cpu,
    ))
}
