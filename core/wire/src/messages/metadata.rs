//! Metadata (key 3, versions 0-13). Version 4 can forbid auto-creation, 10 adds topic ids, 12 asks by them,
//! 13 a top-level error.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Asks who leads what, and where.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 3, versions = "0-13", flexible = "9+")]
pub struct MetadataRequest<'a> {
    /// Null asks for all topics, an empty array for none. In version 0 an empty array asks for all.
    #[wire(nullable = "1+")]
    pub topics: Option<Vec<MetadataRequestTopic<'a>>>,
    /// Create the topics asked for by name that do not exist.
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

/// The cluster as the answering broker sees it.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 3, versions = "0-13", flexible = "9+")]
pub struct MetadataResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    pub brokers: Vec<MetadataResponseBroker<'a>>,
    /// The id of this cluster.
    #[wire(versions = "2+", nullable = "2+", ignorable, default = null)]
    pub cluster_id: Option<&'a str>,
    /// The controller's node; -1 when unknown.
    #[wire(versions = "1+", ignorable, default = -1)]
    pub controller_id: i32,
    pub topics: Vec<MetadataResponseTopic<'a>>,
    /// Bit set of the operations allowed on the cluster; `i32::MIN` when not asked for.
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
    /// Bit set of the operations allowed on the topic; `i32::MIN` when not asked for.
    #[wire(versions = "8+", default = i32::MIN)]
    pub topic_authorized_operations: i32,
}

/// An element of [`MetadataResponseTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct MetadataResponsePartition {
    pub error_code: ErrorCode,
    pub partition_index: i32,
    /// The leader's node; -1 when there is none.
    pub leader_id: i32,
    /// The leader's epoch; -1 when unknown.
    #[wire(versions = "7+", ignorable, default = -1)]
    pub leader_epoch: i32,
    pub replica_nodes: Vec<i32>,
    /// The replicas in sync with the leader.
    pub isr_nodes: Vec<i32>,
    /// The replicas that are down.
    #[wire(versions = "5+", ignorable)]
    pub offline_replicas: Vec<i32>,
}
