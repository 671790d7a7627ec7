//! OffsetForLeaderEpoch (key 23).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for OffsetForLeaderEpoch.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 23, versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochRequest<'a> {
    #[wire(versions = "3+", ignorable, default = -2)]
    pub replica_id: i32,
    pub topics: Vec<OffsetForLeaderTopic<'a>>,
}

/// An element of [`OffsetForLeaderEpochRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetForLeaderTopic<'a> {
    pub topic: &'a str,
    pub partitions: Vec<OffsetForLeaderPartition>,
}

/// An element of [`OffsetForLeaderTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetForLeaderPartition {
    pub partition: i32,
    #[wire(versions = "2+", ignorable, default = -1)]
    pub current_leader_epoch: i32,
    pub leader_epoch: i32,
}

/// Answers OffsetForLeaderEpoch.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 23, versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochResponse<'a> {
    #[wire(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    pub topics: Vec<OffsetForLeaderTopicResult<'a>>,
}

/// An element of [`OffsetForLeaderEpochResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetForLeaderTopicResult<'a> {
    pub topic: &'a str,
    pub partitions: Vec<EpochEndOffset>,
}

/// An element of [`OffsetForLeaderTopicResult::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct EpochEndOffset {
    pub error_code: ErrorCode,
    pub partition: i32,
    #[wire(versions = "1+", ignorable, default = -1)]
    pub leader_epoch: i32,
    #[wire(default = -1)]
    pub end_offset: i64,
}
