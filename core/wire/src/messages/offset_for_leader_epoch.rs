//! OffsetForLeaderEpoch (key 23, versions 2-4).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks where leader epochs end (KIP-101, KIP-320).
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 23, versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochRequest<'a> {
    /// The follower's node; -1 for a consumer.
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
    /// The leader epoch that the client knows, so that either side notices stale metadata; -1 to skip the
    /// check.
    #[wire(versions = "2+", ignorable, default = -1)]
    pub current_leader_epoch: i32,
    /// The epoch whose end is asked for.
    pub leader_epoch: i32,
}

/// The end of each epoch.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 23, versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
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
    /// The largest epoch that is not above the one asked for; -1 when there is none.
    #[wire(versions = "1+", ignorable, default = -1)]
    pub leader_epoch: i32,
    /// Where that epoch ends, exclusive; -1 when unknown.
    #[wire(default = -1)]
    pub end_offset: i64,
}
