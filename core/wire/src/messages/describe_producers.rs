//! DescribeProducers (key 61).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for DescribeProducers.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 61, versions = "0", flexible = "0+")]
pub struct DescribeProducersRequest<'a> {
    pub topics: Vec<TopicRequest<'a>>,
}

/// An element of [`DescribeProducersRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicRequest<'a> {
    pub name: &'a str,
    pub partition_indexes: Vec<i32>,
}

/// Answers DescribeProducers.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 61, versions = "0", flexible = "0+")]
pub struct DescribeProducersResponse<'a> {
    pub throttle_time_ms: i32,
    pub topics: Vec<TopicResponse<'a>>,
}

/// An element of [`DescribeProducersResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicResponse<'a> {
    pub name: &'a str,
    pub partitions: Vec<PartitionResponse<'a>>,
}

/// An element of [`TopicResponse::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct PartitionResponse<'a> {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+", default = null)]
    pub error_message: Option<&'a str>,
    pub active_producers: Vec<ProducerState>,
}

/// An element of [`PartitionResponse::active_producers`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ProducerState {
    pub producer_id: i64,
    pub producer_epoch: i32,
    #[wire(default = -1)]
    pub last_sequence: i32,
    #[wire(default = -1)]
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    #[wire(default = -1)]
    pub current_txn_start_offset: i64,
}
