//! Finding records by timestamp. Create times are not monotone; their running maximum is.

use buslane_wire::ids::LeaderEpoch;

use super::Segment;
use super::read::ReadError;
use crate::index::{Entry, NO_TIMESTAMP};

/// A record found by its timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimestampedOffset {
    /// Milliseconds.
    pub timestamp: i64,
    /// Offset of the record.
    pub offset: i64,
    /// Epoch of its batch.
    pub leader_epoch: LeaderEpoch,
}

impl Segment {
    /// Where the batch that ends at `end_offset` ends (`None`: no batch ends there), and the greatest timestamp up to
    /// there.
    pub(super) fn max_timestamp_below(&self, end_offset: i64) -> Result<(Option<u64>, i64), ReadError> {
        if end_offset == self.base_offset {
            return Ok((Some(0), NO_TIMESTAMP));
        }
        let view = self.view()?;
        let start = |e: &Entry| e.offset < end_offset;
        let mut max = self.floor(&start)?.max_before;
        let mut batches = self.batches(&view, start)?;
        while let Some((position, header)) = batches.next()? {
            max = max.max(header.max_timestamp);
            if header.next_offset() >= end_offset {
                let ends_there = header.next_offset() == end_offset;
                return Ok((ends_there.then_some(position + header.total_len() as u64), max));
            }
        }
        Ok((None, max))
    }
}

/// Largest size to which a batch is decompressed to look for a timestamp, in bytes. Beyond it, and where records cannot
/// be read, the batch's first record is the answer: a consumer that starts there misses nothing.
const DECOMPRESSED_MAX: usize = 128 << 20;

impl Segment {
    /// The first record at or above `from_offset` and below `below_offset` whose timestamp is at least `timestamp`.
    /// Exact though create times are not monotone: the index has their running maximum.
    pub fn offset_for_timestamp(
        &self,
        timestamp: i64,
        from_offset: i64,
        below_offset: i64,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        self.named(self.find_timestamp(timestamp, from_offset, below_offset))
    }

    fn find_timestamp(
        &self,
        timestamp: i64,
        from_offset: i64,
        below_offset: i64,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let view = self.view()?;
        // Every batch before the last entry whose running maximum is still below has only earlier records.
        let mut batches =
            self.batches(&view, |e: &Entry| e.max_before < timestamp || e.offset <= from_offset)?;
        while let Some((position, header)) = batches.next()? {
            if header.base_offset >= below_offset {
                break;
            }
            if header.next_offset() <= from_offset || header.max_timestamp < timestamp {
                continue;
            }
            let found = self.in_batch(&view, position, &header, from_offset, |t, best| {
                t >= timestamp && best.is_none()
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first of the records with the greatest timestamp in `[from_offset, below_offset)`.
    pub fn max_timestamp_record(
        &self,
        from_offset: i64,
        below_offset: i64,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        self.named(self.find_max_timestamp(from_offset, below_offset))
    }

    fn find_max_timestamp(
        &self,
        from_offset: i64,
        below_offset: i64,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let view = self.view()?;
        let mut best: Option<(u64, buslane_wire::batch::BatchHeader)> = None;
        let mut batches = self.batches(&view, |e: &Entry| e.offset <= from_offset)?;
        while let Some((position, header)) = batches.next()? {
            if header.base_offset >= below_offset {
                break;
            }
            if header.next_offset() > from_offset
                && best.is_none_or(|(_, b)| header.max_timestamp > b.max_timestamp)
            {
                best = Some((position, header));
            }
        }
        let Some((position, header)) = best else { return Ok(None) };
        self.in_batch(&view, position, &header, from_offset, |t, best| best.is_none_or(|b| t > b))
    }

    /// The record of a batch that `better` picks last, given its timestamp and that of the one picked before.
    fn in_batch(
        &self,
        view: &super::read::View,
        position: u64,
        header: &buslane_wire::batch::BatchHeader,
        from_offset: i64,
        better: impl Fn(i64, Option<i64>) -> bool,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let mut bytes = vec![0; header.total_len()];
        crate::fs::read_exact_at(&*view.log, &mut bytes, position)?;
        let leader_epoch = LeaderEpoch(header.partition_leader_epoch);
        let first = TimestampedOffset {
            timestamp: header.max_timestamp,
            offset: header.base_offset.max(from_offset),
            leader_epoch,
        };
        let Ok(records) = buslane_wire::batch::BatchRecords::open(&bytes, DECOMPRESSED_MAX) else {
            return Ok(Some(first));
        };
        let mut best: Option<TimestampedOffset> = None;
        for record in records.iter() {
            let Ok(record) = record else { return Ok(Some(first)) };
            let offset = header.base_offset + i64::from(record.offset_delta);
            if offset >= from_offset && better(record.timestamp, best.map(|b| b.timestamp)) {
                best = Some(TimestampedOffset { timestamp: record.timestamp, offset, leader_epoch });
            }
        }
        Ok(best)
    }

    /// Calls `each` with the header of every batch in `[from_offset, below_offset)`, in order.
    pub fn for_each_header(
        &self,
        from_offset: i64,
        below_offset: i64,
        mut each: impl FnMut(&buslane_wire::batch::BatchHeader),
    ) -> Result<(), ReadError> {
        let mut walk = || {
            let view = self.view()?;
            let mut batches = self.batches(&view, |e: &Entry| e.offset <= from_offset)?;
            while let Some((_, header)) = batches.next()? {
                if header.base_offset >= below_offset {
                    break;
                }
                if header.base_offset >= from_offset {
                    each(&header);
                }
            }
            Ok(())
        };
        let walked = walk();
        self.named(walked)
    }
}
