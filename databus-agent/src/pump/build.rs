//! Events of the spool, as batches for partitions.

use std::collections::BTreeMap;

use buslane_wire::batch::{
    BatchBuilder, BatchOptions, BatchProducer, BatchRecords, Batches, Compression, NewRecord, RecordHeader,
    StampedBatch, verify_crc,
};
use buslane_wire::ids::LeaderEpoch;
use bytes::Bytes;

use crate::drain::{Part, ProducerId};
use crate::spool::{Chain, ChainError, Route};

/// Bytes that are read from the spool at once.
const READ_BYTES: u64 = 1 << 20;

/// Offsets without events that a plan may have; a longer gap stands between plans.
const GAP_MAX: i64 = 1 << 20;

/// Most bytes of a batch of the spool: an inbox.
const SPOOL_BATCH_MAX: usize = 256 << 20;

/// How large batches and plans may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of a partition's batch, before compression.
    pub batch_bytes: usize,
    /// Bytes of a plan's batches.
    pub plan_bytes: usize,
}

/// The batch of a partition, without a producer's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// Events in it.
    pub count: i32,
    /// Least timestamp of them, in milliseconds.
    pub min_timestamp_ms: i64,
    batch: Vec<u8>,
}

/// Events that follow one another in the spool, built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// Behind the last event.
    pub to: i64,
    /// By partition.
    pub batches: BTreeMap<i32, Unnamed>,
    /// Of each event from the first one on: its partition; -1 for an offset without an event.
    pub partitions: Vec<i32>,
    /// Of all batches.
    pub bytes: usize,
    /// Of their records before compression.
    pub raw_bytes: usize,
    /// Events whose bytes on the disk were damaged.
    pub lost: i64,
}

impl Unnamed {
    /// The batch under a producer's name.
    pub fn named(&self, part: &Part) -> Bytes {
        let mut stamped = StampedBatch::new(&self.batch, 0, LeaderEpoch(-1)).expect("it was built here");
        let ProducerId { id, epoch } = part.producer;
        stamped.stamp_producer(BatchProducer { id, epoch, base_sequence: part.base_sequence });
        let mut batch = Vec::with_capacity(stamped.total_len());
        batch.extend_from_slice(&stamped.head);
        batch.extend_from_slice(stamped.records);
        batch.into()
    }

    /// Its records, to be put aside.
    pub fn bytes(&self) -> &[u8] {
        &self.batch
    }
}

impl Built {
    /// The events of a partition: their offsets in the spool, in the order of its batch.
    pub fn events_of(&self, from: i64, partition: i32) -> impl Iterator<Item = i64> {
        let events = (from..).zip(&self.partitions);
        events.filter(move |(_, of)| **of == partition).map(|(offset, _)| offset)
    }
}

