//! A shard's log: its partition replayed, and records written to it.

use std::sync::Arc;

use buslane_group::records::Record;
use buslane_group::{Config, Replayed, Shard};
use buslane_log::fs::read_exact_at;
use buslane_wire::batch::{BatchBuilder, BatchHeader, Batches, Compression, Decompressor, NewRecord};
use bytes::Bytes;

use crate::partitions::{Acks, Batch, NotReadable, Partition, ReadRefused, Ticket};

/// Bytes read at once.
const READ_BYTES: u64 = 1 << 20;

/// A batch is closed when it has as many bytes: well below the topic's `max.message.bytes`.
const BATCH_BYTES: usize = 512 << 10;

/// Bytes that a batch of the topic may decompress to.
const DECOMPRESSED_MAX: usize = 64 << 20;

/// Why a shard is not loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The partition is not served here, or not yet.
    #[error("the partition is not served here now")]
    NotHere,
    /// It cannot be read, or holds what is no record of the topic.
    #[error("{0}")]
    Damaged(String),
}

impl From<NotReadable> for LoadError {
    fn from(error: NotReadable) -> LoadError {
        match error {
            NotReadable::NotOwner => LoadError::NotHere,
            NotReadable::Storage(reason) => LoadError::Damaged(reason.to_string()),
        }
    }
}

/// Replays the partition up to its end. Blocks on the disk.
pub(super) fn load(partition: &Arc<Partition>, config: Config) -> Result<Shard, LoadError> {
    let mut shard = Shard::new(config);
    let mut decompressor = Decompressor::new();
    let mut passed_over = 0u64;
    let mut offset = partition.offsets()?.log_start_offset;
    loop {
        let found = match partition.read(offset, READ_BYTES, true) {
            Ok(found) => found,
            Err(ReadRefused::NotReadable(error)) => return Err(error.into()),
            // Records were deleted meanwhile.
            Err(ReadRefused::OutOfRange(offsets)) if offset < offsets.log_start_offset => {
                offset = offsets.log_start_offset;
                continue;
            }
            Err(refused) => return Err(LoadError::Damaged(refused.to_string())),
        };
        let Some(slice) = found.slice else { break };
        let mut bytes = vec![0; slice.len as usize];
        read_exact_at(&*slice.file, &mut bytes, slice.position)
            .map_err(|error| LoadError::Damaged(error.to_string()))?;
        for batch in Batches::new(&bytes) {
            let damaged = |error: String| LoadError::Damaged(format!("from offset {offset} on: {error}"));
            let (_, header, batch) = batch.map_err(|error| damaged(error.to_string()))?;
            if !header.is_control() {
                let records = decompressor
                    .records(batch, DECOMPRESSED_MAX)
                    .map_err(|error| damaged(error.to_string()))?;
                for record in records.iter() {
                    let record = record.map_err(|error| damaged(error.to_string()))?;
                    let Some(key) = record.key else { continue };
                    let replayed = shard.replay(key, record.value).map_err(|e| damaged(e.to_string()))?;
                    passed_over += u64::from(matches!(replayed, Replayed::PassedOver { .. }));
                }
            }
            offset = header.next_offset();
        }
    }
    if passed_over > 0 {
        tracing::warn!(
            ?partition,
            records = passed_over,
            "records of kinds that are not served here stay in the log"
        );
    }
    Ok(shard)
}

/// Appends records in as many batches as they need, up to the first that is refused; each ticket's confirmation is to be
/// awaited.
pub(super) fn append(partition: &Arc<Partition>, records: &[Record], now_ms: i64) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    let mut builder = BatchBuilder::default();
    let mut bytes = 0;
    for record in records {
        let len = record.key.len() + record.value.as_ref().map_or(0, Bytes::len) + 32;
        if bytes > 0 && bytes + len > BATCH_BYTES {
            tickets.push(close(partition, std::mem::take(&mut builder)));
            if tickets.last().is_some_and(is_refused) {
                return tickets;
            }
            bytes = 0;
        }
        let (key, value) = (Some(&record.key[..]), record.value.as_deref());
        builder.push(&NewRecord { timestamp: now_ms, key, value, headers: &[] });
        bytes += len;
    }
    tickets.push(close(partition, builder));
    tickets
}

fn close(partition: &Arc<Partition>, mut builder: BatchBuilder) -> Ticket {
    let mut bytes = Vec::new();
    builder.finish(BatchHeader::default(), Compression::None, &mut bytes);
    let header = BatchHeader::parse(&bytes).expect("a batch just built");
    partition.append(Batch { header, max_timestamp: None, bytes: bytes.into() }, Acks::All)
}

/// Whether a batch is known not to come into the log.
pub(super) fn is_refused(ticket: &Ticket) -> bool {
    matches!(ticket, Ticket::Done(Err(_)))
}

/// Whether a batch came to be committed.
pub(super) async fn settled(mut ticket: Ticket) -> bool {
    loop {
        ticket = match ticket {
            Ticket::Done(appended) => return appended.is_ok(),
            Ticket::Confirming(confirmed) => return confirmed.await.is_ok(),
            Ticket::Waiting(placed) => match placed.await {
                Ok(next) => next,
                Err(_) => return false,
            },
        }
    }
}
