//! CreatePartitions (key 37).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for CreatePartitions.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 37, versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsRequest<'a> {
    pub topics: Vec<CreatePartitionsTopic<'a>>,
    pub timeout_ms: i32,
    pub validate_only: bool,
}

/// An element of [`CreatePartitionsRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct CreatePartitionsTopic<'a> {
    pub name: &'a str,
    pub count: i32,
    #[wire(nullable = "0+")]
    pub assignments: Option<Vec<CreatePartitionsAssignment>>,
}

/// An element of [`CreatePartitionsTopic::assignments`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct CreatePartitionsAssignment {
    pub broker_ids: Vec<i32>,
}

/// Answers CreatePartitions.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 37, versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsResponse<'a> {
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
