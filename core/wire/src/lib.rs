//! Kafka messages and versions, framing, record batches and compression.
//!
//! Owns every byte that crosses a Kafka connection or stands in a segment file; does no I/O and knows no runtime.
//!
//! * [`messages`]: the requests and responses, one file per API key, and how to add one; [`ApiKey`] is their table.
//! * [`frame`]: size, header and body of a whole request or response.
//! * [`Decoder`] and [`Encoder`]: bounded reading of hostile bytes; writing with record bytes kept as separate pieces.
//! * [`schema`]: what the declarations say, for tests.
//! * [`batch`]: record batches, the same on the wire and on disk.
//! * [`ids`]: identities that every part of the core shares.
//!
//! ```
//! use buslane_wire::{Encoder, decode, frame, messages};
//!
//! // A client asks.
//! let mut e = Encoder::new();
//! let request = messages::MetadataRequest { topics: None, ..Default::default() };
//! frame::encode_request(&mut e, 1, Some("me"), 12, &request)?;
//! let bytes = e.to_vec().expect("no external records");
//!
//! // A broker reads: the size was stripped by whoever read the frame from the socket.
//! let (header, body) = frame::RequestHeader::decode(&bytes[4..])?;
//! let request: messages::MetadataRequest<'_> = decode(body, header.api_version)?;
//! assert_eq!(request.topics, None);
//!
//! // And answers, into the same buffer.
//! e.clear();
//! let response = messages::MetadataResponse { cluster_id: Some("bus"), ..Default::default() };
//! frame::encode_response(&mut e, header.correlation_id, header.api_version, &response)?;
//! assert_eq!(e.total_len(), e.buffer().len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Why this is not the published crate: `docs/decisions/0003-own-wire-codec.md`.

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
pub use message::{Message, Request, count_elements, decode, decode_prefix, decode_prefix_within, encode};
pub use records::Records;
