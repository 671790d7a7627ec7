//! OffsetFetch (key 9, versions 1-10). Version 8 asks for several groups at once, 9 checks the member epoch
//! (KIP-848), 10 names topics by id.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Asks for a group's offsets.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 9, versions = "1-10", flexible = "6+")]
pub struct OffsetFetchRequest<'a> {
    #[wire(versions = "0-7")]
    pub group_id: &'a str,
    #[wire(versions = "0-7", nullable = "2-7")]
    pub topics: Option<Vec<OffsetFetchRequestTopic<'a>>>,
    #[wire(versions = "8+")]
    pub groups: Vec<OffsetFetchRequestGroup<'a>>,
    /// Answer UNSTABLE_OFFSET_COMMIT while a transaction's commit of these offsets is open (KIP-447).
    #[wire(versions = "7+")]
    pub require_stable: bool,
}

/// An element of [`OffsetFetchRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetFetchRequestTopic<'a> {
    #[wire(versions = "0-7")]
    pub name: &'a str,
    #[wire(versions = "0-7")]
    pub partition_indexes: Vec<i32>,
}

/// An element of [`OffsetFetchRequest::groups`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetFetchRequestGroup<'a> {
    #[wire(versions = "8+")]
    pub group_id: &'a str,
    /// The member's id; empty in the first request of a classic member.
    #[wire(versions = "9+", nullable = "9+", ignorable, default = null)]
    pub member_id: Option<&'a str>,
    #[wire(versions = "9+", ignorable, default = -1)]
    pub member_epoch: i32,
    #[wire(versions = "8+", nullable = "8+")]
    pub topics: Option<Vec<OffsetFetchRequestTopics<'a>>>,
}

/// An element of [`OffsetFetchRequestGroup::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetFetchRequestTopics<'a> {
    #[wire(versions = "8-9", ignorable)]
    pub name: &'a str,
    #[wire(versions = "10+", ignorable)]
    pub topic_id: TopicId,
    #[wire(versions = "8+")]
    pub partition_indexes: Vec<i32>,
}

/// One offset a partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 9, versions = "1-10", flexible = "6+")]
pub struct OffsetFetchResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    #[wire(versions = "0-7")]
    pub topics: Vec<OffsetFetchResponseTopic<'a>>,
    #[wire(versions = "2-7", ignorable)]
    pub error_code: ErrorCode,
    #[wire(versions = "8+")]
    pub groups: Vec<OffsetFetchResponseGroup<'a>>,
}

/// An element of [`OffsetFetchResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetFetchResponseTopic<'a> {
    #[wire(versions = "0-7")]
    pub name: &'a str,
    #[wire(versions = "0-7")]
    pub partitions: Vec<OffsetFetchResponsePartition<'a>>,
}

/// An element of [`OffsetFetchResponseTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetFetchResponsePartition<'a> {
    #[wire(versions = "0-7")]
    pub partition_index: i32,
    /// The next offset to read; -1 in an answer means that nothing is committed.
    #[wire(versions = "0-7")]
    pub committed_offset: i64,
    /// The leader epoch of the last record consumed; -1 when unknown.
    #[wire(versions = "5-7", ignorable, default = -1)]
    pub committed_leader_epoch: i32,
    #[wire(versions = "0-7", nullable = "0-7")]
    pub metadata: Option<&'a str>,
    #[wire(versions = "0-7")]
    pub error_code: ErrorCode,
}

/// An element of [`OffsetFetchResponse::groups`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetFetchResponseGroup<'a> {
    #[wire(versions = "8+")]
    pub group_id: &'a str,
    #[wire(versions = "8+")]
    pub topics: Vec<OffsetFetchResponseTopics<'a>>,
    #[wire(versions = "8+")]
    pub error_code: ErrorCode,
}

/// An element of [`OffsetFetchResponseGroup::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetFetchResponseTopics<'a> {
    #[wire(versions = "8-9", ignorable)]
    pub name: &'a str,
    #[wire(versions = "10+", ignorable)]
    pub topic_id: TopicId,
    #[wire(versions = "8+")]
    pub partitions: Vec<OffsetFetchResponsePartitions<'a>>,
}

/// An element of [`OffsetFetchResponseTopics::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetFetchResponsePartitions<'a> {
    #[wire(versions = "8+")]
    pub partition_index: i32,
    /// The next offset to read; -1 in an answer means that nothing is committed.
    #[wire(versions = "8+")]
    pub committed_offset: i64,
    /// The leader epoch of the last record consumed; -1 when unknown.
    #[wire(versions = "8+", ignorable, default = -1)]
    pub committed_leader_epoch: i32,
    #[wire(versions = "8+", nullable = "8+")]
    pub metadata: Option<&'a str>,
    #[wire(versions = "8+")]
    pub error_code: ErrorCode,
}
