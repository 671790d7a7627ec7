//! OffsetCommit (key 8, versions 2-10). Version 9 takes member epochs (KIP-848), 10 topic ids.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Stores a group's offsets.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 8, versions = "2-10", flexible = "8+")]
pub struct OffsetCommitRequest<'a> {
    pub group_id: &'a str,
    /// The generation (classic group) or the member's epoch (KIP-848); -1 for a consumer without a group
    /// protocol.
    #[wire(versions = "1+", ignorable, default = -1)]
    pub generation_id_or_member_epoch: i32,
    /// The member's id; empty in the first request of a classic member.
    #[wire(versions = "1+", ignorable)]
    pub member_id: &'a str,
    /// The name of a static member (KIP-345).
    #[wire(versions = "7+", nullable = "7+", default = null)]
    pub group_instance_id: Option<&'a str>,
    /// How long to keep the offset; -1 for the broker's setting.
    #[wire(versions = "2-4", ignorable, default = -1)]
    pub retention_time_ms: i64,
    pub topics: Vec<OffsetCommitRequestTopic<'a>>,
}

/// An element of [`OffsetCommitRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetCommitRequestTopic<'a> {
    #[wire(versions = "0-9", ignorable)]
    pub name: &'a str,
    #[wire(versions = "10+", ignorable)]
    pub topic_id: TopicId,
    pub partitions: Vec<OffsetCommitRequestPartition<'a>>,
}

/// An element of [`OffsetCommitRequestTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetCommitRequestPartition<'a> {
    pub partition_index: i32,
    /// The next offset to read; -1 in an answer means that nothing is committed.
    pub committed_offset: i64,
    /// The leader epoch of the last record consumed; -1 when unknown.
    #[wire(versions = "6+", ignorable, default = -1)]
    pub committed_leader_epoch: i32,
    /// Text that the consumer keeps with the offset.
    #[wire(nullable = "0+")]
    pub committed_metadata: Option<&'a str>,
}

/// One result a partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 8, versions = "2-10", flexible = "8+")]
pub struct OffsetCommitResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    pub topics: Vec<OffsetCommitResponseTopic<'a>>,
}

/// An element of [`OffsetCommitResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetCommitResponseTopic<'a> {
    #[wire(versions = "0-9", ignorable)]
    pub name: &'a str,
    #[wire(versions = "10+", ignorable)]
    pub topic_id: TopicId,
    pub partitions: Vec<OffsetCommitResponsePartition>,
}

/// An element of [`OffsetCommitResponseTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetCommitResponsePartition {
    pub partition_index: i32,
    pub error_code: ErrorCode,
}
