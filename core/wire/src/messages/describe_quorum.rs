//! DescribeQuorum (key 55, versions 0-2). KIP-595; version 1 adds times (KIP-836), 2 directories and
//! listeners (KIP-853).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Asks about the metadata quorum.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 55, versions = "0-2", flexible = "0+")]
pub struct DescribeQuorumRequest<'a> {
    pub topics: Vec<TopicData<'a>>,
}

/// An element of [`DescribeQuorumRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicData<'a> {
    pub topic_name: &'a str,
    pub partitions: Vec<PartitionData>,
}

/// An element of [`TopicData::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct PartitionData {
    pub partition_index: i32,
}

/// Leader, voters and observers.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 55, versions = "0-2", flexible = "0+")]
pub struct DescribeQuorumResponse<'a> {
    pub error_code: ErrorCode,
    #[wire(versions = "2+", nullable = "2+", ignorable)]
    pub error_message: Option<&'a str>,
    pub topics: Vec<TopicQuorum<'a>>,
    #[wire(versions = "2+")]
    pub nodes: Vec<Node<'a>>,
}

/// An element of [`DescribeQuorumResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(name = "TopicData")]
pub struct TopicQuorum<'a> {
    pub topic_name: &'a str,
    pub partitions: Vec<PartitionQuorum<'a>>,
}

/// An element of [`TopicQuorum::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(name = "PartitionData")]
pub struct PartitionQuorum<'a> {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    #[wire(versions = "2+", nullable = "2+", ignorable)]
    pub error_message: Option<&'a str>,
    /// The leader's node; -1 when there is none.
    pub leader_id: i32,
    /// The leader's epoch; -1 when unknown.
    pub leader_epoch: i32,
    /// Exclusive end of what consumers may read.
    pub high_watermark: i64,
    pub current_voters: Vec<ReplicaState>,
    pub observers: Vec<ReplicaState>,
}

/// An element of [`PartitionQuorum::current_voters`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ReplicaState {
    /// The follower's node; -1 for a consumer.
    pub replica_id: i32,
    /// The log directory of the follower (KIP-853).
    #[wire(versions = "2+")]
    pub replica_directory_id: TopicId,
    pub log_end_offset: i64,
    /// When it last fetched, in milliseconds of the leader's clock; -1 when unknown.
    #[wire(versions = "1+", ignorable, default = -1)]
    pub last_fetch_timestamp: i64,
    /// When it last had everything, in milliseconds of the leader's clock; -1 when unknown.
    #[wire(versions = "1+", ignorable, default = -1)]
    pub last_caught_up_timestamp: i64,
}

/// An element of [`DescribeQuorumResponse::nodes`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct Node<'a> {
    #[wire(versions = "2+")]
    pub node_id: i32,
    #[wire(versions = "2+")]
    pub listeners: Vec<Listener<'a>>,
}

/// An element of [`Node::listeners`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct Listener<'a> {
    #[wire(versions = "2+")]
    pub name: &'a str,
    #[wire(versions = "2+")]
    pub host: &'a str,
    #[wire(versions = "2+")]
    pub port: u16,
}
