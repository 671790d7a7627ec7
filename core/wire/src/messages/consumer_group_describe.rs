//! ConsumerGroupDescribe (key 69, versions 0-1). KIP-848.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Asks about consumer groups.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 69, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupDescribeRequest<'a> {
    pub group_ids: Vec<&'a str>,
    pub include_authorized_operations: bool,
}

/// State and members of each group.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 69, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupDescribeResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub groups: Vec<DescribedGroup<'a>>,
}

/// An element of [`ConsumerGroupDescribeResponse::groups`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribedGroup<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "0+", default = null)]
    pub error_message: Option<&'a str>,
    pub group_id: &'a str,
    pub group_state: &'a str,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    pub assignor_name: &'a str,
    pub members: Vec<Member<'a>>,
    /// Bit set of the operations allowed on the group; `i32::MIN` when not asked for.
    #[wire(default = i32::MIN)]
    pub authorized_operations: i32,
}

/// An element of [`DescribedGroup::members`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct Member<'a> {
    /// The member's id; empty in the first request of a classic member.
    pub member_id: &'a str,
    /// The name of a static member (KIP-345).
    #[wire(nullable = "0+", default = null)]
    pub instance_id: Option<&'a str>,
    /// Where the consumer runs, to be served by a close replica (KIP-392).
    #[wire(nullable = "0+", default = null)]
    pub rack_id: Option<&'a str>,
    pub member_epoch: i32,
    pub client_id: &'a str,
    pub client_host: &'a str,
    pub subscribed_topic_names: Vec<&'a str>,
    #[wire(nullable = "0+", default = null)]
    pub subscribed_topic_regex: Option<&'a str>,
    pub assignment: Assignment<'a>,
    pub target_assignment: Assignment<'a>,
    /// -1 unknown, 0 classic, 1 consumer.
    #[wire(versions = "1+", ignorable, default = -1)]
    pub member_type: i8,
}

/// The value of [`Member::assignment`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct Assignment<'a> {
    pub topic_partitions: Vec<TopicPartitions<'a>>,
}

/// An element of [`Assignment::topic_partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicPartitions<'a> {
    pub topic_id: TopicId,
    pub topic_name: &'a str,
    pub partitions: Vec<i32>,
}
