//! CreatePartitions (key 37, versions 0-3).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Adds partitions to topics.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 37, versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsRequest<'a> {
    pub topics: Vec<CreatePartitionsTopic<'a>>,
    /// How long the broker may take before it answers with REQUEST_TIMED_OUT.
    pub timeout_ms: i32,
    /// Check, but change nothing.
    pub validate_only: bool,
}

/// An element of [`CreatePartitionsRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct CreatePartitionsTopic<'a> {
    pub name: &'a str,
    /// Partitions it should have in all.
    pub count: i32,
    /// The brokers of each new partition; null to let the broker choose.
    #[wire(nullable = "0+")]
    pub assignments: Option<Vec<CreatePartitionsAssignment>>,
}

/// An element of [`CreatePartitionsTopic::assignments`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct CreatePartitionsAssignment {
    pub broker_ids: Vec<i32>,
}

/// One result a topic.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 37, versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub results: Vec<CreatePartitionsTopicResult<'a>>,
}

/// An element of [`CreatePartitionsResponse::results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct CreatePartitionsTopicResult<'a> {
    pub name: &'a str,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+", default = null)]
    pub error_message: Option<&'a str>,
}
