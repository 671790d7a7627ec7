//! What changes in a consumer group, as the records of `__consumer_offsets` say it.
//!
//! Each fact is one record: its key is the group's id and the fact's own key, its value the rest; the `…Removed` facts are
//! tombstones. Facts of one call are appended together and in order, before the call's answer goes out.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::partitions::{HeldPartitions, Partitions};

/// One record of a group. The number is the record type (the key's version) in Kafka's schemas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// 3, ConsumerGroupMetadata.
    GroupEpoch {
        /// The group's epoch.
        epoch: i32,
        /// Hash of the subscribed topics, see [`super::subscription`]; the value's tagged field (KIP-1101).
        metadata_hash: i64,
    },
    /// 3, tombstone: the group is gone.
    GroupRemoved,
    /// 5, ConsumerGroupMemberMetadata.
    MemberMetadata {
        /// The member.
        member_id: String,
        /// What it told of itself.
        metadata: MemberMetadata,
    },
    /// 5, tombstone.
    MemberRemoved {
        /// The member.
        member_id: String,
    },
    /// 6, ConsumerGroupTargetAssignmentMetadata.
    TargetEpoch {
        /// The group epoch for which the target was computed.
        epoch: i32,
        /// When it was computed, ms since 1970; 0 when it was not computed (KIP-1263).
        computed_at_ms: i64,
    },
    /// 6, tombstone.
    TargetEpochRemoved,
    /// 7, ConsumerGroupTargetAssignmentMember.
    Target {
        /// The member.
        member_id: String,
        /// What it is to have.
        partitions: Partitions,
    },
    /// 7, tombstone.
    TargetRemoved {
        /// The member.
        member_id: String,
    },
    /// 8, ConsumerGroupCurrentMemberAssignment.
    CurrentAssignment {
        /// The member.
        member_id: String,
        /// What it has, and how far it is on its way to the target.
        current: CurrentAssignment,
    },
    /// 8, tombstone.
    CurrentAssignmentRemoved {
        /// The member.
        member_id: String,
    },
    /// 16, ConsumerGroupRegularExpression.
    Regex {
        /// The pattern as members sent it.
        regex: String,
        /// What it matches.
        resolved: ResolvedRegex,
    },
    /// 16, tombstone.
    RegexRemoved {
        /// The pattern.
        regex: String,
    },
}

/// What a member told of itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberMetadata {
    /// The name of a static member (KIP-345).
    pub instance_id: Option<String>,
    /// Where the member runs.
    pub rack_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// The topics it wants by name.
    pub subscribed_topic_names: BTreeSet<String>,
    /// The pattern of topics it wants; never empty.
    pub subscribed_topic_regex: Option<String>,
    /// How long it may take to give up partitions, ms.
    pub rebalance_timeout_ms: i32,
    /// The assignor it asks for.
    pub server_assignor: Option<String>,
    /// Set for a member that speaks the classic protocol.
    pub classic: Option<ClassicMetadata>,
}

/// What a classic member of a consumer group brought to JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClassicMetadata {
    /// Its own session timeout, ms.
    pub session_timeout_ms: i32,
    /// Its protocols (client-side assignors), best first; not empty.
    pub protocols: Vec<ClassicProtocol>,
}

/// One protocol of a classic member.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClassicProtocol {
    /// The assignor's name.
    pub name: String,
    /// A version-prefixed ConsumerProtocolSubscription.
    pub metadata: Bytes,
}

/// What a member has, and how far it is on its way to the target.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CurrentAssignment {
    /// The epoch that the member is expected to carry; -2 while a static member is away.
    pub member_epoch: i32,
    /// The epoch before that one: what the member carries when the answer with the new one was lost.
    pub previous_member_epoch: i32,
    /// Where it is on its way.
    pub state: MemberState,
    /// What it may hold.
    pub assigned: HeldPartitions,
    /// What it may still hold and was told to give up.
    pub pending_revocation: HeldPartitions,
}

impl CurrentAssignment {
    /// A member that has just been made: epoch 0, nothing held.
    pub fn fresh() -> CurrentAssignment {
        CurrentAssignment { previous_member_epoch: -1, ..CurrentAssignment::default() }
    }
}

/// Where a member is on its way to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MemberState {
    /// It has all of the target of its epoch.
    #[default]
    Stable,
    /// It must first say that it gave up the partitions pending revocation.
    UnrevokedPartitions,
    /// It waits for partitions that others still hold.
    UnreleasedPartitions,
    /// Written by a later version; the member must rejoin with nothing.
    Unknown,
}

impl MemberState {
    /// The byte in the record.
    pub fn to_byte(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
            MemberState::Unknown => 127,
        }
    }

    /// The state of a byte in a record.
    pub fn from_byte(byte: i8) -> MemberState {
        match byte {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }
}

/// The topics that a pattern matched when it was last resolved with another result.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ResolvedRegex {
    /// The names.
    pub topics: BTreeSet<String>,
    /// The [`super::topics::TopicsView::version`] it was resolved against.
    pub version: i64,
    /// When, ms since 1970.
    pub resolved_at_ms: i64,
}
