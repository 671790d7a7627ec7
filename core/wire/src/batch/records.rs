//! The records inside a batch: reading them where they lie, and building a batch of them.
//!
//! ```text
//! record: length varint | attributes i8 | timestamp delta varlong | offset delta varint | key | value | headers
//! key, value, header key and value: length varint (-1: null) and bytes;  headers: count varint
//! ```

use super::compression::{DecompressError, compress, decompress};
use super::{BatchError, BatchHeader, Compression, HEADER_LEN, TimestampType};

/// Bytes of the shortest record.
const RECORD_LEN_MIN: usize = 7;

/// One record, borrowed from its batch.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    pub headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
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
        /// Counted from 0.
        number: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

/// The records of one batch. Keeps the decompressed bytes; iterate with [`Records::iter`].
#[derive(Debug)]
pub struct BatchRecords<'a> {
    header: BatchHeader,
    bytes: std::borrow::Cow<'a, [u8]>,
}

impl<'a> BatchRecords<'a> {
    /// Takes one whole batch, header included, and decompresses its records to at most `limit` bytes. The CRC is not
    /// looked at: see [`super::verify_crc`].
    pub fn open(batch: &'a [u8], limit: usize) -> Result<BatchRecords<'a>, RecordError> {
        let header = BatchHeader::parse(batch)?;
        let need = header.total_len();
        let Some(batch) = batch.get(..need) else {
            return Err(BatchError::Incomplete { have: batch.len(), need }.into());
        };
        let packed = &batch[HEADER_LEN..];
        let bytes = match header.compression()? {
            Compression::None => packed.into(),
            codec => {
                let mut out = Vec::new();
                decompress(codec, packed, limit, &mut out)?;
                out.into()
            }
        };
        Ok(BatchRecords { header, bytes })
    }

    /// The batch's header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records in order. Ends after the first error; bytes left over behind the last record are one.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { header: self.header, input: Input { bytes: &self.bytes }, number: 0, failed: false }
    }
}

/// See [`BatchRecords::iter`].
#[derive(Debug)]
pub struct RecordIter<'a> {
    header: BatchHeader,
    input: Input<'a>,
    number: usize,
    failed: bool,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let number = self.number;
        if number == self.header.record_count as usize {
            self.failed = true;
            let reason = "bytes follow the last record";
            return (!self.input.bytes.is_empty()).then_some(Err(RecordError::Malformed { number, reason }));
        }
        self.number += 1;
        match read_record(&mut self.input, &self.header) {
            Ok(record) => Some(Ok(record)),
            Err(reason) => {
                self.failed = true;
                Some(Err(RecordError::Malformed { number, reason }))
            }
        }
    }
}

fn read_record<'a>(input: &mut Input<'a>, header: &BatchHeader) -> Result<Record<'a>, &'static str> {
    let len = usize::try_from(input.varint()?).map_err(|_| "its length is negative")?;
    let mut body = Input { bytes: input.take(len)? };
    body.take(1)?;
    let timestamp_delta = body.varlong()?;
    let offset_delta = body.varint()?;
    if offset_delta < 0 || offset_delta > header.last_offset_delta {
        return Err("its offset delta lies outside the batch");
    }
    let key = body.bytes_or_null()?;
    let value = body.bytes_or_null()?;
    let count = usize::try_from(body.varint()?).map_err(|_| "its number of headers is negative")?;
    if count > body.bytes.len() / 2 {
        return Err("it cannot hold that many headers");
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let key = body.bytes_or_null()?.ok_or("a header's key is null")?;
        let key = std::str::from_utf8(key).map_err(|_| "a header's key is not UTF-8")?;
        headers.push((key, body.bytes_or_null()?));
    }
    if !body.bytes.is_empty() {
        return Err("its length does not match its fields");
    }
    let timestamp = match header.timestamp_type() {
        TimestampType::LogAppendTime => header.max_timestamp,
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(timestamp_delta),
    };
    Ok(Record { offset_delta, timestamp, key, value, headers })
}

#[derive(Debug)]
struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or("it is cut off")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn unsigned(&mut self, bits: u32) -> Result<u64, &'static str> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.take(1)?[0];
            if shift >= bits || (shift + 7 > bits && u64::from(byte & 0x7f) >> (bits - shift) != 0) {
                return Err("a number is too long");
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    fn varint(&mut self) -> Result<i32, &'static str> {
        let raw = self.unsigned(32)? as u32;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    fn varlong(&mut self) -> Result<i64, &'static str> {
        let raw = self.unsigned(64)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    fn bytes_or_null(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        match self.varint()? {
            -1 => Ok(None),
            len => self.take(usize::try_from(len).map_err(|_| "a length is negative")?).map(Some),
        }
    }
}

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
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Builds one batch; used again, it keeps its buffer.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    records: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// Adds a record after the others.
    pub fn push(&mut self, record: &NewRecord<'_>) {
        if self.count == 0 {
            self.base_timestamp = record.timestamp;
            self.max_timestamp = record.timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let mut body = Vec::with_capacity(
            RECORD_LEN_MIN + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len),
        );
        body.push(0);
        put_varlong(&mut body, record.timestamp.wrapping_sub(self.base_timestamp));
        put_varint(&mut body, self.count);
        put_bytes(&mut body, record.key);
        put_bytes(&mut body, record.value);
        put_varint(&mut body, record.headers.len() as i32);
        for (key, value) in record.headers {
            put_bytes(&mut body, Some(key.as_bytes()));
            put_bytes(&mut body, *value);
        }
        put_varint(&mut self.records, body.len() as i32);
        self.records.extend_from_slice(&body);
        self.count += 1;
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

    /// Appends the batch to `out` and starts over. `header` gives base offset, leader epoch, producer fields and the
    /// attributes besides the compression; its other fields are filled in.
    ///
    /// # Panics
    /// When the records exceed 2 GiB: a batch is built of far less.
    pub fn finish(&mut self, header: BatchHeader, compression: Compression, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        compress(compression, None, &self.records, out);
        let batch_length = i32::try_from(out.len() - start - 12).expect("a batch is far below 2 GiB");
        let header = BatchHeader {
            batch_length,
            magic: 2,
            attributes: (header.attributes & !7) | compression as i16,
            last_offset_delta: (self.count - 1).max(0),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            record_count: self.count,
            ..header
        };
        out[start..start + HEADER_LEN].copy_from_slice(&header.encode());
        let crc = super::crc_of(&out[start..]);
        out[start..start + HEADER_LEN].copy_from_slice(&BatchHeader { crc, ..header }.encode());
        self.records.clear();
        self.count = 0;
    }
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_unsigned(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}
