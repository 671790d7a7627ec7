//! Record batches, format v2: header, stamping, CRC, compression, records.
//!
//! Source: Kafka's message format (magic 2, KIP-98).

mod builder;
mod compression;
mod header;
mod records;
mod stamp;
mod varint;
mod walk;

pub use builder::{BatchBuilder, BatchOptions, BatchProducer, BuildError, NewRecord};
pub use compression::{Compressor, DecompressError, Decompressor};
pub use header::{BatchError, BatchHeader, Compression, HEADER_LEN, TimestampType, crc_of, verify_crc};
pub use records::{
    BatchRecords, Record, RecordError, RecordHeader, RecordHeaderIter, RecordHeaders, RecordIter,
};
pub use stamp::StampedBatch;
pub use walk::Batches;
