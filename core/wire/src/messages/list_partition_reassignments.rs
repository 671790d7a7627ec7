//! ListPartitionReassignments (key 46, versions 0). KIP-455.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks what is being moved.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 46, versions = "0", flexible = "0+")]
pub struct ListPartitionReassignmentsRequest<'a> {
    /// How long the broker may take before it answers with REQUEST_TIMED_OUT.
    #[wire(default = 60_000)]
    pub timeout_ms: i32,
    /// Null for every reassignment under way.
    #[wire(nullable = "0+", default = null)]
    pub topics: Option<Vec<ListPartitionReassignmentsTopics<'a>>>,
}

/// An element of [`ListPartitionReassignmentsRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ListPartitionReassignmentsTopics<'a> {
    pub name: &'a str,
    pub partition_indexes: Vec<i32>,
}

/// The moves under way.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 46, versions = "0", flexible = "0+")]
pub struct ListPartitionReassignmentsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    pub topics: Vec<OngoingTopicReassignment<'a>>,
}

/// An element of [`ListPartitionReassignmentsResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OngoingTopicReassignment<'a> {
    pub name: &'a str,
    pub partitions: Vec<OngoingPartitionReassignment>,
}

/// An element of [`OngoingTopicReassignment::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct OngoingPartitionReassignment {
    pub partition_index: i32,
    pub replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    pub removing_replicas: Vec<i32>,
}
