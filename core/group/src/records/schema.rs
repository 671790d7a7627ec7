//! What a key and a value are: a type or version in two bytes, then a struct of that version.

use buslane_wire::schema::Versions;
use bytes::Bytes;

use super::{Record, RecordError, RecordType};
use crate::{Decode, Decoder, Encode, EncodeError, Encoder};

pub(super) const fn versions(first: i16, last: i16) -> Versions {
    Versions { first, last }
}

/// The key of a record. Keys have one version, which is not flexible.
pub trait RecordKey: Encode {
    /// The number in front of it.
    const TYPE: RecordType;

    /// The key's bytes.
    ///
    /// # Errors
    /// A string longer than 32,767 bytes.
    fn to_bytes(&self) -> Result<Bytes, EncodeError> {
        encode(self, Self::TYPE as i16, 0, false)
    }
}

/// The value of a record.
pub trait RecordValue: Encode {
    /// Versions that can be read and written.
    const VERSIONS: Versions;
    /// First version with compact lengths and tagged fields.
    const FLEXIBLE_FROM: i16;

    /// The value's bytes.
    ///
    /// # Errors
    /// A string longer than 32,767 bytes, or a value that the version cannot carry.
    ///
    /// # Panics
    /// On a version that does not exist.
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        assert!(Self::VERSIONS.contains(version), "value version {version} is not in {:?}", Self::VERSIONS);
        encode(self, version, version, version >= Self::FLEXIBLE_FROM)
    }
}

/// A record that sets a value.
pub fn record<V: RecordValue>(key: &impl RecordKey, value: &V, version: i16) -> Result<Record, EncodeError> {
    Ok(Record { key: key.to_bytes()?, value: Some(value.to_bytes(version)?) })
}

/// A record that removes a value.
pub fn tombstone(key: &impl RecordKey) -> Result<Record, EncodeError> {
    Ok(Record { key: key.to_bytes()?, value: None })
}

fn encode(
    body: &(impl Encode + ?Sized),
    prefix: i16,
    version: i16,
    flexible: bool,
) -> Result<Bytes, EncodeError> {
    let mut encoder = Encoder::new();
    encoder.set_version(version, flexible);
    encoder.raw(&prefix.to_be_bytes());
    body.encode(&mut encoder)?;
    let (buffer, pieces) = encoder.take();
    assert!(pieces.is_empty(), "no record has record batches in it");
    Ok(buffer.into())
}

/// The number in front, and the rest.
pub(super) fn split_prefix(bytes: &[u8]) -> Option<(i16, &[u8])> {
    let (prefix, rest) = bytes.split_first_chunk::<2>()?;
    Some((i16::from_be_bytes(*prefix), rest))
}

/// What follows the number in front of a key. Bytes after it are passed over, as Kafka does.
pub(super) fn key<'a, K: RecordKey + Decode<'a>>(rest: &'a [u8]) -> Result<K, RecordError> {
    K::decode(&mut Decoder::new(rest, 0, false)).map_err(|source| RecordError::Key { kind: K::TYPE, source })
}

/// A value of any version that is known; `None` for others.
pub(super) fn value<'a, V: RecordValue + Decode<'a>>(
    kind: RecordType,
    bytes: &'a [u8],
) -> Result<Result<V, i16>, RecordError> {
    let (version, rest) = split_prefix(bytes).ok_or(RecordError::Short { what: "value" })?;
    if !V::VERSIONS.contains(version) {
        return Ok(Err(version));
    }
    let mut decoder = Decoder::new(rest, version, version >= V::FLEXIBLE_FROM);
    let value = V::decode(&mut decoder).map_err(|source| RecordError::Value { kind, version, source })?;
    Ok(Ok(value))
}
