//! Building a batch of records.

use super::compression::Compressor;
use super::header::{CONTROL_BIT, DELETE_HORIZON_BIT, TRANSACTIONAL_BIT};
use super::varint::{put_varint, put_varlong, varint_len, varlong_len};
use super::{BatchHeader, Compression, HEADER_LEN, RecordHeader, crc_of};
use crate::ids::LeaderEpoch;

/// Bytes of base offset and batch length, which the batch length does not count.
const LENGTH_PREFIX: usize = 12;

/// Most bytes of records, so that a batch's length fits its field.
const RECORDS_LEN_MAX: usize = i32::MAX as usize - (HEADER_LEN - LENGTH_PREFIX);

/// A record to be put into a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Milliseconds.
    pub timestamp: i64,
    /// Absent or a key.
    pub key: Option<&'a [u8]>,
    /// Absent (a tombstone) or a value.
    pub value: Option<&'a [u8]>,
    /// In order; keys may repeat.
    pub headers: &'a [RecordHeader<'a>],
}

/// Who wrote a batch, for idempotence (KIP-98).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchProducer {
    /// 0 or more.
    pub id: i64,
    /// 0 or more.
    pub epoch: i16,
    /// Sequence of the first record, 0 or more.
    pub base_sequence: i32,
}

/// What a batch is built with, besides its records.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    /// Offset of the first record; 0 in what producers send.
    pub base_offset: i64,
    /// `None` in what producers send.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The codec.
    pub compression: Compression,
    /// On the codec's own scale; see [`Compressor::compress`].
    pub level: Option<i32>,
    /// `None`: not idempotent.
    pub producer: Option<BatchProducer>,
    /// Part of a transaction.
    pub transactional: bool,
    /// A transaction marker; the caller writes its one record.
    pub control: bool,
    /// Most bytes of the batch, header included.
    pub max_bytes: usize,
}

impl Default for BatchOptions {
    /// As a producer without idempotence sends: offset 0, no epoch, no compression, no limit.
    fn default() -> Self {
        BatchOptions {
            base_offset: 0,
            leader_epoch: None,
            compression: Compression::None,
            level: None,
            producer: None,
            transactional: false,
            control: false,
            max_bytes: usize::MAX,
        }
    }
}

/// Why a batch cannot be built. The records that were added before stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no record.
    #[error("a batch needs a record")]
    Empty,
    /// The batch would be too large.
    #[error("a batch of {bytes} bytes, {max} are allowed")]
    TooLarge {
        /// Its bytes, header included; those before compression where they alone are too many.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Offsets in a batch rise.
    #[error("offset delta {offset_delta} is below {expected_min}")]
    OffsetDelta {
        /// The one that was given.
        offset_delta: i32,
        /// The least that would be right.
        expected_min: i64,
    },
    /// The last offset does not exist.
    #[error("no room for a last offset delta of {last_offset_delta} from base offset {base_offset}")]
    Offsets {
        /// The first offset.
        base_offset: i64,
        /// The last one less that.
        last_offset_delta: i32,
    },
    /// The distance of two timestamps does not fit.
    #[error("timestamp {timestamp} is too far from the batch's first, {base_timestamp}")]
    Timestamp {
        /// The record's, in milliseconds.
        timestamp: i64,
        /// The first record's.
        base_timestamp: i64,
    },
}

/// Builds one batch after another with the same buffer and compression contexts.
///
/// ```
/// use buslane_wire::batch::{BatchBuilder, BatchHeader, BatchOptions, BatchRecords, Compression, NewRecord};
///
/// let mut builder = BatchBuilder::default();
/// builder.add(&NewRecord { timestamp: 5, key: Some(b"k"), value: Some(b"v"), headers: &[] })?;
/// let mut batch = Vec::new();
/// let options = BatchOptions { compression: Compression::Zstd, max_bytes: 1 << 20, ..BatchOptions::default() };
/// let header: BatchHeader = builder.build(&options, &mut batch)?;
/// assert_eq!((header.total_len(), header.record_count), (batch.len(), 1));
///
/// let records = BatchRecords::open(&batch, 1 << 20)?;
/// assert_eq!(records.iter().next().unwrap()?.key, Some(&b"k"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// Encoded, not compressed.
    records: Vec<u8>,
    count: i32,
    last_offset_delta: i32,
    /// Where the deltas of timestamps count from, when that is not the first record's.
    counts_from: Option<i64>,
    base_timestamp: i64,
    max_timestamp: i64,
    compressor: Compressor,
}

