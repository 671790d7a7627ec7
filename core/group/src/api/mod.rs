//! Requests to a shard and its replies, owned: they outlive the frame they came in.
//!
//! Each type turns from or into the message of the wire with `from_wire` and `to_wire`; what several shards answer
//! together (OffsetFetch for several groups, DescribeGroups, ListGroups, DeleteGroups) is split and joined by the caller.

mod admin;
mod consumer;
mod membership;
mod offsets;

pub use admin::{
    DeleteGroups, DeleteGroupsReply, DescribeGroups, DescribeGroupsReply, DescribedGroup, DescribedMember,
    ListGroups, ListGroupsReply, ListedGroup,
};
pub use consumer::{
    ConsumerGroupDescribe, ConsumerGroupDescribeReply, ConsumerGroupHeartbeat, ConsumerGroupHeartbeatReply,
    DescribedConsumerGroup, Refusal,
};
pub use membership::{
    Caller, Heartbeat, HeartbeatReply, JoinGroup, JoinGroupReply, JoinedMember, LeaveGroup, LeaveGroupReply,
    LeavingMember, LeftMember, Protocol, SyncGroup, SyncGroupReply,
};
pub use offsets::{
    CommitPartition, CommitTopic, CommittedTopic, DeleteTopic, DeletedTopic, FetchTopic, FetchedPartition,
    FetchedTopic, OffsetCommit, OffsetCommitReply, OffsetDelete, OffsetDeleteReply, OffsetFetch,
    OffsetFetchReply,
};

use std::sync::Arc;

use buslane_wire::ErrorCode;

use crate::records::Record;

/// The caller's name for a request; each is answered exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// The shard's name for an append; rises by one from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct AppendId(pub u64);

/// Records to be written to the shard's partition.
///
/// They must come into the log in order, appends in the order of their ids. A batch limit may split them: a prefix of an
/// append is harmless, since nobody is told of it before all of it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Given back to [`Shard::committed`](crate::Shard::committed).
    pub id: AppendId,
    /// Never empty.
    pub records: Vec<Record>,
}

/// What the caller has to do after a call, in any order.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Effects {
    /// Records to write.
    pub append: Option<Append>,
    /// Replies to send at once; those that wait for records come out of [`Shard::committed`](crate::Shard::committed).
    pub replies: Vec<(RequestId, Reply)>,
    /// For logs and metrics.
    pub events: Vec<Event>,
}

impl Effects {
    /// True when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.append.is_none() && self.replies.is_empty() && self.events.is_empty()
    }
}

/// Something that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A rebalance began.
    Rebalancing {
        /// The group.
        group: Arc<str>,
        /// The generation that ends.
        generation: i32,
        /// Why, with the client's own reason where it gave one (KIP-800).
        reason: String,
    },
    /// Every member has rejoined, or the time to do so has passed.
    Generation {
        /// The group.
        group: Arc<str>,
        /// The generation that begins.
        generation: i32,
        /// Its members; none when the group became empty.
        members: usize,
    },
    /// The assignment is committed.
    Stable {
        /// The group.
        group: Arc<str>,
        /// Its generation.
        generation: i32,
    },
    /// A member was removed without its asking.
    MemberRemoved {
        /// The group.
        group: Arc<str>,
        /// The member.
        member_id: Arc<str>,
        /// Why.
        cause: RemovalCause,
    },
}

/// Why a member was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalCause {
    /// It was silent for its session timeout.
    Silent,
    /// It did not rejoin in time.
    NotRejoined,
    /// It did not send SyncGroup in time.
    NotSynced,
    /// It did not give up partitions in time (KIP-848).
    NotRevoked,
}

/// A request to one shard.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // See the types.
pub enum Request {
    JoinGroup(JoinGroup),
    SyncGroup(SyncGroup),
    Heartbeat(Heartbeat),
    LeaveGroup(LeaveGroup),
    OffsetCommit(OffsetCommit),
    OffsetFetch(OffsetFetch),
    OffsetDelete(OffsetDelete),
    DescribeGroups(DescribeGroups),
    ListGroups(ListGroups),
    DeleteGroups(DeleteGroups),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeat),
    ConsumerGroupDescribe(ConsumerGroupDescribe),
}

