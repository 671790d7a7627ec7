//! Metadata (key 3).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Asks for Metadata.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 3, versions = "0-13", flexible = "9+")]
pub struct MetadataRequest<'a> {
    #[wire(nullable = "1+")]
    pub topics: Option<Vec<MetadataRequestTopic<'a>>>,
    #[wire(versions = "4+", default = true)]
    pub allow_auto_topic_creation: bool,
    #[wire(versions = "8-10")]
    pub include_cluster_authorized_operations: bool,
    #[wire(versions = "8+")]
    pub include_topic_authorized_operations: bool,
}

/// An element of [`MetadataRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct MetadataRequestTopic<'a> {
    #[wire(versions = "10+", ignorable)]
    pub topic_id: TopicId,
    #[wire(nullable = "10+")]
    pub name: Option<&'a str>,
}

/// Answers Metadata.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 3, versions = "0-13", flexible = "9+")]
pub struct MetadataResponse<'a> {
    #[wire(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    pub brokers: Vec<MetadataResponseBroker<'a>>,
    #[wire(versions = "2+", nullable = "2+", ignorable, default = null)]
    pub cluster_id: Option<&'a str>,
    #[wire(versions = "1+", ignorable, default = -1)]
    pub controller_id: i32,
    pub topics: Vec<MetadataResponseTopic<'a>>,
    #[wire(versions = "8-10", default = i32::MIN)]
    pub cluster_authorized_operations: i32,
    #[wire(versions = "13+", ignorable)]
    pub error_code: ErrorCode,
}

/// An element of [`MetadataResponse::brokers`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct MetadataResponseBroker<'a> {
    pub node_id: i32,
    pub host: &'a str,
    pub port: i32,
    #[wire(versions = "1+", nullable = "1+", ignorable, default = null)]
    pub rack: Option<&'a str>,
}

/// An element of [`MetadataResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct MetadataResponseTopic<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "12+")]
    pub name: Option<&'a str>,
    #[wire(versions = "10+", ignorable)]
    pub topic_id: TopicId,
    #[wire(versions = "1+", ignorable)]
    pub is_internal: bool,
    pub partitions: Vec<MetadataResponsePartition>,
    #[wire(versions = "8+", default = i32::MIN)]
    pub topic_authorized_operations: i32,
}

/// An element of [`MetadataResponseTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct MetadataResponsePartition {
    pub error_code: ErrorCode,
    pub partition_index: i32,
    pub leader_id: i32,
    #[wire(versions = "7+", ignorable, default = -1)]
    pub leader_epoch: i32,
    pub replica_nodes: Vec<i32>,
    pub isr_nodes: Vec<i32>,
    #[wire(versions = "5+", ignorable)]
    pub offline_replicas: Vec<i32>,
}
