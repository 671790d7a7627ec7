//! The fixed header of a record batch.
//!
//! ```text
//! 0 base offset i64 | 8 batch length i32 | 12 leader epoch i32 | 16 magic i8 | 17 crc u32 | 21 attributes i16
//! 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64 | 43 producer id i64
//! 51 producer epoch i16 | 53 base sequence i32 | 57 record count i32 | 61 records
//! ```
//! The CRC-32C covers everything from the attributes on: base offset and leader epoch can be stamped without it.

use crate::ids::LeaderEpoch;

/// Bytes of the fixed header of a batch, base offset and length included.
pub const HEADER_LEN: usize = 61;

/// Bytes of base offset and batch length, which `batch_length` does not count.
const LENGTH_PREFIX: usize = 12;

/// Where the CRC's cover begins.
const CRC_FROM: usize = 21;

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
    /// A message set of before Kafka 0.11 (magic 0 or 1), or of a later format.
    #[error("message format {0} is not served, only format 2")]
    Magic(i8),
    /// A header field that no batch can have.
    #[error("batch header field {field} is {value}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
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

fn field<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the header's fields lie within it")
}

impl BatchHeader {
    /// Reads and checks a header; the records need not be there.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        // The magic byte stands at the same place in every format, so that an old one is told by name.
        if let Some(magic) = bytes.get(16)
            && *magic != 2
        {
            return Err(BatchError::Magic(*magic as i8));
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(BatchError::Incomplete { have: bytes.len(), need: HEADER_LEN });
        };
        let header = BatchHeader {
            base_offset: i64::from_be_bytes(field(bytes, 0)),
            batch_length: i32::from_be_bytes(field(bytes, 8)),
            partition_leader_epoch: i32::from_be_bytes(field(bytes, 12)),
            magic: bytes[16] as i8,
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
        let refuse = |field, value: i64| Err(BatchError::Field { field, value });
        if (header.batch_length as usize) < HEADER_LEN - LENGTH_PREFIX || header.batch_length < 0 {
            return refuse("batch_length", header.batch_length.into());
        }
        if header.base_offset < 0 {
            return refuse("base_offset", header.base_offset);
        }
        if header.last_offset_delta < 0 {
            return refuse("last_offset_delta", header.last_offset_delta.into());
        }
        if header.record_count < 0 {
            return refuse("record_count", header.record_count.into());
        }
        if header.base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none() {
            return refuse("base_offset", header.base_offset);
        }
        Ok(header)
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        out[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        out[16] = self.magic as u8;
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
        match self.attributes & 7 {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            other => Err(BatchError::Field { field: "attributes.compression", value: other.into() }),
        }
    }

    /// Whose clock stamped the records.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & 8 == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & 16 != 0
    }

    /// A transaction marker.
    pub fn is_control(&self) -> bool {
        self.attributes & 32 != 0
    }

    /// The base timestamp is the delete horizon of a compacted batch.
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & 64 != 0
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

/// CRC-32C of a whole batch's bytes from the attributes on. The caller made sure that the header is there.
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
    /// Stamps base offset and leader epoch, which lie outside the CRC. `received` is one whole batch.
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
        header.base_offset = base_offset;
        header.partition_leader_epoch = epoch.0;
        Ok(StampedBatch { header, head: header.encode(), records: &batch[HEADER_LEN..] })
    }

    /// Makes the broker's time the time of every record: bit 3, the max timestamp, and the CRC anew.
    pub fn stamp_log_append_time(&mut self, now_ms: i64) {
        self.header.attributes |= 8;
        self.stamp_max_timestamp(now_ms);
    }

    /// Corrects the max timestamp, and the CRC with it.
    pub fn stamp_max_timestamp(&mut self, max_timestamp: i64) {
        self.header.max_timestamp = max_timestamp;
        let head = self.header.encode();
        self.header.crc = crc32c::crc32c_append(crc32c::crc32c(&head[CRC_FROM..]), self.records);
        self.head = self.header.encode();
    }

    /// Bytes of the whole batch.
    pub fn total_len(&self) -> usize {
        HEADER_LEN + self.records.len()
    }
}
