//! DescribeProducers (key 61, versions 0). KIP-664.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks which producers wrote to partitions of late.
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

/// The producers of each partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 61, versions = "0", flexible = "0+")]
pub struct DescribeProducersResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
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
    /// The last sequence number written; -1 for none.
    #[wire(default = -1)]
    pub last_sequence: i32,
    /// Timestamp of the last batch in milliseconds; -1 for none.
    #[wire(default = -1)]
    pub last_timestamp: i64,
    /// Epoch of the transaction coordinator's own partition; -1 when unknown.
    pub coordinator_epoch: i32,
    /// First offset of the open transaction; -1 for none.
    #[wire(default = -1)]
    pub current_txn_start_offset: i64,
}
