//! ConsumerGroupHeartbeat, ConsumerGroupDescribe (KIP-848).

use std::sync::Arc;

use buslane_wire::{ErrorCode, messages};

use crate::consumer::{
    ConsumerGroup, ConsumerGroupConfig, GroupError, Heartbeat, HeartbeatReply, TopicsView,
};

/// A heartbeat of a member of the consumer protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupHeartbeat {
    /// The request's version: from 1 on members make their own ids.
    pub version: i16,
    /// The group.
    pub group: Arc<str>,
    /// The id of a new member of version 0, drawn at random by the caller of the shard: a UUID.
    pub new_member_id: Arc<str>,
    /// What the member says.
    pub heartbeat: Heartbeat,
}

/// Why a request was refused, in a code and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub error_code: ErrorCode,
    /// The words.
    pub message: Option<Arc<str>>,
}

impl From<ErrorCode> for Refusal {
    fn from(error_code: ErrorCode) -> Refusal {
        Refusal { error_code, message: None }
    }
}

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Refusal {
        Refusal { error_code: error.code(), message: Some(error.to_string().into()) }
    }
}

/// The answer to a [`ConsumerGroupHeartbeat`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupHeartbeatReply {
    /// What the member is to do, or why nothing was done.
    pub result: Result<HeartbeatReply, Refusal>,
}

impl ConsumerGroupHeartbeatReply {
    /// The message, the same in every version.
    pub fn to_wire(&self) -> messages::ConsumerGroupHeartbeatResponse<'_> {
        match &self.result {
            Ok(reply) => reply.to_wire(),
            Err(refusal) => messages::ConsumerGroupHeartbeatResponse {
                error_code: refusal.error_code,
                error_message: refusal.message.as_deref(),
                ..Default::default()
            },
        }
    }
}

/// Asks about groups of the consumer protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupDescribe {
    /// Groups of this shard.
    pub groups: Vec<Arc<str>>,
}

impl ConsumerGroupDescribe {
    pub(super) fn refuse(&self, code: ErrorCode) -> ConsumerGroupDescribeReply {
        let refused = |id: &Arc<str>| DescribedConsumerGroup { id: id.clone(), group: Err(code.into()) };
        ConsumerGroupDescribeReply { groups: self.groups.iter().map(refused).collect() }
    }
}

/// The groups as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerGroupDescribeReply {
    /// In the order of the request.
    pub groups: Vec<DescribedConsumerGroup>,
}

/// A group as it is, or why it is not described.
#[derive(Clone, Debug)]
pub struct DescribedConsumerGroup {
    /// Its id.
    pub id: Arc<str>,
    /// What it is.
    pub group: Result<Box<ConsumerGroup>, Refusal>,
}

impl PartialEq for DescribedConsumerGroup {
    fn eq(&self, other: &DescribedConsumerGroup) -> bool {
        self.id == other.id
            && match (&self.group, &other.group) {
                (Ok(ours), Ok(theirs)) => ours.same_as(theirs),
                (Err(ours), Err(theirs)) => ours == theirs,
                _ => false,
            }
    }
}

impl ConsumerGroupDescribeReply {
    /// The elements of the message. The caller fills in the authorized operations where they were asked for.
    pub fn to_wire<'a>(
        &'a self,
        config: &ConsumerGroupConfig,
        topics: &'a dyn TopicsView,
    ) -> Vec<messages::consumer_group_describe::DescribedGroup<'a>> {
        let describe = |described: &'a DescribedConsumerGroup| match &described.group {
            Ok(group) => group.describe(config).to_wire(&described.id, topics),
            Err(refusal) => messages::consumer_group_describe::DescribedGroup {
                error_code: refusal.error_code,
                error_message: refusal.message.as_deref(),
                group_id: &described.id,
                ..Default::default()
            },
        };
        self.groups.iter().map(describe).collect()
    }
}
