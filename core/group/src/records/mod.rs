//! Keys and values of `__consumer_offsets`, byte for byte as Kafka 4.x writes them.
//!
//! A key starts with its record type, a value with its version, two bytes each. `tests/kafka_definitions.rs` compares
//! every struct with Kafka's own definitions, `tests/golden_records.rs` bytes with those of Kafka's classes.
//!
//! Types and value versions that are not known here (share groups, streams groups, a later Kafka) parse to
//! [`Parsed::Unknown`] and are passed over. They stay in the log: nothing here writes a tombstone for a key it
//! cannot read, and compaction keeps the last value of every key whatever is in it.

mod consumer_group;
mod group_metadata;
mod offset_commit;
mod schema;

use bytes::Bytes;

pub use consumer_group::*;
pub use group_metadata::{GroupMetadataKey, GroupMetadataValue, MemberMetadata};
pub use offset_commit::{LegacyOffsetCommitKey, LegacyOffsetCommitValue, OffsetCommitKey, OffsetCommitValue};
pub use schema::{RecordKey, RecordValue, record, tombstone};

use crate::DecodeError;

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Never empty.
    pub key: Bytes,
    /// `None` removes what the key stands for.
    pub value: Option<Bytes>,
}

macro_rules! records {
    ($($kind:ident = $number:literal, $key:ident, $value:ident $(<$life:lifetime>)?;)*) => {
        /// What a record is about: the number in front of its key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        #[allow(missing_docs)] // Kafka's names.
        pub enum RecordType {
            $($kind = $number,)*
        }

        impl RecordType {
            /// Every type.
            pub const ALL: &[RecordType] = &[$(RecordType::$kind),*];

            /// The type with this number.
            pub fn of(number: i16) -> Option<RecordType> {
                match number {
                    $($number => Some(RecordType::$kind),)*
                    _ => None,
                }
            }

            /// Static descriptions of key and value, for tests.
            pub fn schemas(self) -> (&'static crate::schema::Struct, &'static crate::schema::Struct) {
                match self {
                    $(RecordType::$kind => ($key::STRUCT, $value::STRUCT),)*
                }
            }

            /// Versions of the value, and the first flexible one, for tests.
            pub fn value_versions(self) -> (crate::schema::Versions, i16) {
                match self {
                    $(RecordType::$kind => (<$value as RecordValue>::VERSIONS, <$value as RecordValue>::FLEXIBLE_FROM),)*
                }
            }
        }

        /// A record that was understood.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs)] // Key and value, `None` for a tombstone; see `RecordType`.
        pub enum Known<'a> {
            $($kind($key<'a>, Option<$value $(<$life>)?>),)*
        }

        /// Reads a record. Costs at most a small multiple of its bytes; never panics.
        ///
        /// # Errors
        /// When a type and version that are known do not parse.
        pub fn parse<'a>(key: &'a [u8], value: Option<&'a [u8]>) -> Result<Parsed<'a>, RecordError> {
            let (number, rest) = schema::split_prefix(key).ok_or(RecordError::Short { what: "key" })?;
            let Some(kind) = RecordType::of(number) else {
                return Ok(Parsed::Unknown { record_type: number, value_version: None });
            };
            match kind {
                $(RecordType::$kind => {
                    let key: $key<'a> = schema::key(rest)?;
                    let value = match value {
                        None => None,
                        Some(bytes) => match schema::value::<$value $(<$life>)?>(kind, bytes)? {
                            Ok(value) => Some(value),
                            Err(version) => {
                                return Ok(Parsed::Unknown {
                                    record_type: number,
                                    value_version: Some(version),
                                });
                            }
                        },
                    };
                    Ok(Parsed::Known(Known::$kind(key, value)))
                })*
            }
        }
    };
}

records! {
    LegacyOffsetCommit = 0, LegacyOffsetCommitKey, LegacyOffsetCommitValue<'a>;
    OffsetCommit = 1, OffsetCommitKey, OffsetCommitValue<'a>;
    GroupMetadata = 2, GroupMetadataKey, GroupMetadataValue<'a>;
    ConsumerGroupMetadata = 3, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue;
    ConsumerGroupPartitionMetadata = 4, ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue<'a>;
    ConsumerGroupMemberMetadata = 5, ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue<'a>;
    ConsumerGroupTargetAssignmentMetadata = 6, ConsumerGroupTargetAssignmentMetadataKey,
        ConsumerGroupTargetAssignmentMetadataValue;
    ConsumerGroupTargetAssignmentMember = 7, ConsumerGroupTargetAssignmentMemberKey,
        ConsumerGroupTargetAssignmentMemberValue;
    ConsumerGroupCurrentMemberAssignment = 8, ConsumerGroupCurrentMemberAssignmentKey,
        ConsumerGroupCurrentMemberAssignmentValue;
    ConsumerGroupRegularExpression = 16, ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue<'a>;
}

/// What [`parse`] made of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed<'a> {
    /// It was understood.
    Known(Known<'a>),
    /// It is of a type or version that is not known here.
    Unknown {
        /// The number in front of the key.
        record_type: i16,
        /// The version of the value, when the type is known.
        value_version: Option<i16>,
    },
}

/// Why a record of a known type and version cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There is no room for a type or version.
    #[error("a {what} of less than two bytes")]
    Short {
        /// `key` or `value`.
        what: &'static str,
    },
    /// The key does not parse.
    #[error("the key of a {kind:?} record")]
    Key {
        /// Its type.
        kind: RecordType,
        /// What is wrong.
        source: DecodeError,
    },
    /// The value does not parse.
    #[error("version {version} of the value of a {kind:?} record")]
    Value {
        /// Its type.
        kind: RecordType,
        /// The value's version.
        version: i16,
        /// What is wrong.
        source: DecodeError,
    },
}

#[cfg(test)]
mod tests;
