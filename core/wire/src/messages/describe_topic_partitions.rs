//! DescribeTopicPartitions (key 75, versions 0). KIP-966.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Asks about topics page by page.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 75, versions = "0", flexible = "0+")]
pub struct DescribeTopicPartitionsRequest<'a> {
    pub topics: Vec<TopicRequest<'a>>,
    /// Most partitions in the answer.
    #[wire(default = 2_000)]
    pub response_partition_limit: i32,
    /// Where to begin; null for the start.
    #[wire(nullable = "0+", default = null)]
    pub cursor: Option<Cursor<'a>>,
}

/// An element of [`DescribeTopicPartitionsRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicRequest<'a> {
    pub name: &'a str,
}

/// The value of [`DescribeTopicPartitionsRequest::cursor`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct Cursor<'a> {
    pub topic_name: &'a str,
    pub partition_index: i32,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 75, versions = "0", flexible = "0+")]
pub struct DescribeTopicPartitionsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(ignorable)]
    pub throttle_time_ms: i32,
    pub topics: Vec<DescribeTopicPartitionsResponseTopic<'a>>,
    /// Where the next request should begin; null when this was all.
    #[wire(nullable = "0+", default = null)]
    pub next_cursor: Option<Cursor<'a>>,
}

/// An element of [`DescribeTopicPartitionsResponse::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeTopicPartitionsResponseTopic<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub name: Option<&'a str>,
    #[wire(ignorable)]
    pub topic_id: TopicId,
    #[wire(ignorable)]
    pub is_internal: bool,
    pub partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    /// Bit set of the operations allowed on the topic; `i32::MIN` when not asked for.
    #[wire(default = i32::MIN)]
    pub topic_authorized_operations: i32,
}

/// An element of [`DescribeTopicPartitionsResponseTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeTopicPartitionsResponsePartition {
    pub error_code: ErrorCode,
    pub partition_index: i32,
    /// The leader's node; -1 when there is none.
    pub leader_id: i32,
    /// The leader's epoch; -1 when unknown.
    #[wire(ignorable, default = -1)]
    pub leader_epoch: i32,
    pub replica_nodes: Vec<i32>,
    /// The replicas in sync with the leader.
    pub isr_nodes: Vec<i32>,
    /// Replicas out of sync that may lead without loss (KIP-966).
    #[wire(nullable = "0+", default = null)]
    pub eligible_leader_replicas: Option<Vec<i32>>,
    /// The last eligible leader replicas known (KIP-966).
    #[wire(nullable = "0+", default = null)]
    pub last_known_elr: Option<Vec<i32>>,
    /// The replicas that are down.
    #[wire(ignorable)]
    pub offline_replicas: Vec<i32>,
}
