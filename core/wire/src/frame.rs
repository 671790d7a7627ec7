//! Whole frames: size, header, body.
//!
//! A frame is a 4-byte size and that many bytes. A request's start with a header of version 0, 1 or 2, a response's
//! with one of version 0 or 1; which one follows from key and version (KIP-482), with exceptions that
//! [`request_header_version`] and [`response_header_version`] know.

use crate::api::ApiKey;
use crate::decode::{Decode, DecodeError, Decoder};
use crate::encode::{Encode, EncodeError, Encoder};
use crate::message::{self, Message};

/// ControlledShutdown, which Kafka no longer serves; its version 0 has a header without a client id.
const CONTROLLED_SHUTDOWN: i16 = 7;

/// Version of the header before a request: 2 when the request is flexible, else 1.
///
/// A key the codec does not know gets 1: its first three fields, all that is needed to refuse it, are the same in all.
pub fn request_header_version(key: i16, version: i16) -> i16 {
    match ApiKey::from_i16(key) {
        _ if key == CONTROLLED_SHUTDOWN && version == 0 => 0,
        Some(api) if api.request().flexible.contains(version) => 2,
        _ => 1,
    }
}

/// Version of the header before a response: 1 when the response is flexible, else 0.
///
/// ApiVersions always gets 0, so that a client can read the answer to a version the broker did not know (KIP-511).
pub fn response_header_version(key: i16, version: i16) -> i16 {
    match ApiKey::from_i16(key) {
        Some(ApiKey::ApiVersions) => 0,
        Some(api) if api.response().flexible.contains(version) => 1,
        _ => 0,
    }
}

/// Reads a frame's size. Negative sizes and sizes above `max` are refused before any byte is waited for.
pub fn frame_len(size: [u8; 4], max: usize) -> Result<usize, FrameTooLong> {
    let announced = i32::from_be_bytes(size);
    usize::try_from(announced).ok().filter(|len| *len <= max).ok_or(FrameTooLong { announced, max })
}

/// A frame announces a size that cannot be served; the connection must be closed, since its end cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {announced} bytes was announced, at most {max} are accepted")]
pub struct FrameTooLong {
    /// The size as it stood on the wire.
    pub announced: i32,
    /// The most that is accepted.
    pub max: usize,
}

/// The first eight bytes of a request, the same in every header version: enough to refuse it properly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPrefix {
    /// The API key as sent; [`ApiKey::from_i16`] tells whether it is known.
    pub api_key: i16,
    /// The version as sent.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
}

impl RequestPrefix {
    /// Reads the prefix of a frame (without its size). Less than eight bytes are not a request.
    pub fn peek(frame: &[u8]) -> Result<RequestPrefix, DecodeError> {
        Self::read(&mut Decoder::new(frame, 0, false))
    }

    fn read(d: &mut Decoder<'_>) -> Result<RequestPrefix, DecodeError> {
        d.at("RequestHeader");
        Ok(RequestPrefix {
            api_key: i16::decode(d)?,
            api_version: i16::decode(d)?,
            correlation_id: i32::decode(d)?,
        })
    }
}

/// The header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// The API key as sent.
    pub api_key: i16,
    /// The version as sent.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// Who sends; for logs and quotas only.
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// Splits a frame (without its size) into header and body.
    pub fn decode(frame: &'a [u8]) -> Result<(RequestHeader<'a>, &'a [u8]), DecodeError> {
        // The client id has the short, non-compact form in every header version.
        let mut d = Decoder::new(frame, 0, false);
        let RequestPrefix { api_key, api_version, correlation_id } = RequestPrefix::read(&mut d)?;
        let header_version = request_header_version(api_key, api_version);
        d.at("ClientId");
        let client_id = if header_version >= 1 { d.nullable_string(true)? } else { None };
        if header_version >= 2 {
            skip_tags(&mut d)?;
        }
        Ok((RequestHeader { api_key, api_version, correlation_id, client_id }, d.remaining()))
    }

    /// Appends the header.
    pub fn encode(&self, e: &mut Encoder) -> Result<(), EncodeError> {
        let header_version = request_header_version(self.api_key, self.api_version);
        e.set_version(self.api_version, false);
        self.api_key.encode(e)?;
        self.api_version.encode(e)?;
        self.correlation_id.encode(e)?;
        e.at("ClientId");
        if header_version >= 1 {
            e.nullable_string(self.client_id, true)?;
        }
        if header_version >= 2 {
            e.tag_count(0);
        }
        Ok(())
    }
}

/// Splits a response frame (without its size) into correlation id and body.
///
/// `version` is the version of the request; the caller knows it by the order of responses.
pub fn decode_response_header(frame: &[u8], key: ApiKey, version: i16) -> Result<(i32, &[u8]), DecodeError> {
    let mut d = Decoder::new(frame, version, false);
    d.at("CorrelationId");
    let correlation_id = i32::decode(&mut d)?;
    if response_header_version(key as i16, version) >= 1 {
        skip_tags(&mut d)?;
    }
    Ok((correlation_id, d.remaining()))
}

fn skip_tags(d: &mut Decoder<'_>) -> Result<(), DecodeError> {
    for _ in 0..d.tag_count()? {
        let tag = d.begin_tag()?;
        d.skip_tag();
        d.end_tag(tag)?;
    }
    Ok(())
}

/// Appends a request frame: size, header, body. On an error the encoder is as it was before.
pub fn encode_request<M: Message>(
    e: &mut Encoder,
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    request: &M,
) -> Result<(), EncodeError> {
    debug_assert!(!M::SCHEMA.response, "{} is a response", M::SCHEMA.name);
    let header = RequestHeader { api_key: M::SCHEMA.key, api_version: version, correlation_id, client_id };
    framed(e, |e| {
        header.encode(e)?;
        message::encode(request, version, e)
    })
}

/// Appends a response frame: size, header, body. On an error the encoder is as it was before.
pub fn encode_response<M: Message>(
    e: &mut Encoder,
    correlation_id: i32,
    version: i16,
    response: &M,
) -> Result<(), EncodeError> {
    debug_assert!(M::SCHEMA.response, "{} is a request", M::SCHEMA.name);
    framed(e, |e| {
        correlation_id.encode(e)?;
        if response_header_version(M::SCHEMA.key, version) >= 1 {
            e.tag_count(0);
        }
        message::encode(response, version, e)
    })
}

fn framed(
    e: &mut Encoder,
    body: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let frame = e.begin_frame();
    match body(e) {
        Ok(()) => e.end_frame(frame),
        Err(error) => {
            e.abandon_frame(frame);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests;
