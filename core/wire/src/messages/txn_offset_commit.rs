//! TxnOffsetCommit (key 28, versions 0-6). Version 3 names the group's member (KIP-447), 5 needs no
//! AddOffsetsToTxn (KIP-890), 6 names topics by id (KIP-1319).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Stores a group's offsets within a transaction.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 28, versions = "0-6", flexible = "3+")]
pub struct TxnOffsetCommitRequest<'a> {
    /// The name that a transactional producer keeps across restarts.
    pub transactional_id: &'a str,
    pub group_id: &'a str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// The generation (classic group) or the member's epoch (KIP-848); -1 for a consumer without a group
    /// protocol.
    #[wire(versions = "3+", default = -1)]
    pub generation_id_or_member_epoch: i32,
    /// The member's id; empty in the first request of a classic member.
    #[wire(versions = "3+")]
    pub member_id: &'a str,
    /// The name of a static member (KIP-345).
    #[wire(versions = "3+", nullable = "3+", default = null)]
    pub group_instance_id: Option<&'a str>,
    pub topics: Vec<TxnOffsetCommitRequestTopic<'a>>,
}

/// An element of [`TxnOffsetCommitRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TxnOffsetCommitRequestTopic<'a> {
    #[wire(versions = "0-5", ignorable)]
    pub name: &'a str,
    #[wire(versions = "6+", ignorable)]
    pub topic_id: TopicId,
    pub partitions: Vec<TxnOffsetCommitRequestPartition<'a>>,
}

/// An element of [`TxnOffsetCommitRequestTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TxnOffsetCommitRequestPartition<'a> {
    pub partition_index: i32,
    /// The next offset to read; -1 in an answer means that nothing is committed.
    pub committed_offset: i64,
    /// The leader epoch of the last record consumed; -1 when unknown.
    #[wire(versions = "2+", ignorable, default = -1)]
    pub committed_leader_epoch: i32,
    /// Text that the consumer keeps with the offset.
    #[wire(nullable = "0+")]
    pub committed_metadata: Option<&'a str>,
}

/// One result a partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 28, versions = "0-6", flexible = "3+")]
pub struct TxnOffsetCommitResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub topics: Vec<TxnOffsetCommitResponseTopic<'a>>,
}

/// An element of [`TxnOffsetCommitResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TxnOffsetCommitResponseTopic<'a> {
    #[wire(versions = "0-5", ignorable)]
    pub name: &'a str,
    #[wire(versions = "6+", ignorable)]
    pub topic_id: TopicId,
    pub partitions: Vec<TxnOffsetCommitResponsePartition>,
}

/// An element of [`TxnOffsetCommitResponseTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TxnOffsetCommitResponsePartition {
    pub partition_index: i32,
    pub error_code: ErrorCode,
}
