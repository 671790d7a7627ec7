//! ListOffsets (key 2, versions 1-11). Version 4 adds leader epochs; the special timestamps grow with the
//! versions 7 to 11.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for offsets by timestamp.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 2, versions = "1-11", flexible = "6+")]
pub struct ListOffsetsRequest<'a> {
    /// The follower's node; -1 for a consumer.
    pub replica_id: i32,
    /// 0: up to the high watermark; 1: up to the last stable offset, with the aborted transactions named.
    #[wire(versions = "2+")]
    pub isolation_level: i8,
    pub topics: Vec<ListOffsetsTopic<'a>>,
    /// How long the broker may read from remote storage (KIP-1075).
    #[wire(versions = "10+", ignorable)]
    pub timeout_ms: i32,
}

/// An element of [`ListOffsetsRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ListOffsetsTopic<'a> {
    pub name: &'a str,
    pub partitions: Vec<ListOffsetsPartition>,
}

/// An element of [`ListOffsetsTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ListOffsetsPartition {
    pub partition_index: i32,
    /// The leader epoch that the client knows, so that either side notices stale metadata; -1 to skip the
    /// check.
    #[wire(versions = "4+", ignorable, default = -1)]
    pub current_leader_epoch: i32,
    /// Milliseconds, for the first record at or after it. Also -1 for the end, -2 for the start, -3 for the
    /// record of the largest timestamp (KIP-734), -4 for the start on local disk (KIP-405), -5 for the last
    /// tiered offset (KIP-1005), -6 for the first that is not tiered (KIP-1023).
    pub timestamp: i64,
}

/// One offset a partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 2, versions = "1-11", flexible = "6+")]
pub struct ListOffsetsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    pub topics: Vec<ListOffsetsTopicResponse<'a>>,
}

/// An element of [`ListOffsetsResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ListOffsetsTopicResponse<'a> {
    pub name: &'a str,
    pub partitions: Vec<ListOffsetsPartitionResponse>,
}

/// An element of [`ListOffsetsTopicResponse::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ListOffsetsPartitionResponse {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    /// The record's timestamp in milliseconds; -1 when nothing was found.
    #[wire(versions = "1+", default = -1)]
    pub timestamp: i64,
    /// The offset found; -1 when nothing was.
    #[wire(versions = "1+", default = -1)]
    pub offset: i64,
    /// The epoch in which the record at that offset was written; -1 when unknown.
    #[wire(versions = "4+", default = -1)]
    pub leader_epoch: i32,
}
