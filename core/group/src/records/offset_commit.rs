//! Committed offsets: key type 1 (and 0, the oldest form), value versions 0 to 4.
//!
//! Kafka writes version 1 for a commit with an expiry of its own (OffsetCommit requests below version 5) and version 4
//! otherwise.

use buslane_wire::ids::TopicId;
use buslane_wire_derive::Wire;

use super::RecordType;
use super::schema::{RecordKey, RecordValue, versions};

/// Key of a committed offset.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetCommitKey<'a> {
    /// The group's id; may be empty.
    pub group: &'a str,
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's index.
    pub partition: i32,
}

impl RecordKey for OffsetCommitKey<'_> {
    const TYPE: RecordType = RecordType::OffsetCommit;
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetCommitValue<'a> {
    /// The next offset to read.
    pub offset: i64,
    /// Epoch of the last record consumed; -1 when unknown.
    #[wire(versions = "3+", ignorable, default = -1)]
    pub leader_epoch: i32,
    /// Text of the consumer's.
    pub metadata: &'a str,
    /// When it was committed, in milliseconds.
    pub commit_timestamp: i64,
    /// When it expires, in milliseconds; -1 for the broker's retention.
    #[wire(versions = "1", ignorable, default = -1)]
    pub expire_timestamp: i64,
    /// The topic's id; zero when unknown.
    #[wire(versions = "4+", tag = 0, ignorable)]
    pub topic_id: TopicId,
}

impl RecordValue for OffsetCommitValue<'_> {
    const VERSIONS: buslane_wire::schema::Versions = versions(0, 4);
    const FLEXIBLE_FROM: i16 = 4;
}

/// Key of a committed offset as Kafka 0.8 wrote it. Read, never written.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct LegacyOffsetCommitKey<'a> {
    /// The group's id.
    pub group: &'a str,
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's index.
    pub partition: i32,
}

impl RecordKey for LegacyOffsetCommitKey<'_> {
    const TYPE: RecordType = RecordType::LegacyOffsetCommit;
}

/// A committed offset as Kafka 0.8 wrote it.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct LegacyOffsetCommitValue<'a> {
    /// The next offset to read.
    pub offset: i64,
    /// Text of the consumer's.
    pub metadata: &'a str,
    /// When it was committed, in milliseconds.
    pub commit_timestamp: i64,
}

impl RecordValue for LegacyOffsetCommitValue<'_> {
    const VERSIONS: buslane_wire::schema::Versions = versions(0, 0);
    const FLEXIBLE_FROM: i16 = i16::MAX;
}

impl<'a> From<LegacyOffsetCommitKey<'a>> for OffsetCommitKey<'a> {
    fn from(key: LegacyOffsetCommitKey<'a>) -> Self {
        OffsetCommitKey { group: key.group, topic: key.topic, partition: key.partition }
    }
}

impl<'a> From<LegacyOffsetCommitValue<'a>> for OffsetCommitValue<'a> {
    fn from(value: LegacyOffsetCommitValue<'a>) -> Self {
        OffsetCommitValue {
            offset: value.offset,
            metadata: value.metadata,
            commit_timestamp: value.commit_timestamp,
            ..OffsetCommitValue::default()
        }
    }
}
