//! TxnOffsetCommit (key 28).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Asks for TxnOffsetCommit.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 28, versions = "0-6", flexible = "3+")]
pub struct TxnOffsetCommitRequest<'a> {
    pub transactional_id: &'a str,
    pub group_id: &'a str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    #[wire(versions = "3+", default = -1)]
    pub generation_id_or_member_epoch: i32,
    #[wire(versions = "3+")]
    pub member_id: &'a str,
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
    pub committed_offset: i64,
    #[wire(versions = "2+", ignorable, default = -1)]
    pub committed_leader_epoch: i32,
    #[wire(nullable = "0+")]
    pub committed_metadata: Option<&'a str>,
}

/// Answers TxnOffsetCommit.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 28, versions = "0-6", flexible = "3+")]
pub struct TxnOffsetCommitResponse<'a> {
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