impl BatchBuilder {
    /// Adds a record at the next offset and returns its offset delta.
    pub fn add(&mut self, record: &NewRecord<'_>) -> Result<i32, BuildError> {
        let offset_delta = if self.is_empty() { Some(0) } else { self.last_offset_delta.checked_add(1) };
        let Some(offset_delta) = offset_delta else {
            return Err(BuildError::OffsetDelta { offset_delta: i32::MAX, expected_min: 1 << 31 });
        };
        self.add_at(offset_delta, record).map(|()| offset_delta)
    }

    /// The base timestamp, in milliseconds, of the batch whose records follow; without this it is the first record's.
    ///
    /// # Panics
    /// When there is a record.
    pub fn count_from(&mut self, base_timestamp: i64) {
        assert!(self.is_empty(), "{} records count from another timestamp", self.count);
        self.counts_from = Some(base_timestamp);
    }

    /// Adds a record at an offset delta above the last one's: gaps are for compaction, producers' batches have none.
    pub fn add_at(&mut self, offset_delta: i32, record: &NewRecord<'_>) -> Result<(), BuildError> {
        let expected_min = if self.is_empty() { 0 } else { i64::from(self.last_offset_delta) + 1 };
        if i64::from(offset_delta) < expected_min {
            return Err(BuildError::OffsetDelta { offset_delta, expected_min });
        }
        let base_timestamp =
            if self.is_empty() { self.counts_from.unwrap_or(record.timestamp) } else { self.base_timestamp };
        let NewRecord { timestamp, key, value, headers } = *record;
        let timestamp_delta = timestamp
            .checked_sub(base_timestamp)
            .ok_or(BuildError::Timestamp { timestamp, base_timestamp })?;

        // Lengths that do not fit their fields are too large for the batch in any case.
        let too_large = |body: usize| BuildError::TooLarge {
            bytes: HEADER_LEN.saturating_add(self.records.len()).saturating_add(body),
            max: HEADER_LEN + RECORDS_LEN_MAX,
        };
        let fields = [key, value].into_iter().chain(headers.iter().flat_map(|h| [Some(h.key), h.value]));
        let content = fields.map(|f| f.map_or(0, <[u8]>::len)).fold(headers.len(), usize::saturating_add);
        if content > RECORDS_LEN_MAX {
            return Err(too_large(content));
        }
        let body = 1
            + varlong_len(timestamp_delta)
            + varint_len(offset_delta)
            + nullable_len(key)
            + nullable_len(value)
            + varint_len(headers.len() as i32)
            + headers.iter().map(|h| nullable_len(Some(h.key)) + nullable_len(h.value)).sum::<usize>();
        let fits = i32::try_from(body)
            .ok()
            .filter(|len| self.records.len() + varint_len(*len) + body <= RECORDS_LEN_MAX);
        let Some(len) = fits else { return Err(too_large(body)) };

        let out = &mut self.records;
        out.reserve(varint_len(len) + body);
        put_varint(out, len);
        let start = out.len();
        out.push(0);
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_nullable(out, key);
        put_nullable(out, value);
        put_varint(out, headers.len() as i32);
        for header in headers {
            put_nullable(out, Some(header.key));
            put_nullable(out, header.value);
        }
        assert_eq!(out.len() - start, body, "a record has the length that was written before it");

        self.max_timestamp = if self.is_empty() { timestamp } else { self.max_timestamp.max(timestamp) };
        self.base_timestamp = base_timestamp;
        self.last_offset_delta = offset_delta;
        self.count += 1;
        Ok(())
    }

    /// As [`BatchBuilder::add`], for records that are known to be small.
    ///
    /// # Panics
    /// Where that returns an error: beyond 2 GiB, or with timestamps that are too far apart.
    pub fn push(&mut self, record: &NewRecord<'_>) {
        self.add(record).expect("the caller knows the record to fit");
    }

    /// Records added.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True when none was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the records before compression.
    pub fn records_len(&self) -> usize {
        self.records.len()
    }

    /// Bytes that it keeps for records.
    pub fn capacity(&self) -> usize {
        self.records.capacity()
    }

    /// Forgets the records.
    pub fn clear(&mut self) {
        self.records.clear();
        self.count = 0;
        self.last_offset_delta = 0;
        self.counts_from = None;
    }

