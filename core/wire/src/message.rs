//! What a whole request or response is, and how to read and write one.

use crate::decode::{Decode, DecodeError, DecodeErrorKind, Decoder};
use crate::encode::{Encode, EncodeError, EncodeErrorKind, Encoder};
use crate::schema;

/// A top-level request or response.
pub trait Message: Encode {
    /// Name, key, versions and fields.
    const SCHEMA: &'static schema::Message;
}

/// A request, and what answers it.
pub trait Request: Message {
    /// The response of the same key and version.
    type Response<'r>: Message + Decode<'r>;
}

/// Reads a message body, all of it. Bytes left over are an error: they mean that the two sides disagree on the version.
pub fn decode<'a, M: Message + Decode<'a>>(body: &'a [u8], version: i16) -> Result<M, DecodeError> {
    let (message, decoder) = read(body, version)?;
    decoder.finish()?;
    Ok(message)
}

/// Reads a message body and ignores what follows it, as Kafka's broker does: librdkafka 2.15 sends three bytes too many
/// with Metadata version 13.
pub fn decode_prefix<'a, M: Message + Decode<'a>>(body: &'a [u8], version: i16) -> Result<M, DecodeError> {
    read(body, version).map(|(message, _)| message)
}

/// As [`decode_prefix`], with at most `heap_bytes` of structs.
pub fn decode_prefix_within<'a, M: Message + Decode<'a>>(
    body: &'a [u8],
    version: i16,
    heap_bytes: usize,
) -> Result<M, DecodeError> {
    read_within(body, version, heap_bytes).map(|(message, _)| message)
}

/// The number of elements in all arrays of a message body, which is read as by [`decode_prefix_within`].
pub fn count_elements<'a, M: Message + Decode<'a>>(
    body: &'a [u8],
    version: i16,
    heap_bytes: usize,
) -> Result<usize, DecodeError> {
    read_within::<M>(body, version, heap_bytes).map(|(_, decoder)| decoder.elements())
}

fn read<'a, M: Message + Decode<'a>>(body: &'a [u8], version: i16) -> Result<(M, Decoder<'a>), DecodeError> {
    read_within(body, version, usize::MAX)
}

fn read_within<'a, M: Message + Decode<'a>>(
    body: &'a [u8],
    version: i16,
    heap_bytes: usize,
) -> Result<(M, Decoder<'a>), DecodeError> {
    let schema = M::SCHEMA;
    let mut decoder = Decoder::new(body, version, schema.flexible.contains(version));
    decoder.limit_heap(heap_bytes);
    decoder.at(schema.name);
    if !schema.versions.contains(version) {
        let (first, last) = (schema.versions.first, schema.versions.last);
        return Err(decoder.error(DecodeErrorKind::UnsupportedVersion { version, first, last }));
    }
    let message = M::decode(&mut decoder)?;
    Ok((message, decoder))
}

/// Appends a message body. After an error the encoder holds a part of it: see `Encoder::abandon_frame`.
pub fn encode<M: Message>(message: &M, version: i16, encoder: &mut Encoder) -> Result<(), EncodeError> {
    let schema = M::SCHEMA;
    if !schema.versions.contains(version) {
        let (first, last) = (schema.versions.first, schema.versions.last);
        let kind = EncodeErrorKind::UnsupportedVersion { first, last };
        return Err(EncodeError { field: schema.name, version, kind });
    }
    encoder.set_version(version, schema.flexible.contains(version));
    message.encode(encoder)
}
