//! The server side of the consumer group protocol (KIP-848): groups whose members heartbeat, and whose partitions the
//! coordinator assigns.
//!
//! [`ConsumerGroup`] is the state machine of one group. What the coordinator calls:
//!
//! | when | call |
//! | --- | --- |
//! | ConsumerGroupHeartbeat | [`Heartbeat::check`], then [`ConsumerGroup::heartbeat`] |
//! | ConsumerGroupDescribe | [`ConsumerGroup::describe`] |
//! | OffsetCommit, TxnOffsetCommit, OffsetFetch | [`ConsumerGroup::check_commit`], [`ConsumerGroup::check_fetch`] |
//! | DeleteGroups | [`ConsumerGroup::check_delete`], [`ConsumerGroup::remove`] |
//! | JoinGroup, SyncGroup, Heartbeat, LeaveGroup for a consumer group | [`ConsumerGroup::classic_join`], `classic_…` |
//! | ConsumerGroupHeartbeat for a classic group | [`ConsumerGroup::upgrade`], then the heartbeat |
//! | after anything that removed members | [`ConsumerGroup::should_downgrade`], [`ConsumerGroup::downgrade`] |
//! | at [`ConsumerGroup::next_timeout`] | [`ConsumerGroup::on_timeout`] |
//! | loading | [`ConsumerGroup::replay`] for each record, then [`ConsumerGroup::loaded`] |
//!
//! Changes come out as [`Fact`]s, one for each record of `__consumer_offsets`: [`Fact::to_record`], [`Fact::from_record`].
//!
//! Not here: the log, the clock (each call is told the time, ms since 1970), member ids for members of version 0, the
//! authorizer (it shapes [`TopicsView::names`]), offsets.

pub mod assignor;
mod change;
mod classic;
mod config;
mod describe;
mod error;
mod fact;
mod group;
mod heartbeat;
mod migrate;
mod offsets;
mod partitions;
mod protocol;
mod reconcile;
mod record;
mod regex;
mod subscription;
mod target;
#[cfg(test)]
mod tests;
mod timers;
mod topics;
mod wire;

pub use assignor::AssignorKind;
pub use change::REGEX_REFRESH_MIN_MS;
pub use classic::{ClassicHeartbeatReply, ClassicJoin, ClassicJoinReply, ClassicSender};
pub use config::{ConsumerGroupConfig, MigrationPolicy};
pub use describe::{Description, MemberDescription};
pub use error::GroupError;
pub use fact::{
    ClassicMetadata, ClassicProtocol, CurrentAssignment, Fact, MemberMetadata, MemberState, ResolvedRegex,
};
pub use group::{ConsumerGroup, GroupState, LEAVE_EPOCH, LEAVE_STATIC_EPOCH, Member};
pub use heartbeat::{Heartbeat, HeartbeatReply};
pub use migrate::{ClassicGroupView, ClassicMemberView};
pub use offsets::{CommitCheck, Committer};
pub use partitions::{HeldPartitions, Partitions};
pub use protocol::{
    CONSUMER_PROTOCOL_TYPE, ConsumerProtocolAssignment, ConsumerProtocolSubscription, EmbeddedError,
    NamedPartitions, embedded_version, read_assignment, read_subscription,
};
pub use regex::{MAX_COMPILED_BYTES, TopicPattern};
pub use timers::{Deadline, Expired};
pub use topics::{TopicInfo, TopicTable, TopicsView};
