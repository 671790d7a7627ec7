//! Record batches, format v2: header, stamping, CRC, compression, records.
//!
//! Source: Kafka's message format (magic 2, KIP-98).

pub mod compression;
mod header;
mod records;
mod stamp;
mod walk;

pub use compression::DecompressError;
pub use header::{BatchError, BatchHeader, Compression, HEADER_LEN, TimestampType, crc_of, verify_crc};
pub use records::{BatchBuilder, BatchRecords, NewRecord, Record, RecordError, RecordIter};
pub use stamp::StampedBatch;
pub use walk::Batches;
