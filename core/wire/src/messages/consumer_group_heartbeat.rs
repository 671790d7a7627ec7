//! ConsumerGroupHeartbeat (key 68).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Asks for ConsumerGroupHeartbeat.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 68, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupHeartbeatRequest<'a> {
    pub group_id: &'a str,
    pub member_id: &'a str,
    pub member_epoch: i32,
    #[wire(nullable = "0+", default = null)]
    pub instance_id: Option<&'a str>,
    #[wire(nullable = "0+", default = null)]
    pub rack_id: Option<&'a str>,
    #[wire(default = -1)]
    pub rebalance_timeout_ms: i32,
    #[wire(nullable = "0+", default = null)]
    pub subscribed_topic_names: Option<Vec<&'a str>>,
    #[wire(versions = "1+", nullable = "1+", default = null)]
    pub subscribed_topic_regex: Option<&'a str>,
    #[wire(nullable = "0+", default = null)]
    pub server_assignor: Option<&'a str>,
    #[wire(nullable = "0+", default = null)]
    pub topic_partitions: Option<Vec<TopicPartitions>>,
}

/// An element of [`ConsumerGroupHeartbeatRequest::topic_partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicPartitions {
    pub topic_id: TopicId,
    pub partitions: Vec<i32>,
}

/// Answers ConsumerGroupHeartbeat.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 68, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupHeartbeatResponse<'a> {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+", default = null)]
    pub error_message: Option<&'a str>,
    #[wire(nullable = "0+", default = null)]
    pub member_id: Option<&'a str>,
    pub member_epoch: i32,
    pub heartbeat_interval_ms: i32,
    #[wire(nullable = "0+", default = null)]
    pub assignment: Option<Assignment>,
}

/// The value of [`ConsumerGroupHeartbeatResponse::assignment`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct Assignment {
    pub topic_partitions: Vec<TopicPartitions>,
}
