//! CreateTopics (key 19).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Asks for CreateTopics.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 19, versions = "2-7", flexible = "5+")]
pub struct CreateTopicsRequest<'a> {
    pub topics: Vec<CreatableTopic<'a>>,
    #[wire(default = 60_000, name = "timeoutMs")]
    pub timeout_ms: i32,
    #[wire(versions = "1+", name = "validateOnly")]
    pub validate_only: bool,
}

/// An element of [`CreateTopicsRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct CreatableTopic<'a> {
    pub name: &'a str,
    pub num_partitions: i32,
    pub replication_factor: i16,
    pub assignments: Vec<CreatableReplicaAssignment>,
    pub configs: Vec<CreatableTopicConfig<'a>>,
}

/// An element of [`CreatableTopic::assignments`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct CreatableReplicaAssignment {
    pub partition_index: i32,
    pub broker_ids: Vec<i32>,
}

/// An element of [`CreatableTopic::configs`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct CreatableTopicConfig<'a> {
    pub name: &'a str,
    #[wire(nullable = "0+")]
    pub value: Option<&'a str>,
}

/// Answers CreateTopics.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 19, versions = "2-7", flexible = "5+")]
pub struct CreateTopicsResponse<'a> {
    #[wire(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    pub topics: Vec<CreatableTopicResult<'a>>,
}

/// An element of [`CreateTopicsResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct CreatableTopicResult<'a> {
    pub name: &'a str,
    #[wire(versions = "7+", ignorable)]
    pub topic_id: TopicId,
    pub error_code: ErrorCode,
    #[wire(versions = "1+", nullable = "0+", ignorable)]
    pub error_message: Option<&'a str>,
    #[wire(versions = "5+", tag = 0, ignorable)]
    pub topic_config_error_code: ErrorCode,
    #[wire(versions = "5+", ignorable, default = -1)]
    pub num_partitions: i32,
    #[wire(versions = "5+", ignorable, default = -1)]
    pub replication_factor: i16,
    #[wire(versions = "5+", nullable = "5+", ignorable)]
    pub configs: Option<Vec<CreatableTopicConfigs<'a>>>,
}

/// An element of [`CreatableTopicResult::configs`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct CreatableTopicConfigs<'a> {
    #[wire(versions = "5+")]
    pub name: &'a str,
    #[wire(versions = "5+", nullable = "5+")]
    pub value: Option<&'a str>,
    #[wire(versions = "5+")]
    pub read_only: bool,
    #[wire(versions = "5+", ignorable, default = -1)]
    pub config_source: i8,
    #[wire(versions = "5+")]
    pub is_sensitive: bool,
}
