//! The fixed header of a record batch.
//!
//! ```text
//! 0 base offset i64 | 8 batch length i32 | 12 leader epoch i32 | 16 magic i8 | 17 crc u32 | 21 attributes i16
//! 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64 | 43 producer id i64
//! 51 producer epoch i16 | 53 base sequence i32 | 57 record count i32 | 61 records
//!
//! attributes: 0-2 codec | 3 append time | 4 transactional | 5 control | 6 delete horizon | 7-15 unused, zero
//! ```
//! The CRC-32C covers everything from the attributes on: base offset and leader epoch can be stamped without it.

use std::fmt;

/// Bytes of the fixed header of a batch, base offset and length included.
pub const HEADER_LEN: usize = 61;

/// Bytes of base offset and batch length, which `batch_length` does not count.
const LENGTH_PREFIX: usize = 12;

/// Where the CRC's cover begins.
pub(super) const CRC_FROM: usize = 21;

/// Where the magic byte stands, in every format there ever was.
const MAGIC_AT: usize = 16;

/// The magic byte of format v2.
const MAGIC: i8 = 2;

const CODEC_BITS: i16 = 0b111;
pub(super) const APPEND_TIME_BIT: i16 = 1 << 3;
pub(super) const TRANSACTIONAL_BIT: i16 = 1 << 4;
pub(super) const CONTROL_BIT: i16 = 1 << 5;
pub(super) const DELETE_HORIZON_BIT: i16 = 1 << 6;
const KNOWN_BITS: i16 = CODEC_BITS | APPEND_TIME_BIT | TRANSACTIONAL_BIT | CONTROL_BIT | DELETE_HORIZON_BIT;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// snappy, raw or in snappy-java's framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// zstd (KIP-110).
    Zstd,
}

impl Compression {
    /// Every codec, in the order of their numbers.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The codec's name in Kafka's settings.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose clock stamped the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, one for the whole batch.
    LogAppendTime,
}

/// Why bytes are not a record batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the header, or than the header says.
    #[error("a batch of {need} bytes is cut off after {have}")]
    Incomplete {
        /// Bytes at hand.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// A message set of before Kafka 0.11 (magic 0 or 1), or a format that is not known yet. Kafka's code for it is
    /// UNSUPPORTED_FOR_MESSAGE_FORMAT.
    #[error("message format {0}{old} is not served, only format 2", old = if matches!(.0, 0 | 1) { " (of clients before Kafka 0.11)" } else { "" })]
    Magic(i8),
    /// A header field with a value that no batch has.
    #[error("batch header field {field} (byte {at}) is {value}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// Where it stands in the batch, in bytes.
        at: usize,
        /// Its value.
        value: i64,
        /// What would be right.
        expected: &'static str,
    },
    /// The checksum does not match.
    #[error("batch CRC is {stored:#010x}, its bytes give {computed:#010x}")]
    Crc {
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
}

/// The fixed header, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Epoch of the leader that stored the batch.
    pub partition_leader_epoch: i32,
    /// 2.
    pub magic: i8,
    /// CRC-32C of everything after it.
    pub crc: u32,
    /// Compression (bits 0-2), timestamp type (3), transactional (4), control (5), delete horizon (6).
    pub attributes: i16,
    /// Offset of the last record less the base offset.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas count from, in milliseconds.
    pub base_timestamp: i64,
    /// Greatest timestamp, or the time of the append.
    pub max_timestamp: i64,
    /// -1 without one.
    pub producer_id: i64,
    /// -1 without one.
    pub producer_epoch: i16,
    /// Sequence of the first record, -1 without one.
    pub base_sequence: i32,
    /// Records.
    pub record_count: i32,
}

impl Default for BatchHeader {
    /// An empty batch of nobody: offset 0, no leader epoch, no producer, no records, no CRC yet.
    fn default() -> Self {
        BatchHeader {
            base_offset: 0,
            batch_length: (HEADER_LEN - LENGTH_PREFIX) as i32,
            partition_leader_epoch: -1,
            magic: MAGIC,
            crc: 0,
            attributes: 0,
            last_offset_delta: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 0,
        }
    }
}

fn field<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the header's fields lie within it")
}

