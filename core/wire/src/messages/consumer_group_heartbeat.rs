//! ConsumerGroupHeartbeat (key 68, versions 0-1). KIP-848; version 1 adds patterns, and member ids that the
//! member chooses (KIP-1082).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Joins, keeps alive and leaves; says what changed.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 68, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupHeartbeatRequest<'a> {
    pub group_id: &'a str,
    /// The member's id; empty in the first request of a classic member.
    pub member_id: &'a str,
    /// The member's epoch; 0 joins, -1 leaves, -2 leaves for a while (static member) (KIP-848).
    pub member_epoch: i32,
    /// The name of a static member (KIP-345).
    #[wire(nullable = "0+", default = null)]
    pub instance_id: Option<&'a str>,
    /// Where the member runs; null when unchanged or unknown.
    #[wire(nullable = "0+", default = null)]
    pub rack_id: Option<&'a str>,
    /// How long members may take to rejoin, or to give up partitions; -1 for unchanged.
    #[wire(default = -1)]
    pub rebalance_timeout_ms: i32,
    /// The topics wanted; null when unchanged.
    #[wire(nullable = "0+", default = null)]
    pub subscribed_topic_names: Option<Vec<&'a str>>,
    /// A pattern of topics wanted; null when unchanged.
    #[wire(versions = "1+", nullable = "1+", default = null)]
    pub subscribed_topic_regex: Option<&'a str>,
    /// The assignor wanted; null when unchanged or indifferent.
    #[wire(nullable = "0+", default = null)]
    pub server_assignor: Option<&'a str>,
    /// The partitions that the member holds; null when unchanged.
    #[wire(nullable = "0+", default = null)]
    pub topic_partitions: Option<Vec<TopicPartitions>>,
}

/// An element of [`ConsumerGroupHeartbeatRequest::topic_partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicPartitions {
    pub topic_id: TopicId,
    pub partitions: Vec<i32>,
}

/// What the member should hold.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 68, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupHeartbeatResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+", default = null)]
    pub error_message: Option<&'a str>,
    /// The member's id; empty in the first request of a classic member.
    #[wire(nullable = "0+", default = null)]
    pub member_id: Option<&'a str>,
    pub member_epoch: i32,
    /// Send the next heartbeat after this long.
    pub heartbeat_interval_ms: i32,
    /// What the member should hold; null when unchanged.
    #[wire(nullable = "0+", default = null)]
    pub assignment: Option<Assignment>,
}

/// The value of [`ConsumerGroupHeartbeatResponse::assignment`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct Assignment {
    pub topic_partitions: Vec<TopicPartitions>,
}
