//! Kafka messages and versions, framing, record batches and compression.
//!
//! Owns every byte that crosses a Kafka connection or stands in a segment file; does no I/O and knows no runtime.

pub mod batch;
pub mod ids;