impl BatchHeader {
    /// Reads and checks a header; the records need not be there, and the CRC is not looked at. A codec that is not known
    /// is told by [`BatchHeader::compression`] only: Kafka has an error code of its own for it.
    ///
    /// Of what passes, `total_len`, `last_offset` and `next_offset` neither overflow nor fall below the header's own.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        // The magic byte stands at the same place in every format, so that an old one is told by name.
        if let Some(magic) = bytes.get(MAGIC_AT).map(|magic| *magic as i8)
            && magic != MAGIC
        {
            return Err(BatchError::Magic(magic));
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(BatchError::Incomplete { have: bytes.len(), need: HEADER_LEN });
        };
        let header = BatchHeader {
            base_offset: i64::from_be_bytes(field(bytes, 0)),
            batch_length: i32::from_be_bytes(field(bytes, 8)),
            partition_leader_epoch: i32::from_be_bytes(field(bytes, 12)),
            magic: bytes[MAGIC_AT] as i8,
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        };
        let refuse = |field, at, value: i64, expected| Err(BatchError::Field { field, at, value, expected });
        if header.base_offset < 0 {
            return refuse("base_offset", 0, header.base_offset, "0 or more");
        }
        if header.batch_length < (HEADER_LEN - LENGTH_PREFIX) as i32 {
            return refuse("batch_length", 8, header.batch_length.into(), "49 (the header's rest) or more");
        }
        if header.attributes & !KNOWN_BITS != 0 {
            return refuse("attributes", 21, header.attributes.into(), "bits 7 to 15 to be zero");
        }
        if header.last_offset_delta < 0 {
            return refuse("last_offset_delta", 23, header.last_offset_delta.into(), "0 or more");
        }
        if header.record_count < 0 {
            return refuse("record_count", 57, header.record_count.into(), "0 or more");
        }
        if header.base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none() {
            return refuse("base_offset", 0, header.base_offset, "an offset after the last record to exist");
        }
        Ok(header)
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        out[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        out[MAGIC_AT] = self.magic as u8;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        out
    }

    /// Bytes of the whole batch.
    pub fn total_len(&self) -> usize {
        LENGTH_PREFIX + self.batch_length as usize
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Offset after the last record.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let bits = self.attributes & CODEC_BITS;
        Compression::ALL.get(bits as usize).copied().ok_or(BatchError::Field {
            field: "attributes.compression",
            at: CRC_FROM,
            value: bits.into(),
            expected: "0 to 4 (none, gzip, snappy, lz4, zstd)",
        })
    }

    /// Whose clock stamped the records.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & APPEND_TIME_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// A transaction marker.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// The base timestamp is the time from which compaction may drop this batch's tombstones (KIP-534); the records'
    /// deltas count from it all the same.
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// The time in milliseconds from which on compaction drops this batch's tombstones, once it is set (KIP-534).
    pub fn delete_horizon(&self) -> Option<i64> {
        self.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// The header alone, as compaction leaves it of a batch whose records are all gone, so that its last offset and its
    /// producer's last sequence are not forgotten. As Kafka writes it: no codec, no base timestamp, no delete horizon; the
    /// maximum timestamp stays.
    pub fn emptied(&self) -> BatchHeader {
        let mut header = BatchHeader {
            batch_length: (HEADER_LEN - LENGTH_PREFIX) as i32,
            attributes: self.attributes & !(CODEC_BITS | DELETE_HORIZON_BIT),
            base_timestamp: -1,
            record_count: 0,
            ..*self
        };
        header.crc = crc_of(&header.encode());
        header
    }

    /// Carries a producer id.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence of the last record; sequences wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        ((i64::from(self.base_sequence) + i64::from(self.last_offset_delta)) % (1 << 31)) as i32
    }
}

/// CRC-32C of a batch's bytes from the attributes to the end of the slice.
///
/// # Panics
/// When not even the fields before the attributes are there (21 bytes).
pub fn crc_of(batch: &[u8]) -> u32 {
    crc32c::crc32c(&batch[CRC_FROM..])
}

/// Compares a whole batch's CRC with its bytes.
pub fn verify_crc(batch: &[u8]) -> Result<(), BatchError> {
    let header = BatchHeader::parse(batch)?;
    let need = header.total_len();
    let Some(bytes) = batch.get(..need) else {
        return Err(BatchError::Incomplete { have: batch.len(), need });
    };
    let computed = crc_of(bytes);
    if computed == header.crc { Ok(()) } else { Err(BatchError::Crc { stored: header.crc, computed }) }
}

#[cfg(test)]
mod tests;
