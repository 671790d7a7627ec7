//! Finding a record by its time within one batch, for ListOffsets.
//!
//! The batch's maximum timestamp is taken at its word: a broker has either stamped it or checked it, or its topic is
//! `relaxed` (see [`validate`](super::validate())).

use super::{BatchHeader, Decompressor, RecordError, TimestampType};

/// An offset and the timestamp of the record there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimestampAt {
    /// The record's offset.
    pub offset: i64,
    /// Its timestamp in milliseconds.
    pub timestamp: i64,
}

/// The first record at or above `from_offset` whose timestamp is `timestamp` or later. Timestamps in a batch need not
/// rise. `batch` starts with one whole batch; its records decompress to at most `limit` bytes, and only where the header
/// alone does not answer.
pub fn first_at_or_after(
    batch: &[u8],
    from_offset: i64,
    timestamp: i64,
    limit: usize,
    decompressor: &mut Decompressor,
) -> Result<Option<TimestampAt>, RecordError> {
    let header = BatchHeader::parse(batch)?;
    if header.max_timestamp < timestamp || header.last_offset() < from_offset {
        return Ok(None);
    }
    if let Some(at) = same_for_all(&header, from_offset) {
        return Ok(Some(at));
    }
    find(batch, from_offset, limit, decompressor, |at, _| at.timestamp >= timestamp, true)
}

/// The first of the records at or above `from_offset` with the greatest timestamp among them. Bounds as in
/// [`first_at_or_after`].
pub fn first_of_max_timestamp(
    batch: &[u8],
    from_offset: i64,
    limit: usize,
    decompressor: &mut Decompressor,
) -> Result<Option<TimestampAt>, RecordError> {
    let header = BatchHeader::parse(batch)?;
    if header.last_offset() < from_offset {
        return Ok(None);
    }
    if let Some(at) = same_for_all(&header, from_offset) {
        return Ok(Some(at));
    }
    let above = |at: &TimestampAt, best: Option<TimestampAt>| best.is_none_or(|b| at.timestamp > b.timestamp);
    find(batch, from_offset, limit, decompressor, above, false)
}

/// With the broker's time on the whole batch and no gaps in it, its first record from `from_offset` on.
fn same_for_all(header: &BatchHeader, from_offset: i64) -> Option<TimestampAt> {
    let no_gaps = i64::from(header.record_count) == i64::from(header.last_offset_delta) + 1;
    (no_gaps && header.timestamp_type() == TimestampType::LogAppendTime).then_some(TimestampAt {
        offset: header.base_offset.max(from_offset),
        timestamp: header.max_timestamp,
    })
}

