//! Groups of the consumer protocol (KIP-848): key types 3 to 8 and 16, value version 0 each.

use buslane_wire::ids::TopicId;
use buslane_wire::schema::Versions;
use buslane_wire_derive::Wire;

use super::RecordType;
use super::schema::{RecordKey, RecordValue, versions};

macro_rules! keys {
    ($($key:ident => $kind:ident),* $(,)?) => {$(
        impl RecordKey for $key<'_> {
            const TYPE: RecordType = RecordType::$kind;
        }
    )*};
}
keys! {
    ConsumerGroupMetadataKey => ConsumerGroupMetadata,
    ConsumerGroupPartitionMetadataKey => ConsumerGroupPartitionMetadata,
    ConsumerGroupMemberMetadataKey => ConsumerGroupMemberMetadata,
    ConsumerGroupTargetAssignmentMetadataKey => ConsumerGroupTargetAssignmentMetadata,
    ConsumerGroupTargetAssignmentMemberKey => ConsumerGroupTargetAssignmentMember,
    ConsumerGroupCurrentMemberAssignmentKey => ConsumerGroupCurrentMemberAssignment,
    ConsumerGroupRegularExpressionKey => ConsumerGroupRegularExpression,
}

macro_rules! values {
    ($($value:ty),* $(,)?) => {$(
        impl RecordValue for $value {
            const VERSIONS: Versions = versions(0, 0);
            const FLEXIBLE_FROM: i16 = 0;
        }
    )*};
}
values! {
    ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataValue<'_>,
    ConsumerGroupMemberMetadataValue<'_>,
    ConsumerGroupTargetAssignmentMetadataValue,
    ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupRegularExpressionValue<'_>,
}

/// Key of a group.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupMetadataKey<'a> {
    /// The group's id.
    pub group_id: &'a str,
}

/// A group's epoch.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupMetadataValue {
    /// The group epoch.
    pub epoch: i32,
    /// Hash over the subscribed topics; a change of theirs changes it (KIP-1101).
    #[wire(tag = 0)]
    pub metadata_hash: i64,
}

/// Key of what a group knew of its topics before Kafka 4.1.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupPartitionMetadataKey<'a> {
    /// The group's id.
    pub group_id: &'a str,
}

/// What a group knew of its topics before Kafka 4.1; replaced by the hash in [`ConsumerGroupMetadataValue`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupPartitionMetadataValue<'a> {
    /// The topics.
    pub topics: Vec<TopicMetadata<'a>>,
}

/// An element of [`ConsumerGroupPartitionMetadataValue::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicMetadata<'a> {
    /// The topic's id.
    pub topic_id: TopicId,
    /// Its name.
    pub topic_name: &'a str,
    /// Its partitions.
    pub num_partitions: i32,
    /// Racks by partition; unused since 4.0.
    pub partition_metadata: Vec<PartitionMetadata<'a>>,
}

/// An element of [`TopicMetadata::partition_metadata`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct PartitionMetadata<'a> {
    /// The partition's index.
    pub partition: i32,
    /// Its racks.
    pub racks: Vec<&'a str>,
}

/// Key of a member's subscription.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupMemberMetadataKey<'a> {
    /// The group's id.
    pub group_id: &'a str,
    /// The member's id.
    pub member_id: &'a str,
}

/// A member's subscription.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupMemberMetadataValue<'a> {
    /// The name of a static member.
    #[wire(nullable = "0+")]
    pub instance_id: Option<&'a str>,
    /// Its rack.
    #[wire(nullable = "0+")]
    pub rack_id: Option<&'a str>,
    /// The client's name for itself.
    pub client_id: &'a str,
    /// The client's address.
    pub client_host: &'a str,
    /// Topics it named.
    pub subscribed_topic_names: Vec<&'a str>,
    /// The regular expression it named.
    #[wire(nullable = "0+")]
    pub subscribed_topic_regex: Option<&'a str>,
    /// How long it may take to give up partitions, in milliseconds.
    #[wire(default = -1)]
    pub rebalance_timeout_ms: i32,
    /// The assignor it asked for.
    #[wire(nullable = "0+")]
    pub server_assignor: Option<&'a str>,
    /// Present for a member that speaks the classic protocol in a group of the consumer protocol.
    #[wire(nullable = "0+", tag = 0, default = null)]
    pub classic_member_metadata: Option<ClassicMemberMetadata<'a>>,
}

