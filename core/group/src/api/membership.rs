//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use std::sync::Arc;

use buslane_wire::{ErrorCode, messages};
use bytes::Bytes;

/// Who sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// From the request's header; empty when there is none.
    pub client_id: Arc<str>,
    /// As Kafka writes it: `/127.0.0.1`, with the slash and without the port.
    pub client_host: Arc<str>,
}

/// A protocol that a member supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The protocol.
    pub name: Arc<str>,
    /// The member's subscription in it; opaque but for topics of type `consumer`.
    pub metadata: Bytes,
}

/// Enters the next generation of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroup {
    /// The request's version: from 4 on a new member must come back with the id it is given (KIP-394), from 9 on a
    /// leader may be told to skip the assignment (KIP-814).
    pub version: i16,
    /// Who asks.
    pub caller: Caller,
    /// What a new member's id ends in, drawn at random by the caller of the shard: a UUID in its usual form.
    pub new_member_suffix: Arc<str>,
    /// The group.
    pub group: Arc<str>,
    /// The member; empty for a new one.
    pub member_id: Arc<str>,
    /// The name of a static member (KIP-345).
    pub instance_id: Option<Arc<str>>,
    /// After so much silence the member has left, in milliseconds.
    pub session_timeout_ms: i32,
    /// How long the member may take to rejoin, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect`.
    pub protocol_type: Arc<str>,
    /// Most wanted first; each name counts once.
    pub protocols: Vec<Protocol>,
    /// For people (KIP-800); comes out in [`Event`](crate::Event)s.
    pub reason: Option<Arc<str>>,
}

impl JoinGroup {
    /// Copies a request out of its frame.
    pub fn from_wire(
        message: &messages::JoinGroupRequest<'_>,
        version: i16,
        caller: Caller,
        new_member_suffix: Arc<str>,
    ) -> JoinGroup {
        let mut protocols: Vec<Protocol> = Vec::with_capacity(message.protocols.len().min(16));
        let mut names = std::collections::HashSet::new();
        for protocol in &message.protocols {
            // A name that stands twice would be counted twice in the votes.
            if names.insert(protocol.name) {
                let metadata = Bytes::copy_from_slice(protocol.metadata);
                protocols.push(Protocol { name: protocol.name.into(), metadata });
            }
        }
        JoinGroup {
            version,
            caller,
            new_member_suffix,
            group: message.group_id.into(),
            member_id: message.member_id.into(),
            instance_id: message.group_instance_id.map(Into::into),
            session_timeout_ms: message.session_timeout_ms,
            // Version 0 has no timeout of its own for rebalances.
            rebalance_timeout_ms: if version == 0 {
                message.session_timeout_ms
            } else {
                message.rebalance_timeout_ms
            },
            protocol_type: message.protocol_type.into(),
            protocols,
            reason: message.reason.map(Into::into),
        }
    }

    pub(super) fn refuse(&self, error_code: ErrorCode) -> JoinGroupReply {
        JoinGroupReply::error(self.member_id.clone(), error_code)
    }
}

/// The generation a member is in; for its leader also the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupReply {
    /// What went wrong.
    pub error_code: ErrorCode,
    /// The generation; -1 on an error.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol chosen.
    pub protocol: Option<Arc<str>>,
    /// The member that computes the assignment; empty on an error.
    pub leader: Arc<str>,
    /// True when the leader need not compute one (KIP-814).
    pub skip_assignment: bool,
    /// The member's id; with MEMBER_ID_REQUIRED the one to come back with.
    pub member_id: Arc<str>,
    /// For the leader.
    pub members: Vec<JoinedMember>,
}

/// What a leader learns of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member.
    pub member_id: Arc<str>,
    /// The name of a static member.
    pub instance_id: Option<Arc<str>>,
    /// Its subscription in the protocol chosen.
    pub metadata: Bytes,
}

impl JoinGroupReply {
    /// A reply that says what went wrong.
    pub fn error(member_id: Arc<str>, error_code: ErrorCode) -> JoinGroupReply {
        JoinGroupReply {
            error_code,
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: "".into(),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }

    /// The message for a request of `version`.
    pub fn to_wire(&self, version: i16) -> messages::JoinGroupResponse<'_> {
        messages::JoinGroupResponse {
            throttle_time_ms: 0,
            error_code: self.error_code,
            generation_id: self.generation,
            protocol_type: self.protocol_type.as_deref(),
            // Null since version 7, empty before.
            protocol_name: match self.protocol.as_deref() {
                None | Some("") if version >= 7 => None,
                name => Some(name.unwrap_or("")),
            },
            leader: &self.leader,
            skip_assignment: self.skip_assignment,
            member_id: &self.member_id,
            members: self
                .members
                .iter()
                .map(|member| messages::join_group::JoinGroupResponseMember {
                    member_id: &member.member_id,
                    group_instance_id: member.instance_id.as_deref(),
                    metadata: &member.metadata,
                })
                .collect(),
        }
    }
}

/// Hands in the assignment (the leader) or asks for it (the others).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroup {
    /// The request's version: from 5 on type and protocol must be there (KIP-559).
    pub version: i16,
    /// The group.
    pub group: Arc<str>,
    /// The generation the member joined.
    pub generation: i32,
    /// The member.
    pub member_id: Arc<str>,
    /// The name of a static member.
    pub instance_id: Option<Arc<str>>,
    /// What the member takes the group's protocol type to be.
    pub protocol_type: Option<Arc<str>>,
    /// What the member takes the protocol chosen to be.
    pub protocol: Option<Arc<str>>,
    /// From the leader.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

