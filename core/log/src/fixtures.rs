//! Batches and stores for tests.

use std::path::Path;
use std::sync::Arc;

use buslane_wire::batch::{BatchHeader, HEADER_LEN, StampedBatch};
use buslane_wire::ids::{Durability, LeaderEpoch, SegmentId, SegmentRef, TopicId, TopicPartition};

use crate::disk::Disk;
use crate::fs::Fs;
use crate::segment::Segment;
use crate::store::{OpenReport, SegmentSpec, Store, StoreOptions};

pub(crate) const EPOCH: LeaderEpoch = LeaderEpoch(5);

/// A batch of `count` records that nobody looks into, as received (base offset 0).
pub(crate) fn opaque(count: i32, timestamp: i64, body: usize) -> Vec<u8> {
    let body: Vec<u8> = (0..body).map(|i| (i * 31 + count as usize) as u8).collect();
    let mut header = BatchHeader {
        base_offset: 0,
        batch_length: (HEADER_LEN - 12 + body.len()) as i32,
        partition_leader_epoch: -1,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: count,
    };
    let mut bytes = [&header.encode()[..], &body].concat();
    header.crc = buslane_wire::batch::crc_of(&bytes);
    bytes[..HEADER_LEN].copy_from_slice(&header.encode());
    bytes
}

/// The bytes of a batch as they stand in a segment.
pub(crate) fn stamped(received: &[u8], base_offset: i64, epoch: LeaderEpoch) -> Vec<u8> {
    let batch = StampedBatch::new(received, base_offset, epoch).unwrap();
    [&batch.head[..], batch.records].concat()
}

pub(crate) fn partition(n: i32) -> TopicPartition {
    TopicPartition { topic: TopicId([0xAB; 16]), partition: n }
}

pub(crate) fn segment(n: i32, id: u64) -> SegmentRef {
    SegmentRef { partition: partition(n), segment: SegmentId(id) }
}

pub(crate) fn spec(segment: SegmentRef, base_offset: i64) -> SegmentSpec {
    SegmentSpec { segment, base_offset, epoch: EPOCH, durability: Durability::Replicated }
}

pub(crate) fn open(dir: &Path, boot_id: &str) -> (Store, OpenReport) {
    open_on(Arc::new(Disk), dir, boot_id)
}

pub(crate) fn open_on(fs: Arc<dyn Fs>, dir: &Path, boot_id: &str) -> (Store, OpenReport) {
    Store::open(fs, dir, StoreOptions::default(), boot_id).unwrap()
}

/// Appends one batch; returns its bytes in the file.
pub(crate) fn append(to: &Arc<Segment>, received: &[u8]) -> Vec<u8> {
    let base = to.end_offset();
    let batch = StampedBatch::new(received, base, to.epoch()).unwrap();
    let appended = to.append(to.epoch(), &[batch]).unwrap();
    assert_eq!(appended.end_offset, batch.header.next_offset());
    stamped(received, base, to.epoch())
}

/// Appends batches of one record each until the segment has this many bytes.
pub(crate) fn fill(to: &Arc<Segment>, bytes: u64, body: usize) {
    while to.end_position() < bytes {
        append(to, &opaque(1, to.end_offset() * 10, body));
    }
}
