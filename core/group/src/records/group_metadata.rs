//! Classic groups: key type 2, value versions 0 to 4. Kafka 4.x writes version 3.

use buslane_wire_derive::Wire;

use super::RecordType;
use super::schema::{RecordKey, RecordValue, versions};

/// Key of a classic group.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct GroupMetadataKey<'a> {
    /// The group's id.
    pub group: &'a str,
}

impl RecordKey for GroupMetadataKey<'_> {
    const TYPE: RecordType = RecordType::GroupMetadata;
}

/// A classic group in its last stable generation, or empty.
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct GroupMetadataValue<'a> {
    /// `consumer`, `connect`; empty for a group that never had a member.
    pub protocol_type: &'a str,
    /// The generation.
    pub generation: i32,
    /// The assignment protocol of this generation; null without members.
    #[wire(nullable = "0+")]
    pub protocol: Option<&'a str>,
    /// The leader's member id; null without members.
    #[wire(nullable = "0+")]
    pub leader: Option<&'a str>,
    /// When the group came into its state, in milliseconds; -1 when unknown.
    #[wire(versions = "2+", ignorable, default = -1)]
    pub current_state_timestamp: i64,
    /// The members with what they were assigned.
    pub members: Vec<MemberMetadata<'a>>,
}

impl RecordValue for GroupMetadataValue<'_> {
    const VERSIONS: buslane_wire::schema::Versions = versions(0, 4);
    const FLEXIBLE_FROM: i16 = 4;
}

/// An element of [`GroupMetadataValue::members`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct MemberMetadata<'a> {
    /// The member's id.
    pub member_id: &'a str,
    /// The name of a static member (KIP-345).
    #[wire(versions = "3+", nullable = "3+", ignorable, default = null)]
    pub group_instance_id: Option<&'a str>,
    /// The client's name for itself.
    pub client_id: &'a str,
    /// The client's address.
    pub client_host: &'a str,
    /// How long it may take to rejoin; -1 means its session timeout.
    #[wire(versions = "1+", ignorable, default = -1)]
    pub rebalance_timeout: i32,
    /// After so much silence it has left, in milliseconds.
    pub session_timeout: i32,
    /// Its metadata for the group's protocol.
    pub subscription: &'a [u8],
    /// What the leader gave it.
    pub assignment: &'a [u8],
}
