//! DeleteRecords (key 21).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for DeleteRecords.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 21, versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsRequest<'a> {
    pub topics: Vec<DeleteRecordsTopic<'a>>,
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
    pub offset: i64,
}

/// Answers DeleteRecords.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 21, versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsResponse<'a> {
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
    pub low_watermark: i64,
    pub error_code: ErrorCode,
}
