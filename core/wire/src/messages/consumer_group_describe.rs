//! ConsumerGroupDescribe (key 69).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Asks for ConsumerGroupDescribe.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 69, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupDescribeRequest<'a> {
    pub group_ids: Vec<&'a str>,
    pub include_authorized_operations: bool,
}

/// Answers ConsumerGroupDescribe.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 69, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupDescribeResponse<'a> {
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
    #[wire(default = i32::MIN)]
    pub authorized_operations: i32,
}

/// An element of [`DescribedGroup::members`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct Member<'a> {
    pub member_id: &'a str,
    #[wire(nullable = "0+", default = null)]
    pub instance_id: Option<&'a str>,
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
