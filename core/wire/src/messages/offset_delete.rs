//! OffsetDelete (key 47, versions 0). KIP-496.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Deletes a group's offsets.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 47, versions = "0", flexible = "none")]
pub struct OffsetDeleteRequest<'a> {
    pub group_id: &'a str,
    pub topics: Vec<OffsetDeleteRequestTopic<'a>>,
}

/// An element of [`OffsetDeleteRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetDeleteRequestTopic<'a> {
    pub name: &'a str,
    pub partitions: Vec<OffsetDeleteRequestPartition>,
}

/// An element of [`OffsetDeleteRequestTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetDeleteRequestPartition {
    pub partition_index: i32,
}

/// One result a partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 47, versions = "0", flexible = "none")]
pub struct OffsetDeleteResponse<'a> {
    pub error_code: ErrorCode,
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(ignorable)]
    pub throttle_time_ms: i32,
    pub topics: Vec<OffsetDeleteResponseTopic<'a>>,
}

/// An element of [`OffsetDeleteResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetDeleteResponseTopic<'a> {
    pub name: &'a str,
    pub partitions: Vec<OffsetDeleteResponsePartition>,
}

/// An element of [`OffsetDeleteResponseTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OffsetDeleteResponsePartition {
    pub partition_index: i32,
    pub error_code: ErrorCode,
}
