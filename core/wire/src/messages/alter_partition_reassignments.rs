//! AlterPartitionReassignments (key 45, versions 0-1). KIP-455.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Moves partitions to other brokers.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 45, versions = "0-1", flexible = "0+")]
pub struct AlterPartitionReassignmentsRequest<'a> {
    /// How long the broker may take before it answers with REQUEST_TIMED_OUT.
    #[wire(default = 60_000)]
    pub timeout_ms: i32,
    /// Whether a partition may get more or fewer replicas than it has.
    #[wire(versions = "1+", default = true)]
    pub allow_replication_factor_change: bool,
    pub topics: Vec<ReassignableTopic<'a>>,
}

/// An element of [`AlterPartitionReassignmentsRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ReassignableTopic<'a> {
    pub name: &'a str,
    pub partitions: Vec<ReassignablePartition>,
}

/// An element of [`ReassignableTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ReassignablePartition {
    pub partition_index: i32,
    /// Where the partition should be; null cancels what is under way.
    #[wire(nullable = "0+", default = null)]
    pub replicas: Option<Vec<i32>>,
}

/// One result a partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 45, versions = "0-1", flexible = "0+")]
pub struct AlterPartitionReassignmentsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    /// Whether a partition may get more or fewer replicas than it has.
    #[wire(versions = "1+", ignorable, default = true)]
    pub allow_replication_factor_change: bool,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    pub responses: Vec<ReassignableTopicResponse<'a>>,
}

/// An element of [`AlterPartitionReassignmentsResponse::responses`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ReassignableTopicResponse<'a> {
    pub name: &'a str,
    pub partitions: Vec<ReassignablePartitionResponse<'a>>,
}

/// An element of [`ReassignableTopicResponse::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ReassignablePartitionResponse<'a> {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
}