/// The record that `better` took last, or with `stop` first, told what it took before.
fn find(
    batch: &[u8],
    from_offset: i64,
    limit: usize,
    decompressor: &mut Decompressor,
    better: impl Fn(&TimestampAt, Option<TimestampAt>) -> bool,
    stop: bool,
) -> Result<Option<TimestampAt>, RecordError> {
    let records = decompressor.records(batch, limit)?;
    let base_offset = records.header().base_offset;
    let mut best = None;
    for record in records.iter() {
        let record = record?;
        let offset = base_offset + i64::from(record.offset_delta);
        let at = TimestampAt { offset, timestamp: record.timestamp };
        if offset >= from_offset && better(&at, best) {
            best = Some(at);
            if stop {
                break;
            }
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{BatchBuilder, BatchOptions, Compression, NewRecord, StampedBatch, crc_of};
    use super::*;
    use crate::ids::LeaderEpoch;

    /// A batch at offset 100 with these timestamps, at these offset deltas.
    fn batch(codec: Compression, records: &[(i32, i64)]) -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        for (delta, timestamp) in records {
            builder.add_at(*delta, &NewRecord { timestamp: *timestamp, ..NewRecord::default() }).unwrap();
        }
        let mut out = Vec::new();
        let options = BatchOptions { base_offset: 100, compression: codec, ..BatchOptions::default() };
        builder.build(&options, &mut out).unwrap();
        out
    }

    fn first(batch: &[u8], from: i64, timestamp: i64) -> Option<(i64, i64)> {
        first_at_or_after(batch, from, timestamp, 1 << 20, &mut Decompressor::new())
            .unwrap()
            .map(|at| (at.offset, at.timestamp))
    }

    fn max(batch: &[u8], from: i64) -> Option<(i64, i64)> {
        first_of_max_timestamp(batch, from, 1 << 20, &mut Decompressor::new())
            .unwrap()
            .map(|at| (at.offset, at.timestamp))
    }

    #[test]
    fn records_are_found_by_time_though_times_do_not_rise() {
        let batch = batch(Compression::Lz4, &[(0, 50), (1, 70), (2, 60), (3, 70), (7, 40)]);
        assert_eq!(first(&batch, 0, 0), Some((100, 50)));
        assert_eq!(first(&batch, 0, 51), Some((101, 70)));
        assert_eq!(first(&batch, 102, 51), Some((102, 60)));
        assert_eq!(first(&batch, 102, 61), Some((103, 70)));
        assert_eq!(first(&batch, 0, 71), None);
        assert_eq!(first(&batch, 104, 41), None);
        assert_eq!(first(&batch, 104, 40), Some((107, 40)));
        assert_eq!(first(&batch, 108, 0), None);
        assert_eq!(max(&batch, 0), Some((101, 70)));
        assert_eq!(max(&batch, 102), Some((103, 70)));
        assert_eq!(max(&batch, 104), Some((107, 40)));
        assert_eq!(max(&batch, 108), None);
    }

    #[test]
    fn the_brokers_time_needs_no_records() {
        let received = batch(Compression::Gzip, &[(0, 1), (1, 2), (2, 3)]);
        let mut stamped = StampedBatch::new(&received, 100, LeaderEpoch(0)).unwrap();
        stamped.stamp_log_append_time(500);
        // Records of rubbish: they are not looked at.
        let stored = [&stamped.head[..], &vec![7; stamped.records.len()]].concat();
        assert_eq!(first(&stored, 0, 500), Some((100, 500)));
        assert_eq!(first(&stored, 102, 1), Some((102, 500)));
        assert_eq!(first(&stored, 0, 501), None);
        assert_eq!(max(&stored, 101), Some((101, 500)));
    }

    #[test]
    fn with_gaps_the_brokers_time_is_that_of_a_record_that_exists() {
        let received = batch(Compression::None, &[(2, 1), (5, 2)]);
        let mut stamped = StampedBatch::new(&received, 100, LeaderEpoch(0)).unwrap();
        stamped.stamp_log_append_time(500);
        let stored = [&stamped.head[..], stamped.records].concat();
        assert_eq!(first(&stored, 0, 500), Some((102, 500)));
        assert_eq!(max(&stored, 103), Some((105, 500)));
    }

    #[test]
    fn records_that_cannot_be_read_are_an_error() {
        let mut bad = batch(Compression::Zstd, &[(0, 1), (1, 2)]);
        let at = bad.len() - 3;
        bad[61..at].fill(0);
        let crc = crc_of(&bad);
        bad[17..21].copy_from_slice(&crc.to_be_bytes());
        let mut decompressor = Decompressor::new();
        assert!(first_at_or_after(&bad, 0, 1, 100, &mut decompressor).is_err());
        assert!(first_of_max_timestamp(&bad, 0, 100, &mut decompressor).is_err());
    }

    proptest! {
        #[test]
        fn a_search_agrees_with_looking_at_all(
            times in prop::collection::vec(0..30i64, 1..20),
            gaps in prop::collection::vec(1..4i32, 20),
            from in 95..160i64,
            wanted in 0..32i64,
            codec in prop::sample::select(Compression::ALL.to_vec()),
        ) {
            let mut delta = -1;
            let records: Vec<_> = times.iter().zip(gaps).map(|(t, gap)| { delta += gap; (delta, *t) }).collect();
            let batch = batch(codec, &records);
            let all: Vec<_> = records.iter().map(|(d, t)| (100 + i64::from(*d), *t)).filter(|(o, _)| *o >= from).collect();
            prop_assert_eq!(first(&batch, from, wanted), all.iter().copied().find(|(_, t)| *t >= wanted));
            let greatest = all.iter().map(|(_, t)| *t).max();
            prop_assert_eq!(max(&batch, from), all.iter().copied().find(|(_, t)| Some(*t) == greatest));
        }
    }
}
