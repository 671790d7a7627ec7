//! DeleteRecords (key 21, versions 0-2).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Moves the log start offset up.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 21, versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsRequest<'a> {
    pub topics: Vec<DeleteRecordsTopic<'a>>,
    /// How long the broker may take before it answers with REQUEST_TIMED_OUT.
    pub timeout_ms: i32,
}

/// An element of [`DeleteRecordsRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DeleteRecordsTopic<'a> {
    pub name: &'a str,
    pub partitions: Vec<DeleteRecordsPartition>,
}

/// An element of [`DeleteRecordsTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DeleteRecordsPartition {
    pub partition_index: i32,
    /// Delete everything before this; -1 for everything up to the high watermark.
    pub offset: i64,
}

/// The new log start of each partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 21, versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub topics: Vec<DeleteRecordsTopicResult<'a>>,
}

/// An element of [`DeleteRecordsResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DeleteRecordsTopicResult<'a> {
    pub name: &'a str,
    pub partitions: Vec<DeleteRecordsPartitionResult>,
}

/// An element of [`DeleteRecordsTopicResult::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DeleteRecordsPartitionResult {
    pub partition_index: i32,
    /// The log start offset after the deletion; -1 on an error.
    pub low_watermark: i64,
    pub error_code: ErrorCode,
}
