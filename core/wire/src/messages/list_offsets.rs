//! ListOffsets (key 2).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for ListOffsets.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 2, versions = "1-11", flexible = "6+")]
pub struct ListOffsetsRequest<'a> {
    pub replica_id: i32,
    #[wire(versions = "2+")]
    pub isolation_level: i8,
    pub topics: Vec<ListOffsetsTopic<'a>>,
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
    #[wire(versions = "4+", ignorable, default = -1)]
    pub current_leader_epoch: i32,
    pub timestamp: i64,
}

/// Answers ListOffsets.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 2, versions = "1-11", flexible = "6+")]
pub struct ListOffsetsResponse<'a> {
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
    #[wire(versions = "1+", default = -1)]
    pub timestamp: i64,
    #[wire(versions = "1+", default = -1)]
    pub offset: i64,
    #[wire(versions = "4+", default = -1)]
    pub leader_epoch: i32,
}
