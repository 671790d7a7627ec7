//! The records inside a batch, read where they lie.
//!
//! ```text
//! record: length varint | attributes i8 | timestamp delta varlong | offset delta varint | key | value | headers
//! key, value, header key and value: length varint (-1: null) and bytes;  headers: count varint, then key and value each
//! ```

use std::borrow::Cow;

use super::compression::{DecompressError, Decompressor};
use super::varint::Input;
use super::{BatchError, BatchHeader, Compression, HEADER_LEN, TimestampType};

/// One record, borrowed from its batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// Milliseconds; the batch's append time where the broker's clock counts.
    pub timestamp: i64,
    /// Absent or a key.
    pub key: Option<&'a [u8]>,
    /// Absent (a tombstone) or a value.
    pub value: Option<&'a [u8]>,
    /// In order; keys may repeat.
    pub headers: RecordHeaders<'a>,
}

/// One header of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader<'a> {
    /// UTF-8 by convention; brokers do not check it.
    pub key: &'a [u8],
    /// Absent or a value.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, in their order, each key as often as it was written. Read anew at each iteration, so that a
/// record costs no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordHeaders<'a> {
    count: usize,
    /// All of them, checked.
    bytes: &'a [u8],
}

impl<'a> RecordHeaders<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers in order.
    pub fn iter(&self) -> RecordHeaderIter<'a> {
        RecordHeaderIter { left: self.count, input: Input { bytes: self.bytes } }
    }

    /// Checks all headers; `input` ends with them.
    fn read(input: &mut Input<'a>) -> Result<RecordHeaders<'a>, &'static str> {
        let count = usize::try_from(input.varint()?).map_err(|_| "its number of headers is negative")?;
        let bytes = input.bytes;
        for _ in 0..count {
            read_header(input)?;
        }
        Ok(RecordHeaders { count, bytes: &bytes[..bytes.len() - input.bytes.len()] })
    }
}

impl<'a> IntoIterator for RecordHeaders<'a> {
    type Item = RecordHeader<'a>;
    type IntoIter = RecordHeaderIter<'a>;

    fn into_iter(self) -> RecordHeaderIter<'a> {
        self.iter()
    }
}

/// See [`RecordHeaders::iter`].
#[derive(Clone, Debug)]
pub struct RecordHeaderIter<'a> {
    left: usize,
    input: Input<'a>,
}

impl<'a> Iterator for RecordHeaderIter<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<RecordHeader<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(read_header(&mut self.input).expect("headers were checked when their record was read"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for RecordHeaderIter<'_> {}

fn read_header<'a>(input: &mut Input<'a>) -> Result<RecordHeader<'a>, &'static str> {
    let key = input.nullable()?.ok_or("a header's key is null")?;
    Ok(RecordHeader { key, value: input.nullable()? })
}

/// Why records cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// The header.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The compression.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// A record.
    #[error("record {number}: {reason}")]
    Malformed {
        /// Counted from 0; the batch's record count for what follows the last one.
        number: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

/// The records of one batch, decompressed. Iterate with [`BatchRecords::iter`].
#[derive(Debug)]
pub struct BatchRecords<'a> {
    header: BatchHeader,
    bytes: Cow<'a, [u8]>,
}

impl<'a> BatchRecords<'a> {
    /// Takes one whole batch, header included, and decompresses its records to at most `limit` bytes; those of a batch
    /// that is not compressed stay where they are. The CRC is not looked at: see [`super::verify_crc`].
    ///
    /// For many batches one after another see [`Decompressor::records`].
    pub fn open(batch: &'a [u8], limit: usize) -> Result<BatchRecords<'a>, RecordError> {
        let (header, packed) = split(batch)?;
        let bytes = match header.compression()? {
            Compression::None => packed.into(),
            codec => {
                let mut out = Vec::new();
                Decompressor::new().decompress(codec, packed, limit, &mut out)?;
                out.into()
            }
        };
        Ok(BatchRecords { header, bytes })
    }

    /// The batch's header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records in order. Ends after the first error.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter::new(self.header, &self.bytes)
    }
}

impl Decompressor {
    /// As [`BatchRecords::open`], with this decompressor's contexts and buffer.
    pub fn records<'a>(&'a mut self, batch: &'a [u8], limit: usize) -> Result<BatchRecords<'a>, RecordError> {
        let (header, packed) = split(batch)?;
        let bytes = match header.compression()? {
            Compression::None => packed,
            codec => self.decompress_kept(codec, packed, limit)?,
        };
        Ok(BatchRecords { header, bytes: bytes.into() })
    }
}

fn split(batch: &[u8]) -> Result<(BatchHeader, &[u8]), BatchError> {
    let header = BatchHeader::parse(batch)?;
    let need = header.total_len();
    let whole = batch.get(..need).ok_or(BatchError::Incomplete { have: batch.len(), need })?;
    Ok((header, &whole[HEADER_LEN..]))
}

/// Reads the records of a batch one after another.
///
/// Checked of each: that it lies within the batch, that its fields fill it exactly, that its offset delta is above its
/// predecessor's and not above the batch's last, that its timestamp exists. Checked at the end: that there are as many
/// as the header says, and no bytes behind them. Deltas may have gaps, since compaction leaves some: that a producer's
/// have none is for [`validate`](super::validate()) to see.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    header: BatchHeader,
    input: Input<'a>,
    number: usize,
    /// The next offset delta is this or above.
    delta_min: i64,
    failed: bool,
}

impl<'a> RecordIter<'a> {
    /// Over the records of a batch with this header, not or no longer compressed.
    pub fn new(header: BatchHeader, records: &'a [u8]) -> RecordIter<'a> {
        RecordIter { header, input: Input { bytes: records }, number: 0, delta_min: 0, failed: false }
    }

    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        let len = usize::try_from(self.input.varint()?).map_err(|_| "its length is negative")?;
        let mut body = Input { bytes: self.input.take(len)? };
        body.take(1)?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        if i64::from(offset_delta) < self.delta_min {
            return Err("its offset delta is not above the one before");
        }
        if offset_delta > self.header.last_offset_delta {
            return Err("its offset delta is above the batch's last");
        }
        let key = body.nullable()?;
        let value = body.nullable()?;
        let headers = RecordHeaders::read(&mut body)?;
        if !body.bytes.is_empty() {
            return Err("its length does not match its fields");
        }
        let timestamp = match self.header.timestamp_type() {
            TimestampType::LogAppendTime => self.header.max_timestamp,
            TimestampType::CreateTime => {
                self.header.base_timestamp.checked_add(timestamp_delta).ok_or("its timestamp overflows")?
            }
        };
        self.delta_min = i64::from(offset_delta) + 1;
        Ok(Record { offset_delta, timestamp, key, value, headers })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let number = self.number;
        let read = if number < self.header.record_count as usize {
            self.read()
        } else if self.input.bytes.is_empty() {
            return None;
        } else {
            Err("bytes follow the last record")
        };
        self.number += 1;
        self.failed = read.is_err();
        Some(read.map_err(|reason| RecordError::Malformed { number, reason }))
    }
}

#[cfg(test)]
mod tests;