    /// Appends the batch to `out` and starts over. After an error `out` is as it was and the records are still there.
    ///
    /// # Panics
    /// When a producer's fields are negative.
    pub fn build(&mut self, options: &BatchOptions, out: &mut Vec<u8>) -> Result<BatchHeader, BuildError> {
        if self.is_empty() {
            return Err(BuildError::Empty);
        }
        let (base_offset, last_offset_delta) = (options.base_offset, self.last_offset_delta);
        if base_offset < 0 || base_offset.checked_add(i64::from(last_offset_delta) + 1).is_none() {
            return Err(BuildError::Offsets { base_offset, last_offset_delta });
        }
        let mut header = BatchHeader { base_offset, ..BatchHeader::default() };
        if let Some(LeaderEpoch(epoch)) = options.leader_epoch {
            header.partition_leader_epoch = epoch;
        }
        if let Some(BatchProducer { id, epoch, base_sequence }) = options.producer {
            assert!(id >= 0 && epoch >= 0 && base_sequence >= 0, "producer {id}, {epoch}, {base_sequence}");
            (header.producer_id, header.producer_epoch, header.base_sequence) = (id, epoch, base_sequence);
        }
        if options.transactional {
            header.attributes |= TRANSACTIONAL_BIT;
        }
        if options.control {
            header.attributes |= CONTROL_BIT;
        }
        let start = out.len();
        let built = self.write(header, options.compression, options.level, out);
        if built.is_none_or(|header| header.total_len() > options.max_bytes) {
            let max = options.max_bytes.min(HEADER_LEN + RECORDS_LEN_MAX);
            let bytes = out.len() - start;
            out.truncate(start);
            return Err(BuildError::TooLarge { bytes, max });
        }
        self.clear();
        Ok(built.expect("checked above"))
    }

    /// Appends what compaction left of a batch to `out` and starts over: the records added, each at its old offset delta,
    /// under the header of the `original`. Base and last offset, leader epoch, producer, codec and the other attributes
    /// stay; the base timestamp is that of [`BatchBuilder::count_from`], and with `delete_horizon` it is one (KIP-534).
    /// The maximum timestamp is that of the records, or the time of the append that they share. After an error `out` is as
    /// it was and the records are still there.
    ///
    /// # Panics
    /// When a record's offset delta is above the original's last one.
    pub fn rebuild(
        &mut self,
        original: &BatchHeader,
        delete_horizon: bool,
        out: &mut Vec<u8>,
    ) -> Result<BatchHeader, BuildError> {
        if self.is_empty() {
            return Err(BuildError::Empty);
        }
        let (last, of) = (self.last_offset_delta, original.last_offset_delta);
        assert!(last <= of, "a record at offset delta {last} in a batch that ends at {of}");
        assert!(!delete_horizon || self.counts_from.is_some(), "a delete horizon is given");
        // An unknown codec cannot have been read.
        let codec = original.compression().unwrap_or_default();
        let horizon_bit = if delete_horizon { DELETE_HORIZON_BIT } else { 0 };
        let header = BatchHeader {
            attributes: (original.attributes & !DELETE_HORIZON_BIT) | horizon_bit,
            ..*original
        };
        let start = out.len();
        self.last_offset_delta = of;
        let built = self.write(header, codec, None, out);
        self.last_offset_delta = last;
        let Some(header) = built else {
            let bytes = out.len() - start;
            out.truncate(start);
            return Err(BuildError::TooLarge { bytes, max: HEADER_LEN + RECORDS_LEN_MAX });
        };
        self.clear();
        Ok(header)
    }

    /// Appends the batch to `out` and starts over. `header` gives base offset, leader epoch, producer fields and the
    /// attributes besides the compression; its other fields are filled in. Without records it gives the timestamps
    /// and the last offset delta too: the empty batch that compaction leaves.
    ///
    /// # Panics
    /// When the compressed records exceed 2 GiB.
    pub fn finish(&mut self, header: BatchHeader, compression: Compression, out: &mut Vec<u8>) {
        self.write(header, compression, None, out).expect("a batch is far below 2 GiB");
        self.clear();
    }

    /// `None` when the length does not fit; the bytes are in `out` then all the same.
    fn write(
        &mut self,
        header: BatchHeader,
        compression: Compression,
        level: Option<i32>,
        out: &mut Vec<u8>,
    ) -> Option<BatchHeader> {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        self.compressor.compress(compression, level, &self.records, out);
        let mut header = BatchHeader {
            batch_length: i32::try_from(out.len() - start - LENGTH_PREFIX).ok()?,
            attributes: (header.attributes & !7) | compression as i16,
            record_count: self.count,
            ..header
        };
        if !self.is_empty() {
            header.last_offset_delta = self.last_offset_delta;
            header.base_timestamp = self.base_timestamp;
            header.max_timestamp = self.max_timestamp;
        }
        out[start..start + HEADER_LEN].copy_from_slice(&header.encode());
        header.crc = crc_of(&out[start..]);
        out[start..start + HEADER_LEN].copy_from_slice(&header.encode());
        Some(header)
    }
}

/// Bytes that [`put_nullable`] writes. The length is known to fit.
fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |b| varint_len(b.len() as i32) + b.len())
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
