//! Record batches, format v2: header, stamping, CRC, compression, records.
//!
//! Source: Kafka's message format (magic 2, KIP-98).

pub mod compression;
mod header;
mod records;

pub use compression::DecompressError;
pub use header::{
    BatchError, BatchHeader, Compression, HEADER_LEN, StampedBatch, TimestampType, crc_of, verify_crc,
};
pub use records::{BatchBuilder, BatchRecords, NewRecord, Record, RecordError, RecordIter};
