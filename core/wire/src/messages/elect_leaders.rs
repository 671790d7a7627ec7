//! ElectLeaders (key 43).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for ElectLeaders.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 43, versions = "0-2", flexible = "2+")]
pub struct ElectLeadersRequest<'a> {
    #[wire(versions = "1+")]
    pub election_type: i8,
    #[wire(nullable = "0+")]
    pub topic_partitions: Option<Vec<TopicPartitions<'a>>>,
    #[wire(default = 60_000)]
    pub timeout_ms: i32,
}

/// An element of [`ElectLeadersRequest::topic_partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicPartitions<'a> {
    pub topic: &'a str,
    pub partitions: Vec<i32>,
}

/// Answers ElectLeaders.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 43, versions = "0-2", flexible = "2+")]
pub struct ElectLeadersResponse<'a> {
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