/// Builds the batches for the events of the spool from `from` on, below `below`: of as many as fit, at least of one.
/// None when there are none.
///
/// # Errors
/// When the spool cannot be read.
pub fn build(
    events: &Chain,
    (from, below): (i64, i64),
    route: &Route,
    compression: Compression,
    sizes: Sizes,
) -> Result<Option<Built>, ChainError> {
    let mut builders: BTreeMap<i32, (BatchBuilder, i64)> = BTreeMap::new();
    let mut partitions: Vec<i32> = Vec::new();
    let (mut raw_bytes, mut lost) = (0, 0);
    let mut at = from;
    // A plan may end within a batch of the spool, which is read as a whole.
    let end = events.end();
    'spool: while at < below {
        let slice = match events.read(at, READ_BYTES.min(sizes.plan_bytes as u64), end) {
            Ok(Some(slice)) => slice,
            Ok(None) => break,
            Err(error) if error.is_damage() => {
                let next = events.after_damage(at, below)?;
                tracing::error!(%error, from = at, to = next, "a damaged stretch of the spool is passed over");
                lost += next - at;
                at = next;
                if next - from > GAP_MAX {
                    break;
                }
                partitions.resize((next - from) as usize, -1);
                continue;
            }
            Err(error) => return Err(error),
        };
        if slice.base_offset > at {
            // A segment that was set aside at the start, and counted then.
            if slice.base_offset - from > GAP_MAX {
                at = slice.base_offset;
                break;
            }
            partitions.resize((slice.base_offset - from) as usize, -1);
        }
        let bytes = slice.to_vec().map_err(|e| ChainError::Io(e.to_string()))?;
        at = slice.end_offset;
        for batch in Batches::new(&bytes) {
            let bad = |reason: &dyn std::fmt::Display| {
                ChainError::Io(format!(
                    "a batch of the spool at offset {from} or later cannot be read: {reason}"
                ))
            };
            let (_, header, batch) = batch.map_err(|e| bad(&e))?;
            if verify_crc(batch).is_err() {
                // Flipped on the disk: what it held is gone, what follows is not.
                let end = header.next_offset().min(below);
                if end > from {
                    lost += end - header.base_offset.max(from).max(from + partitions.len() as i64);
                    partitions.resize((end - from) as usize, -1);
                }
                continue;
            }
            let records = BatchRecords::open(batch, SPOOL_BATCH_MAX).map_err(|e| bad(&e))?;
            for record in records.iter() {
                let record = record.map_err(|e| bad(&e))?;
                let offset = header.base_offset + i64::from(record.offset_delta);
                if offset < from {
                    continue;
                }
                if offset >= below {
                    break 'spool;
                }
                let partition = route.partitioner.partition(record.key, offset, from, route.partitions);
                let (builder, min_timestamp) =
                    builders.entry(partition).or_insert_with(|| (BatchBuilder::default(), i64::MAX));
                let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
                let full = !builder.is_empty() && builder.records_len() + size > sizes.batch_bytes;
                if full || (!partitions.is_empty() && raw_bytes + size > sizes.plan_bytes) {
                    break 'spool;
                }
                let headers: Vec<RecordHeader<'_>> = record.headers.iter().collect();
                let before = builder.records_len();
                let new = NewRecord {
                    timestamp: record.timestamp,
                    key: record.key,
                    value: record.value,
                    headers: &headers,
                };
                builder.push(&new);
                raw_bytes += builder.records_len() - before;
                *min_timestamp = (*min_timestamp).min(record.timestamp);
                partitions.resize((offset - from) as usize, -1);
                partitions.push(partition);
            }
        }
        if raw_bytes >= sizes.plan_bytes {
            break;
        }
    }
    let mut to = from + partitions.len() as i64;
    if builders.values().all(|(builder, _)| builder.is_empty()) {
        // Nothing but a gap: it is passed over.
        to = to.max(at.min(below));
    }
    if to == from {
        return Ok(None);
    }
    let mut built = Built { to, partitions, raw_bytes, lost, ..Built::default() };
    for (partition, (mut builder, min_timestamp_ms)) in builders {
        if builder.is_empty() {
            continue;
        }
        let count = builder.len() as i32;
        let mut batch = Vec::new();
        let options = BatchOptions { compression, ..BatchOptions::default() };
        builder.build(&options, &mut batch).map_err(|e| ChainError::Io(e.to_string()))?;
        built.bytes += batch.len();
        built.batches.insert(partition, Unnamed { count, min_timestamp_ms, batch });
    }
    Ok(Some(built))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use buslane_log::SpaceReserve;
    use buslane_wire::batch::BatchHeader;

    use super::*;
    use crate::route::Partitioner;
    use crate::spool::Spool;

    const PLENTY: Sizes = Sizes { batch_bytes: 1 << 20, plan_bytes: 1 << 20 };

    fn route(partitioner: Partitioner) -> Route {
        Route { cluster: "main".into(), topic: "orders".into(), partitions: 4, partitioner }
    }

    /// A spool of batches with so many events each; values say which they are.
    fn events(batches: &[i32]) -> (tempfile::TempDir, Spool, Arc<Chain>) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), SpaceReserve { percent: 0, bytes: 0 }).unwrap();
        let logs = spool.channel("orders", 0, 0, 0).unwrap();
        let mut offset = 0;
        for count in batches {
            let mut builder = BatchBuilder::default();
            for _ in 0..*count {
                let (key, value) = (format!("k{}", offset % 7), format!("event {offset}"));
                let headers = [RecordHeader { key: b"n", value: Some(value.as_bytes()) }];
                let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
                builder.push(&NewRecord { timestamp: 1_000 - offset, key, value, headers: &headers });
                offset += 1;
            }
            let mut batch = Vec::new();
            builder.build(&BatchOptions::default(), &mut batch).unwrap();
            logs.events.append(&batch).unwrap();
        }
        (dir, spool, logs.events)
    }

    fn values(batch: &[u8]) -> Vec<String> {
        let records = BatchRecords::open(batch, 1 << 20).unwrap();
        records.iter().map(|r| String::from_utf8(r.unwrap().value.unwrap().to_vec()).unwrap()).collect()
    }

    #[test]
    fn batches_are_the_same_whenever_they_are_built() {
        let (_dir, _spool, chain) = events(&[10, 1, 30, 9]);
        for partitioner in [Partitioner::Key, Partitioner::RoundRobin, Partitioner::Sticky] {
            let route = route(partitioner);
            let all = build(&chain, (5, 44), &route, Compression::Lz4, PLENTY).unwrap().unwrap();
            assert_eq!((all.to, all.partitions.len(), all.lost), (44, 39, 0));
            assert_eq!(build(&chain, (5, 44), &route, Compression::Lz4, PLENTY).unwrap().unwrap(), all);
            let mut seen = 0;
            for (partition, unnamed) in &all.batches {
                let offsets: Vec<i64> = all.events_of(5, *partition).collect();
                let expected: Vec<String> = offsets.iter().map(|offset| format!("event {offset}")).collect();
                assert_eq!(values(unnamed.bytes()), expected);
                assert_eq!(unnamed.min_timestamp_ms, 1_000 - offsets.last().unwrap());
                assert_eq!(unnamed.count as usize, offsets.len());
                seen += offsets.len();
            }
            assert_eq!(seen, 39);
        }
    }

    #[test]
    fn a_batch_gets_its_name_when_it_is_sent() {
        let (_dir, _spool, chain) = events(&[10]);
        let built = build(&chain, (0, 10), &route(Partitioner::Sticky), Compression::Zstd, PLENTY);
        let unnamed = built.unwrap().unwrap().batches.into_values().next().unwrap();
        let producer = ProducerId { id: 77, epoch: 3 };
        let part = Part { partition: 0, count: 10, producer, base_sequence: 12 };
        let named = unnamed.named(&part);
        verify_crc(&named).unwrap();
        let header = BatchHeader::parse(&named).unwrap();
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (77, 3, 12));
        assert_eq!((header.base_offset, header.last_offset_delta, header.partition_leader_epoch), (0, 9, -1));
        assert_eq!(values(&named), (0..10).map(|n| format!("event {n}")).collect::<Vec<_>>());
    }

    #[test]
    fn plans_are_bounded_and_take_one_event_at_least() {
        let (_dir, _spool, chain) = events(&[20]);
        let sticky = route(Partitioner::Sticky);
        let sizes = Sizes { batch_bytes: 100, plan_bytes: 1 << 20 };
        let few = build(&chain, (0, 20), &sticky, Compression::None, sizes).unwrap().unwrap();
        assert!((2..=6).contains(&few.to), "{}", few.to);
        let none = Sizes { batch_bytes: 1, plan_bytes: 1 };
        assert_eq!(build(&chain, (7, 20), &sticky, Compression::None, none).unwrap().unwrap().to, 8);
        assert_eq!(build(&chain, (20, 20), &sticky, Compression::None, PLENTY).unwrap(), None);
    }
}
