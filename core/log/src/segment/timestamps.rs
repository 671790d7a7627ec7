//! Finding records by timestamp. Create times are not monotone; their running maximum is.

use buslane_wire::ids::LeaderEpoch;

use super::Segment;
use super::read::{Reach, ReadError};
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
    /// there. The caller holds `writer`.
    pub(super) fn max_timestamp_below(&self, end_offset: i64) -> Result<(Option<u64>, i64), ReadError> {
        if end_offset == self.base_offset {
            return Ok((Some(0), NO_TIMESTAMP));
        }
        let mut view = self.view()?;
        view.reach = Reach::Writer;
        let mut batches = self.batches(&view, |e: &Entry| e.offset < end_offset)?;
        while let Some((position, header)) = batches.next()? {
            if header.next_offset() >= end_offset {
                let ends_there = header.next_offset() == end_offset;
                return Ok((
                    ends_there.then_some(position + header.total_len() as u64),
                    batches.max_timestamp(),
                ));
            }
        }
        Ok((None, batches.max_timestamp()))
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
        // Where the greatest timestamp of the whole copy lies in the range, the index leads there.
        let greatest = self.tail.lock().max_timestamp;
        let found = self.find_timestamp(greatest, from_offset, below_offset)?;
        if found.is_some_and(|f| f.timestamp == greatest) {
            return Ok(found);
        }
        let view = self.view()?;
        let later = |t, best: Option<i64>| best.is_none_or(|b| t > b);
        let mut best: Option<TimestampedOffset> = None;
        let mut in_later: Option<(u64, buslane_wire::batch::BatchHeader)> = None;
        let mut batches = self.batches(&view, |e: &Entry| e.offset <= from_offset)?;
        while let Some((position, header)) = batches.next()? {
            if header.base_offset >= below_offset {
                break;
            }
            if header.next_offset() <= from_offset || header.record_count == 0 {
                continue;
            }
            if header.base_offset < from_offset {
                // Its greatest may lie before the range.
                best = self.in_batch(&view, position, &header, from_offset, later)?;
                continue;
            }
            let greatest = in_later.map(|(_, b)| b.max_timestamp).or(best.map(|b| b.timestamp));
            if later(header.max_timestamp, greatest) {
                in_later = Some((position, header));
            }
        }
        match in_later {
            Some((position, header)) => self.in_batch(&view, position, &header, from_offset, later),
            None => Ok(best),
        }
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
        // Looked into here and nowhere else on the way out: a false time must not become an offset that looks true.
        if let Err(error) = buslane_wire::batch::verify_crc(&bytes) {
            return Err(self.corrupt(position, error.to_string()).into());
        }
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

#[cfg(test)]
mod tests {
    use buslane_wire::batch::{BatchBuilder, BatchHeader, Compression, NewRecord};
    use proptest::prelude::*;

    use super::ReadError;
    use crate::fixtures::*;
    use crate::store::SegmentState;

    fn batch(timestamps: &[i64], compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        let value = [7; 900];
        for timestamp in timestamps {
            builder.push(&NewRecord { timestamp: *timestamp, key: None, value: Some(&value), headers: &[] });
        }
        let header = BatchHeader::parse(&opaque(timestamps.len() as i32, 0, 0)).unwrap();
        let mut bytes = Vec::new();
        builder.finish(header, compression, &mut bytes);
        bytes
    }

    #[test]
    fn an_offset_is_never_told_from_a_batch_with_a_wrong_crc() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path(), "boot 1");
        let copy = store.create(spec(segment(0, 1), 100)).unwrap();
        let mut end = 0;
        for timestamp in [10, 20, 30] {
            end = copy.end_position();
            append(&copy, &batch(&[timestamp, timestamp + 1], Compression::None));
        }
        let path = copy.path(crate::layout::Part::Log);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[end as usize + 70] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(copy.offset_for_timestamp(21, 100, 106).unwrap().map(|f| f.offset), Some(103));
        let told = copy.offset_for_timestamp(31, 100, 106).unwrap_err();
        assert!(matches!(&told, ReadError::Corrupt(c) if c.position == end), "{told}");
        assert!(copy.max_timestamp_record(100, 106).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn lookups_by_timestamp_are_exact_though_times_go_back_and_forth(
            batches in proptest::collection::vec((proptest::collection::vec(0..500i64, 1..5), any::<bool>()), 1..60),
            probes in proptest::collection::vec((0..520i64, any::<u16>(), any::<u16>()), 40),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (store, _) = open(dir.path(), "boot 1");
            let copy = store.create(spec(segment(0, 1), 100)).unwrap();
            let mut records = Vec::new();
            let mut ends = vec![100];
            for (timestamps, compressed) in &batches {
                let compression = if *compressed { Compression::Lz4 } else { Compression::None };
                let base = copy.end_offset();
                append(&copy, &batch(timestamps, compression));
                records.extend(timestamps.iter().enumerate().map(|(i, t)| (base + i as i64, *t)));
                ends.push(copy.end_offset());
            }
            let check = |copy: &crate::Segment| {
                for (timestamp, from, below) in &probes {
                    let from = 100 + i64::from(*from) % (records.len() as i64 + 1);
                    let below = ends[usize::from(*below) % ends.len()];
                    let within = || records.iter().filter(|r| r.0 >= from && r.0 < below);
                    let expected = within().find(|r| r.1 >= *timestamp).copied();
                    let found = copy.offset_for_timestamp(*timestamp, from, below).unwrap();
                    prop_assert_eq!(found.map(|f| (f.offset, f.timestamp)), expected);
                    prop_assert!(found.is_none_or(|f| f.leader_epoch == EPOCH));
                    let greatest = within().map(|r| r.1).max();
                    let expected = within().find(|r| Some(r.1) == greatest).copied();
                    let found = copy.max_timestamp_record(from, below).unwrap();
                    prop_assert_eq!(found.map(|f| (f.offset, f.timestamp)), expected);
                }
                Ok(())
            };
            check(&copy)?;
            let sealed = copy.seal(copy.end_offset()).unwrap();
            drop((copy, store));
            let (store, _) = open(dir.path(), "boot 1");
            let state = SegmentState::Sealed {
                end_offset: sealed.end_offset,
                bytes: sealed.bytes,
                max_timestamp: sealed.max_timestamp,
            };
            check(&store.load(segment(0, 1), 100, state).unwrap())?;
        }
    }
}
