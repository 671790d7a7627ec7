//! The ids of the last events, kept over a restart: records of (id, offset) in a log of their own.
//!
//! An id is written before its event, so after a crash there may be ids without events; they are passed over, and the log
//! begins anew without them before the first event takes one of their offsets.

use std::sync::Arc;

use buslane_log::Store;
use buslane_wire::batch::{BatchBuilder, BatchOptions, BatchRecords, Batches, NewRecord};
use buslane_wire::ids::TopicPartition;
use parking_lot::Mutex;

use super::chain::{Chain, ChainError, Found};
use crate::dedup::{Dedup, IdHash, Seen};

/// Bytes of an id and its offset.
const ENTRY: usize = 24;

const SEGMENT_BYTES: u64 = 4 << 20;
const READ_BYTES: u64 = 1 << 20;

/// The log of a channel's ids.
#[derive(Debug)]
pub struct Ids {
    chain: Chain,
    buffers: Mutex<(BatchBuilder, Vec<u8>, Vec<u8>)>,
    /// When each segment-sized stretch was begun, and where: what is older than the window goes.
    begun: Mutex<Vec<(i64, i64)>>,
}

impl Ids {
    /// Takes up the ids of a channel whose events end at `events_end`, into `dedup`; `now_ms` counts as the time of those
    /// that have none.
    ///
    /// # Errors
    /// When the disk fails. Damage costs ids, not events.
    pub fn open(
        store: Arc<Store>,
        partition: TopicPartition,
        events_end: i64,
        dedup: &mut Dedup,
        now_ms: i64,
        window_ms: i64,
    ) -> Result<(Ids, Found), ChainError> {
        let (chain, found) = Chain::open(store, partition, SEGMENT_BYTES)?;
        let mut kept = Vec::new();
        let mut passed_over = false;
        let mut at = chain.start();
        while let Some(slice) = chain.read(at, READ_BYTES, chain.end())? {
            let bytes = slice.to_vec().map_err(|e| ChainError::Io(e.to_string()))?;
            at = slice.end_offset;
            for (written_ms, id, offset) in read(&bytes) {
                if now_ms.saturating_sub(written_ms) >= window_ms {
                    continue;
                }
                passed_over |= offset >= events_end;
                if offset < events_end {
                    dedup.insert(id, Seen::At(offset), written_ms.min(now_ms));
                    kept.push((written_ms, id, offset));
                }
            }
        }
        let ids = Ids { chain, buffers: Mutex::default(), begun: Mutex::new(vec![(now_ms, 0)]) };
        if passed_over {
            let anew = ids.chain.begin_anew()?;
            for chunk in kept.chunk_by(|one, next| one.0 == next.0) {
                let entries: Vec<(IdHash, i64)> =
                    chunk.iter().map(|(_, id, offset)| (*id, *offset)).collect();
                ids.write(&entries, chunk[0].0)?;
            }
            // Until this is so, no event takes an offset that is in the old ones.
            ids.chain.sync_now()?;
            ids.chain.trim(anew);
        }
        Ok((ids, found))
    }

    /// The ids of a batch of events that will begin at `base`, with their places in it.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(
        &self,
        base: i64,
        ids: &[(IdHash, u32)],
        now_ms: i64,
        window_ms: i64,
    ) -> Result<(), ChainError> {
        if ids.is_empty() {
            return Ok(());
        }
        let entries: Vec<(IdHash, i64)> =
            ids.iter().map(|(id, index)| (*id, base + i64::from(*index))).collect();
        self.write(&entries, now_ms)?;
        let mut begun = self.begun.lock();
        if now_ms.saturating_sub(begun.last().map_or(0, |last| last.0)) >= window_ms.max(1_000) / 8 {
            begun.push((now_ms, self.chain.end()));
            let old = begun.iter().rposition(|(at, _)| now_ms.saturating_sub(*at) >= window_ms);
            if let Some(old) = old {
                self.chain.trim(begun[old].1);
                begun.drain(..old);
            }
        }
        Ok(())
    }

    fn write(&self, entries: &[(IdHash, i64)], now_ms: i64) -> Result<(), ChainError> {
        let mut buffers = self.buffers.lock();
        let (builder, value, batch) = &mut *buffers;
        value.clear();
        for (id, offset) in entries {
            value.extend_from_slice(&id.0.to_be_bytes());
            value.extend_from_slice(&offset.to_be_bytes());
        }
        batch.clear();
        builder.clear();
        builder.push(&NewRecord { timestamp: now_ms, value: Some(value), ..NewRecord::default() });
        builder.build(&BatchOptions::default(), batch).expect("ids are small");
        self.chain.append(batch).map(drop)
    }
}

/// What whole batches say: when it was written, id, offset. What is no such record is passed over.
fn read(bytes: &[u8]) -> Vec<(i64, IdHash, i64)> {
    let mut found = Vec::new();
    for (_, _, batch) in Batches::new(bytes).map_while(Result::ok) {
        let Ok(records) = BatchRecords::open(batch, READ_BYTES as usize) else { continue };
        for record in records.iter().map_while(Result::ok) {
            for entry in record.value.unwrap_or_default().chunks_exact(ENTRY) {
                let (id, offset) = entry.split_at(16);
                let id = u128::from_be_bytes(id.try_into().expect("sixteen bytes"));
                let offset = i64::from_be_bytes(offset.try_into().expect("eight bytes"));
                found.push((record.timestamp, IdHash(id), offset));
            }
        }
    }
    found
}
