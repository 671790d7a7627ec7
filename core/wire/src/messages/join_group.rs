//! JoinGroup (key 11, versions 0-9). Version 5 adds static members (KIP-345), 8 the reason (KIP-800), 9 skips
//! assignment (KIP-814). Version 0 must be advertised (KAFKA-19444).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Enters the next generation of a classic group.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 11, versions = "0-9", flexible = "6+")]
pub struct JoinGroupRequest<'a> {
    pub group_id: &'a str,
    /// A member that is silent for this long has left.
    pub session_timeout_ms: i32,
    /// How long members may take to rejoin, or to give up partitions; -1 for unchanged.
    #[wire(versions = "1+", ignorable, default = -1)]
    pub rebalance_timeout_ms: i32,
    /// The member's id; empty in the first request of a classic member.
    pub member_id: &'a str,
    /// The name of a static member (KIP-345).
    #[wire(versions = "5+", nullable = "5+", default = null)]
    pub group_instance_id: Option<&'a str>,
    /// The class of protocols: `consumer`, `connect`.
    pub protocol_type: &'a str,
    pub protocols: Vec<JoinGroupRequestProtocol<'a>>,
    /// For people (KIP-800).
    #[wire(versions = "8+", nullable = "8+", ignorable, default = null)]
    pub reason: Option<&'a str>,
}

/// An element of [`JoinGroupRequest::protocols`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct JoinGroupRequestProtocol<'a> {
    pub name: &'a str,
    pub metadata: &'a [u8],
}

/// The generation; for its leader also the members.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 11, versions = "0-9", flexible = "6+")]
pub struct JoinGroupResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    /// The generation, one more for each rebalance; -1 when unknown.
    #[wire(default = -1)]
    pub generation_id: i32,
    /// The class of protocols: `consumer`, `connect`.
    #[wire(versions = "7+", nullable = "7+", ignorable, default = null)]
    pub protocol_type: Option<&'a str>,
    /// The assignment protocol chosen.
    #[wire(nullable = "7+")]
    pub protocol_name: Option<&'a str>,
    /// The member that computes the assignment.
    pub leader: &'a str,
    /// True when the leader need not compute an assignment (KIP-814).
    #[wire(versions = "9+")]
    pub skip_assignment: bool,
    /// The member's id; empty in the first request of a classic member.
    pub member_id: &'a str,
    pub members: Vec<JoinGroupResponseMember<'a>>,
}

/// An element of [`JoinGroupResponse::members`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct JoinGroupResponseMember<'a> {
    /// The member's id; empty in the first request of a classic member.
    pub member_id: &'a str,
    /// The name of a static member (KIP-345).
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub group_instance_id: Option<&'a str>,
    pub metadata: &'a [u8],
}
