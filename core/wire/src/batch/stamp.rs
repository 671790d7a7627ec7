//! Giving a received batch its place in the log without touching the received bytes.

use super::BatchProducer;
use super::header::{APPEND_TIME_BIT, BatchError, BatchHeader, CRC_FROM, HEADER_LEN};
use crate::ids::LeaderEpoch;

/// A received batch with its place in the log stamped into a copy of its header; its records are borrowed.
#[derive(Clone, Copy, Debug)]
pub struct StampedBatch<'a> {
    /// The stamped header.
    pub header: BatchHeader,
    /// The stamped header's bytes.
    pub head: [u8; HEADER_LEN],
    /// Everything after the header, as received.
    pub records: &'a [u8],
}

impl<'a> StampedBatch<'a> {
    /// Stamps base offset and leader epoch, which lie outside the CRC. `received` starts with one whole batch; what
    /// follows it is left out. The CRC is not verified here.
    ///
    /// # Panics
    /// When the batch has no place at `base_offset`: a negative one, or offsets beyond `i64::MAX`.
    pub fn new(
        received: &'a [u8],
        base_offset: i64,
        epoch: LeaderEpoch,
    ) -> Result<StampedBatch<'a>, BatchError> {
        let mut header = BatchHeader::parse(received)?;
        let need = header.total_len();
        let Some(batch) = received.get(..need) else {
            return Err(BatchError::Incomplete { have: received.len(), need });
        };
        assert!(
            base_offset >= 0 && base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_some(),
            "no room at offset {base_offset} for a last offset delta of {}",
            header.last_offset_delta
        );
        header.base_offset = base_offset;
        header.partition_leader_epoch = epoch.0;
        Ok(StampedBatch { header, head: header.encode(), records: &batch[HEADER_LEN..] })
    }

    /// Makes the broker's time the time of every record: bit 3, the max timestamp, and the CRC anew.
    pub fn stamp_log_append_time(&mut self, now_ms: i64) {
        self.header.attributes |= APPEND_TIME_BIT;
        self.stamp_max_timestamp(now_ms);
    }

    /// Corrects the max timestamp, and the CRC with it: over the stamped head and the records where they lie.
    pub fn stamp_max_timestamp(&mut self, max_timestamp: i64) {
        self.header.max_timestamp = max_timestamp;
        let head = self.header.encode();
        self.header.crc = crc32c::crc32c_append(crc32c::crc32c(&head[CRC_FROM..]), self.records);
        self.head = self.header.encode();
    }

    /// Gives the batch to a producer, under a sequence, and corrects the CRC: for batches that were built before it was known.
    ///
    /// # Panics
    /// When the producer's fields are negative.
    pub fn stamp_producer(&mut self, producer: BatchProducer) {
        let BatchProducer { id, epoch, base_sequence } = producer;
        assert!(id >= 0 && epoch >= 0 && base_sequence >= 0, "producer {id}, {epoch}, {base_sequence}");
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self.stamp_max_timestamp(self.header.max_timestamp);
    }

    /// Bytes of the whole batch.
    pub fn total_len(&self) -> usize {
        HEADER_LEN + self.records.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, Compression, NewRecord, TimestampType, verify_crc};
    use super::*;

    fn received() -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        for timestamp in [1_000, 1_005, 1_002] {
            builder.push(&NewRecord { timestamp, value: Some(b"value"), ..NewRecord::default() });
        }
        let mut out = Vec::new();
        builder.finish(BatchHeader::default(), Compression::None, &mut out);
        out
    }

    fn joined(batch: &StampedBatch<'_>) -> Vec<u8> {
        [&batch.head[..], batch.records].concat()
    }

    #[test]
    fn offset_and_epoch_are_stamped_beside_the_crc() {
        let received = received();
        let stamped = StampedBatch::new(&received, 7_000_000_000, LeaderEpoch(9)).unwrap();
        let stored = joined(&stamped);
        assert_eq!(stored.len(), stamped.total_len());
        verify_crc(&stored).unwrap();
        let header = BatchHeader::parse(&stored).unwrap();
        assert_eq!(header, stamped.header);
        assert_eq!((header.base_offset, header.partition_leader_epoch), (7_000_000_000, 9));
        assert_eq!(header.last_offset(), 7_000_000_002);
        // Nothing else changed.
        assert_eq!(stored[8..12], received[8..12]);
        assert_eq!(stored[16..], received[16..]);
    }

    #[test]
    fn append_time_sets_bit_maximum_and_crc() {
        let received = received();
        let mut stamped = StampedBatch::new(&received, 5, LeaderEpoch(0)).unwrap();
        stamped.stamp_log_append_time(123_456);
        let stored = joined(&stamped);
        verify_crc(&stored).unwrap();
        let header = BatchHeader::parse(&stored).unwrap();
        assert_eq!((header.timestamp_type(), header.max_timestamp), (TimestampType::LogAppendTime, 123_456));
        assert_eq!(header, stamped.header);
    }

    #[test]
    fn a_producer_is_stamped_as_if_it_had_built_the_batch() {
        let received = received();
        let mut stamped = StampedBatch::new(&received, 0, LeaderEpoch(-1)).unwrap();
        stamped.stamp_producer(BatchProducer { id: 7, epoch: 2, base_sequence: i32::MAX });
        let stored = joined(&stamped);
        verify_crc(&stored).unwrap();
        let header = BatchHeader::parse(&stored).unwrap();
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 2, i32::MAX));
        assert_eq!((header.max_timestamp, header.record_count), (1_005, 3));
    }

    #[test]
    fn what_follows_the_batch_stays_out() {
        let received = [received(), vec![7; 30]].concat();
        let stamped = StampedBatch::new(&received, 0, LeaderEpoch(0)).unwrap();
        assert_eq!(stamped.total_len() + 30, received.len());
        let cut = &received[..stamped.total_len() - 1];
        assert!(matches!(StampedBatch::new(cut, 0, LeaderEpoch(0)), Err(BatchError::Incomplete { .. })));
    }

    #[test]
    #[should_panic(expected = "no room")]
    fn an_offset_without_room_is_our_own_fault() {
        let _ = StampedBatch::new(&received(), i64::MAX - 1, LeaderEpoch(0));
    }
}