/// A reply.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // See the types.
pub enum Reply {
    JoinGroup(JoinGroupReply),
    SyncGroup(SyncGroupReply),
    Heartbeat(HeartbeatReply),
    LeaveGroup(LeaveGroupReply),
    OffsetCommit(OffsetCommitReply),
    OffsetFetch(OffsetFetchReply),
    OffsetDelete(OffsetDeleteReply),
    DescribeGroups(DescribeGroupsReply),
    ListGroups(ListGroupsReply),
    DeleteGroups(DeleteGroupsReply),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatReply),
    ConsumerGroupDescribe(ConsumerGroupDescribeReply),
}

impl Request {
    /// The reply with this error in the places where Kafka's has it: for a shard that is not here
    /// (NOT_COORDINATOR), not yet loaded, or whose log does not answer (COORDINATOR_NOT_AVAILABLE).
    ///
    /// A heartbeat to a shard that is loading is answered without an error, as Kafka does: the member is alive, and will
    /// learn of its group with the next one.
    pub fn refuse(&self, error_code: ErrorCode) -> Reply {
        match self {
            Request::JoinGroup(request) => Reply::JoinGroup(request.refuse(error_code)),
            Request::SyncGroup(_) => Reply::SyncGroup(SyncGroupReply::error(error_code)),
            Request::Heartbeat(_) if error_code == ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => {
                Reply::Heartbeat(HeartbeatReply { error_code: ErrorCode::NONE })
            }
            Request::Heartbeat(_) => Reply::Heartbeat(HeartbeatReply { error_code }),
            Request::LeaveGroup(_) => Reply::LeaveGroup(LeaveGroupReply { error_code, members: Vec::new() }),
            Request::OffsetCommit(request) => Reply::OffsetCommit(request.refuse(error_code)),
            Request::OffsetFetch(request) => Reply::OffsetFetch(request.refuse(error_code)),
            Request::OffsetDelete(_) => {
                Reply::OffsetDelete(OffsetDeleteReply { error_code, topics: Vec::new() })
            }
            Request::DescribeGroups(request) => Reply::DescribeGroups(request.refuse(error_code)),
            Request::ListGroups(_) => Reply::ListGroups(ListGroupsReply { error_code, groups: Vec::new() }),
            Request::DeleteGroups(request) => Reply::DeleteGroups(request.refuse(error_code)),
            Request::ConsumerGroupHeartbeat(_) => {
                let result = Err(error_code.into());
                Reply::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatReply { result })
            }
            Request::ConsumerGroupDescribe(request) => {
                Reply::ConsumerGroupDescribe(request.refuse(error_code))
            }
        }
    }
}

impl Reply {
    /// Puts an error in the place of what was to be told, when the records it waited for are not committed.
    pub fn fail(&mut self, code: ErrorCode) {
        match self {
            Reply::JoinGroup(reply) => {
                let member_id = std::mem::take(&mut reply.member_id);
                *reply = JoinGroupReply::error(member_id, code);
            }
            Reply::SyncGroup(reply) => *reply = SyncGroupReply::error(code),
            Reply::Heartbeat(reply) => reply.error_code = code,
            Reply::LeaveGroup(reply) => *reply = LeaveGroupReply { error_code: code, members: Vec::new() },
            Reply::OffsetCommit(reply) => reply.fail(code),
            Reply::OffsetFetch(reply) => {
                reply.error_code = code;
                // Version 1 has no place for an error but these.
                for partition in reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    *partition = FetchedPartition::error(partition.index, code);
                }
            }
            Reply::OffsetDelete(reply) => (reply.error_code, reply.topics) = (code, Vec::new()),
            Reply::DescribeGroups(reply) => reply.fail(code),
            Reply::ListGroups(reply) => (reply.error_code, reply.groups) = (code, Vec::new()),
            Reply::DeleteGroups(reply) => reply.groups.iter_mut().for_each(|(_, error)| *error = code),
            Reply::ConsumerGroupHeartbeat(reply) => reply.result = Err(code.into()),
            Reply::ConsumerGroupDescribe(reply) => {
                reply.groups.iter_mut().for_each(|described| described.group = Err(code.into()));
            }
        }
    }
}
