//! Kafka messages and versions, framing, record batches and compression.
//!
//! Owns every byte that crosses a Kafka connection or stands in a segment file; does no I/O and knows no runtime.

mod api;
pub mod batch;
mod decode;
mod encode;
mod error_code;
pub mod frame;
pub mod ids;
mod message;
pub mod messages;
mod records;
pub mod schema;

pub use api::{AnyRequest, AnyResponse, ApiKey};
pub use decode::{
    Decode, DecodeError, DecodeErrorKind, Decoder, HEAP_BYTES_PER_INPUT_BYTE, MAX_ARRAY_ELEMENTS,
    MAX_INITIAL_CAPACITY, MAX_STRING_LEN, MAX_TAGGED_FIELDS, OpenTag as OpenDecodeTag,
};
pub use encode::{Encode, EncodeError, EncodeErrorKind, Encoder, Piece, PieceBody, Segment};
pub use error_code::ErrorCode;
pub use message::{Message, Request, decode, encode};
pub use records::Records;