/// [`ConsumerGroupMemberMetadataValue::classic_member_metadata`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ClassicMemberMetadata<'a> {
    /// Its session timeout, in milliseconds.
    pub session_timeout_ms: i32,
    /// The classic protocols it supports, most wanted first.
    pub supported_protocols: Vec<ClassicProtocol<'a>>,
}

/// An element of [`ClassicMemberMetadata::supported_protocols`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ClassicProtocol<'a> {
    /// The protocol.
    pub name: &'a str,
    /// The member's subscription in it.
    pub metadata: &'a [u8],
}

/// Key of a group's target assignment.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupTargetAssignmentMetadataKey<'a> {
    /// The group's id.
    pub group_id: &'a str,
}

/// The epoch of a group's target assignment.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupTargetAssignmentMetadataValue {
    /// The group epoch it was computed for.
    pub assignment_epoch: i32,
    /// When it was computed, in milliseconds (KIP-1263).
    #[wire(tag = 0, ignorable)]
    pub assignment_timestamp: i64,
}

/// Key of a member's target assignment.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupTargetAssignmentMemberKey<'a> {
    /// The group's id.
    pub group_id: &'a str,
    /// The member's id.
    pub member_id: &'a str,
}

/// A member's target assignment.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupTargetAssignmentMemberValue {
    /// The partitions.
    pub topic_partitions: Vec<TopicPartition>,
}

/// An element of [`ConsumerGroupTargetAssignmentMemberValue::topic_partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicPartition {
    /// The topic's id.
    pub topic_id: TopicId,
    /// Partition indexes.
    pub partitions: Vec<i32>,
}

/// Key of what a member holds.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupCurrentMemberAssignmentKey<'a> {
    /// The group's id.
    pub group_id: &'a str,
    /// The member's id.
    pub member_id: &'a str,
}

/// What a member holds.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupCurrentMemberAssignmentValue {
    /// The epoch it must name in its next heartbeat.
    pub member_epoch: i32,
    /// The epoch before that, for a heartbeat whose answer was lost.
    pub previous_member_epoch: i32,
    /// 0 stable, 1 revoking, 2 waiting for partitions to be released, 127 unknown.
    pub state: i8,
    /// Partitions it owns.
    pub assigned_partitions: Vec<TopicPartitions>,
    /// Partitions it was told to give up.
    pub partitions_pending_revocation: Vec<TopicPartitions>,
}

/// An element of [`ConsumerGroupCurrentMemberAssignmentValue`]'s lists.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicPartitions {
    /// The topic's id.
    pub topic_id: TopicId,
    /// Partition indexes.
    pub partitions: Vec<i32>,
    /// The epoch each partition was assigned in, for fencing commits; as long as `partitions`.
    #[wire(nullable = "0+", tag = 0, default = null)]
    pub assignment_epochs: Option<Vec<i32>>,
}

/// Key of a resolved regular expression.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupRegularExpressionKey<'a> {
    /// The group's id.
    pub group_id: &'a str,
    /// The expression, in RE2's syntax.
    pub regular_expression: &'a str,
}

/// The topics a regular expression matched.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConsumerGroupRegularExpressionValue<'a> {
    /// Their names.
    pub topics: Vec<&'a str>,
    /// The version of the metadata they were matched against.
    pub version: i64,
    /// When, in milliseconds.
    pub timestamp: i64,
}
