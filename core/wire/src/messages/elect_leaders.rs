//! ElectLeaders (key 43, versions 0-2). Version 1 adds unclean elections.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Elects leaders.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 43, versions = "0-2", flexible = "2+")]
pub struct ElectLeadersRequest<'a> {
    /// 0: the preferred replica; 1: any live replica, at the price of a loss.
    #[wire(versions = "1+")]
    pub election_type: i8,
    /// Null for every partition.
    #[wire(nullable = "0+")]
    pub topic_partitions: Option<Vec<TopicPartitions<'a>>>,
    /// How long the broker may take before it answers with REQUEST_TIMED_OUT.
    #[wire(default = 60_000)]
    pub timeout_ms: i32,
}

/// An element of [`ElectLeadersRequest::topic_partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicPartitions<'a> {
    pub topic: &'a str,
    pub partitions: Vec<i32>,
}

/// One result a partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 43, versions = "0-2", flexible = "2+")]
pub struct ElectLeadersResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    #[wire(versions = "1+")]
    pub error_code: ErrorCode,
    pub replica_election_results: Vec<ReplicaElectionResult<'a>>,
}

/// An element of [`ElectLeadersResponse::replica_election_results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ReplicaElectionResult<'a> {
    pub topic: &'a str,
    pub partition_result: Vec<PartitionResult<'a>>,
}

/// An element of [`ReplicaElectionResult::partition_result`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct PartitionResult<'a> {
    pub partition_id: i32,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
}
