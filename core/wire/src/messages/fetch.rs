//! Fetch (key 1, versions 4-18). Version 7 adds sessions (KIP-227), 9 leader epochs, 11 racks (KIP-392), 12
//! divergence (KIP-595), 13 topic ids (KIP-516), 15 the follower's state in a tag (KIP-903), 16 leader hints
//! (KIP-951).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;
use crate::records::Records;

/// Reads record batches, waiting for them if need be.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 1, versions = "4-18", flexible = "12+")]
pub struct FetchRequest<'a> {
    /// The cluster that the client believes to be talking to.
    #[wire(versions = "12+", nullable = "12+", tag = 0, ignorable, default = null)]
    pub cluster_id: Option<&'a str>,
    /// The follower's node; -1 for a consumer.
    #[wire(versions = "0-14", default = -1)]
    pub replica_id: i32,
    /// Who follows; left out by consumers (KIP-903).
    #[wire(versions = "15+", tag = 1)]
    pub replica_state: ReplicaState,
    /// How long the broker may wait for `min_bytes` to come together.
    pub max_wait_ms: i32,
    /// Answer once this many bytes are there; 0 or 1 means at once or with the first record.
    pub min_bytes: i32,
    /// Soft limit of the whole answer: the first batch is returned whole even if it is larger (KIP-74).
    #[wire(versions = "3+", ignorable, default = i32::MAX)]
    pub max_bytes: i32,
    /// 0: up to the high watermark; 1: up to the last stable offset, with the aborted transactions named.
    #[wire(versions = "4+", ignorable)]
    pub isolation_level: i8,
    /// The fetch session; 0 for none or a new one (KIP-227).
    #[wire(versions = "7+", ignorable)]
    pub session_id: i32,
    /// Counts the requests of a session; 0 starts one, -1 ends it or does without.
    #[wire(versions = "7+", ignorable, default = -1)]
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic<'a>>,
    /// Partitions that leave the session.
    #[wire(versions = "7+")]
    pub forgotten_topics_data: Vec<ForgottenTopic<'a>>,
    /// Where the consumer runs, to be served by a close replica (KIP-392).
    #[wire(versions = "11+", ignorable)]
    pub rack_id: &'a str,
}

/// The value of [`FetchRequest::replica_state`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ReplicaState {
    /// The follower's node; -1 for a consumer.
    #[wire(versions = "15+", default = -1)]
    pub replica_id: i32,
    /// The broker epoch of the follower; -1 when unknown.
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
    /// The leader epoch that the client knows, so that either side notices stale metadata; -1 to skip the
    /// check.
    #[wire(versions = "9+", ignorable, default = -1)]
    pub current_leader_epoch: i32,
    /// Read from here, inclusive.
    pub fetch_offset: i64,
    /// The epoch of the last record before `fetch_offset`; the broker answers a divergence if it knows better
    /// (KIP-595).
    #[wire(versions = "12+", default = -1)]
    pub last_fetched_epoch: i32,
    /// The follower's log start offset; consumers send -1.
    #[wire(versions = "5+", ignorable, default = -1)]
    pub log_start_offset: i64,
    /// Soft limit for this partition: the first batch is returned whole even if it is larger (KIP-74).
    pub partition_max_bytes: i32,
    /// The log directory of the follower (KIP-853).
    #[wire(versions = "17+", tag = 0, ignorable)]
    pub replica_directory_id: TopicId,
    /// The high watermark that the follower knows; -1 when unknown, the default when it does not report one.
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

/// Record batches, or why there are none, for each partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 1, versions = "4-18", flexible = "12+")]
pub struct FetchResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    #[wire(versions = "7+", ignorable)]
    pub error_code: ErrorCode,
    /// The fetch session that the broker opened or continues; 0 for none.
    #[wire(versions = "7+")]
    pub session_id: i32,
    pub responses: Vec<FetchableTopicResponse<'a>>,
    /// Addresses of the leaders named above (KIP-951).
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
    /// Exclusive end of what consumers may read.
    pub high_watermark: i64,
    /// Exclusive end of what is decided: every transaction before it is committed or aborted; -1 when
    /// unknown.
    #[wire(versions = "4+", ignorable, default = -1)]
    pub last_stable_offset: i64,
    /// The first offset that can still be read; -1 when unknown.
    #[wire(versions = "5+", ignorable, default = -1)]
    pub log_start_offset: i64,
    /// Where the follower's log departs from the leader's.
    #[wire(versions = "12+", tag = 0)]
    pub diverging_epoch: EpochEndOffset,
    /// Who leads, if the request went to somebody else; saves the client a metadata request (KIP-951).
    #[wire(versions = "12+", tag = 1)]
    pub current_leader: LeaderIdAndEpoch,
    /// The snapshot to load instead, when the offset is below the log start.
    #[wire(versions = "12+", tag = 2)]
    pub snapshot_id: SnapshotId,
    /// Transactions to skip, by first offset; null unless the isolation level is 1.
    #[wire(versions = "4+", nullable = "4+", ignorable)]
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// A closer replica to read from; -1 for none (KIP-392).
    #[wire(versions = "11+", default = -1)]
    pub preferred_read_replica: i32,
    /// Whole batches from the requested offset on; the first may begin before it.
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
    /// The leader's node; -1 when there is none.
    #[wire(versions = "12+", default = -1)]
    pub leader_id: i32,
    /// The leader's epoch; -1 when unknown.
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
    /// Its first offset.
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
