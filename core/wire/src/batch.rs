//! Record batches, format v2: the fixed header, stamping, CRC.
//!
//! Source: Kafka's message format (magic 2, KIP-98).

mod header;

pub use header::{
    BatchError, BatchHeader, Compression, HEADER_LEN, StampedBatch, TimestampType, crc_of, verify_crc,
};