impl SyncGroup {
    /// Whether it names protocol type and protocol, which it must from version 5 on (KIP-559).
    pub(crate) fn names_protocol(&self) -> bool {
        self.version < 5 || (self.protocol_type.is_some() && self.protocol.is_some())
    }

    /// Copies a request out of its frame.
    pub fn from_wire(message: &messages::SyncGroupRequest<'_>, version: i16) -> SyncGroup {
        SyncGroup {
            version,
            group: message.group_id.into(),
            generation: message.generation_id,
            member_id: message.member_id.into(),
            instance_id: message.group_instance_id.map(Into::into),
            protocol_type: message.protocol_type.map(Into::into),
            protocol: message.protocol_name.map(Into::into),
            assignments: message
                .assignments
                .iter()
                .map(|given| (given.member_id.into(), Bytes::copy_from_slice(given.assignment)))
                .collect(),
        }
    }
}

/// What the member was assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupReply {
    /// What went wrong.
    pub error_code: ErrorCode,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol chosen.
    pub protocol: Option<Arc<str>>,
    /// The leader's bytes for this member; empty when it gave none.
    pub assignment: Bytes,
}

impl SyncGroupReply {
    /// A reply that says what went wrong.
    pub fn error(error_code: ErrorCode) -> SyncGroupReply {
        SyncGroupReply { error_code, protocol_type: None, protocol: None, assignment: Bytes::new() }
    }

    /// The message, the same in every version.
    pub fn to_wire(&self) -> messages::SyncGroupResponse<'_> {
        messages::SyncGroupResponse {
            throttle_time_ms: 0,
            error_code: self.error_code,
            protocol_type: self.protocol_type.as_deref(),
            protocol_name: self.protocol.as_deref(),
            assignment: &self.assignment,
        }
    }
}

/// Keeps a member alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The group.
    pub group: Arc<str>,
    /// The generation the member is in.
    pub generation: i32,
    /// The member.
    pub member_id: Arc<str>,
    /// The name of a static member.
    pub instance_id: Option<Arc<str>>,
}

impl Heartbeat {
    /// Copies a request out of its frame.
    pub fn from_wire(message: &messages::HeartbeatRequest<'_>) -> Heartbeat {
        Heartbeat {
            group: message.group_id.into(),
            generation: message.generation_id,
            member_id: message.member_id.into(),
            instance_id: message.group_instance_id.map(Into::into),
        }
    }
}

/// Whether it may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// REBALANCE_IN_PROGRESS: it must rejoin.
    pub error_code: ErrorCode,
}

impl HeartbeatReply {
    /// The message, the same in every version.
    pub fn to_wire(&self) -> messages::HeartbeatResponse {
        messages::HeartbeatResponse { throttle_time_ms: 0, error_code: self.error_code }
    }
}

/// Takes members out of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroup {
    /// The group.
    pub group: Arc<str>,
    /// One below version 3, any number from there on.
    pub members: Vec<LeavingMember>,
}

/// Who leaves: by id, or by the name of a static member with an empty id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    /// The member.
    pub member_id: Arc<str>,
    /// The name of a static member.
    pub instance_id: Option<Arc<str>>,
    /// For people (KIP-800).
    pub reason: Option<Arc<str>>,
}

impl LeaveGroup {
    /// Copies a request out of its frame.
    pub fn from_wire(message: &messages::LeaveGroupRequest<'_>, version: i16) -> LeaveGroup {
        let members = if version < 3 {
            vec![LeavingMember { member_id: message.member_id.into(), instance_id: None, reason: None }]
        } else {
            message
                .members
                .iter()
                .map(|member| LeavingMember {
                    member_id: member.member_id.into(),
                    instance_id: member.group_instance_id.map(Into::into),
                    reason: member.reason.map(Into::into),
                })
                .collect()
        };
        LeaveGroup { group: message.group_id.into(), members }
    }
}

/// One result a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupReply {
    /// What went wrong with all of it.
    pub error_code: ErrorCode,
    /// In the order of the request.
    pub members: Vec<LeftMember>,
}

/// What became of a leaving member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    /// As in the request.
    pub member_id: Arc<str>,
    /// As in the request.
    pub instance_id: Option<Arc<str>>,
    /// What went wrong with this one.
    pub error_code: ErrorCode,
}

impl LeaveGroupReply {
    /// The message for a request of `version`: below 3 the only member's error is the request's.
    pub fn to_wire(&self, version: i16) -> messages::LeaveGroupResponse<'_> {
        if version < 3 {
            let member_error =
                || self.members.iter().map(|member| member.error_code).find(|code| code.is_err());
            let error_code = if self.error_code.is_err() {
                self.error_code
            } else {
                member_error().unwrap_or(ErrorCode::NONE)
            };
            return messages::LeaveGroupResponse { throttle_time_ms: 0, error_code, members: Vec::new() };
        }
        messages::LeaveGroupResponse {
            throttle_time_ms: 0,
            error_code: self.error_code,
            members: self
                .members
                .iter()
                .map(|member| messages::leave_group::MemberResponse {
                    member_id: &member.member_id,
                    group_instance_id: member.instance_id.as_deref(),
                    error_code: member.error_code,
                })
                .collect(),
        }
    }
}
