//! Fetch (key 1).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;
use crate::records::Records;

/// Asks for Fetch.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 1, versions = "4-18", flexible = "12+")]
pub struct FetchRequest<'a> {
    #[wire(versions = "12+", nullable = "12+", tag = 0, ignorable, default = null)]
    pub cluster_id: Option<&'a str>,
    #[wire(versions = "0-14", default = -1)]
    pub replica_id: i32,
    #[wire(versions = "15+", tag = 1)]
    pub replica_state: ReplicaState,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    #[wire(versions = "3+", ignorable, default = i32::MAX)]
    pub max_bytes: i32,
    #[wire(versions = "4+", ignorable)]
    pub isolation_level: i8,
    #[wire(versions = "7+", ignorable)]
    pub session_id: i32,
    #[wire(versions = "7+", ignorable, default = -1)]
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic<'a>>,
    #[wire(versions = "7+")]
    pub forgotten_topics_data: Vec<ForgottenTopic<'a>>,
    #[wire(versions = "11+", ignorable)]
    pub rack_id: &'a str,
}

/// The value of [`FetchRequest::replica_state`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ReplicaState {
    #[wire(versions = "15+", default = -1)]
    pub replica_id: i32,
    #[wire(versions = "15+", default = -1)]
    pub replica_epoch: i64,
}

/// An element of [`FetchRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct FetchTopic<'a> {
    #[wire(versions = "0-12", ignorable)]
    pub topic: &'a str,
    #[wire(versions = "13+", ignorable)]
    pub topic_id: TopicId,
    pub partitions: Vec<FetchPartition>,
}

/// An element of [`FetchTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct FetchPartition {
    pub partition: i32,
    #[wire(versions = "9+", ignorable, default = -1)]
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    #[wire(versions = "12+", default = -1)]
    pub last_fetched_epoch: i32,
    #[wire(versions = "5+", ignorable, default = -1)]
    pub log_start_offset: i64,
    pub partition_max_bytes: i32,
    #[wire(versions = "17+", tag = 0, ignorable)]
    pub replica_directory_id: TopicId,
    #[wire(versions = "18+", tag = 1, ignorable, default = i64::MAX)]
    pub high_watermark: i64,
}

/// An element of [`FetchRequest::forgotten_topics_data`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ForgottenTopic<'a> {
    #[wire(versions = "7-12", ignorable)]
    pub topic: &'a str,
    #[wire(versions = "13+", ignorable)]
    pub topic_id: TopicId,
    #[wire(versions = "7+")]
    pub partitions: Vec<i32>,
}

/// Answers Fetch.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 1, versions = "4-18", flexible = "12+")]
pub struct FetchResponse<'a> {
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    #[wire(versions = "7+", ignorable)]
    pub error_code: ErrorCode,
    #[wire(versions = "7+")]
    pub session_id: i32,
    pub responses: Vec<FetchableTopicResponse<'a>>,
    #[wire(versions = "16+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// An element of [`FetchResponse::responses`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct FetchableTopicResponse<'a> {
    #[wire(versions = "0-12", ignorable)]
    pub topic: &'a str,
    #[wire(versions = "13+", ignorable)]
    pub topic_id: TopicId,
    pub partitions: Vec<PartitionData<'a>>,
}

/// An element of [`FetchableTopicResponse::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct PartitionData<'a> {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    pub high_watermark: i64,
    #[wire(versions = "4+", ignorable, default = -1)]
    pub last_stable_offset: i64,
    #[wire(versions = "5+", ignorable, default = -1)]
    pub log_start_offset: i64,
    #[wire(versions = "12+", tag = 0)]
    pub diverging_epoch: EpochEndOffset,
    #[wire(versions = "12+", tag = 1)]
    pub current_leader: LeaderIdAndEpoch,
    #[wire(versions = "12+", tag = 2)]
    pub snapshot_id: SnapshotId,
    #[wire(versions = "4+", nullable = "4+", ignorable)]
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    #[wire(versions = "11+", default = -1)]
    pub preferred_read_replica: i32,
    #[wire(nullable = "0+")]
    pub records: Option<Records<'a>>,
}

/// The value of [`PartitionData::diverging_epoch`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct EpochEndOffset {
    #[wire(versions = "12+", default = -1)]
    pub epoch: i32,
    #[wire(versions = "12+", default = -1)]
    pub end_offset: i64,
}

/// The value of [`PartitionData::current_leader`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct LeaderIdAndEpoch {
    #[wire(versions = "12+", default = -1)]
    pub leader_id: i32,
    #[wire(versions = "12+", default = -1)]
    pub leader_epoch: i32,
}

/// The value of [`PartitionData::snapshot_id`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct SnapshotId {
    #[wire(default = -1)]
    pub end_offset: i64,
    #[wire(default = -1)]
    pub epoch: i32,
}

/// An element of [`PartitionData::aborted_transactions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AbortedTransaction {
    #[wire(versions = "4+")]
    pub producer_id: i64,
    #[wire(versions = "4+")]
    pub first_offset: i64,
}

/// An element of [`FetchResponse::node_endpoints`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct NodeEndpoint<'a> {
    #[wire(versions = "16+")]
    pub node_id: i32,
    #[wire(versions = "16+")]
    pub host: &'a str,
    #[wire(versions = "16+")]
    pub port: i32,
    #[wire(versions = "16+", nullable = "16+", default = null)]
    pub rack: Option<&'a str>,
}
