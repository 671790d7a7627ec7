//! CreateTopics (key 19, versions 2-7). Version 5 tells the settings of the new topic (KIP-525), 7 its id.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Creates topics.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 19, versions = "2-7", flexible = "5+")]
pub struct CreateTopicsRequest<'a> {
    pub topics: Vec<CreatableTopic<'a>>,
    /// How long the broker may take before it answers with REQUEST_TIMED_OUT.
    #[wire(default = 60_000, name = "timeoutMs")]
    pub timeout_ms: i32,
    /// Check, but change nothing.
    #[wire(versions = "1+", name = "validateOnly")]
    pub validate_only: bool,
}

/// An element of [`CreateTopicsRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct CreatableTopic<'a> {
    pub name: &'a str,
    /// How many partitions; -1 for the broker's default, or when assignments are given.
    pub num_partitions: i32,
    /// How many replicas; -1 for the broker's default, or when assignments are given.
    pub replication_factor: i16,
    /// Which brokers hold which partition; empty to let the broker choose.
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

/// One result a topic.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 19, versions = "2-7", flexible = "5+")]
pub struct CreateTopicsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
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
    /// Why the settings are not told, for a topic that was created.
    #[wire(versions = "5+", tag = 0, ignorable)]
    pub topic_config_error_code: ErrorCode,
    /// How many partitions it has; -1 when not told.
    #[wire(versions = "5+", ignorable, default = -1)]
    pub num_partitions: i32,
    /// How many replicas each has; -1 when not told.
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
    /// True when no request can change it.
    #[wire(versions = "5+")]
    pub read_only: bool,
    /// Where the value comes from: 1 topic, 2 broker, 3 all brokers, 4 broker's file, 5 built in, 6 broker
    /// logger, 7 client metrics, 8 group.
    #[wire(versions = "5+", ignorable, default = -1)]
    pub config_source: i8,
    /// True when the value is withheld.
    #[wire(versions = "5+")]
    pub is_sensitive: bool,
}
