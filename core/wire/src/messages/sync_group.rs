//! SyncGroup (key 14, versions 0-5). Version 3 adds static members, 5 the protocol (KIP-559).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Hands in the assignment (the leader) or asks for it (the others).
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 14, versions = "0-5", flexible = "4+")]
pub struct SyncGroupRequest<'a> {
    pub group_id: &'a str,
    /// The generation, one more for each rebalance; -1 when unknown.
    pub generation_id: i32,
    /// The member's id; empty in the first request of a classic member.
    pub member_id: &'a str,
    /// The name of a static member (KIP-345).
    #[wire(versions = "3+", nullable = "3+", default = null)]
    pub group_instance_id: Option<&'a str>,
    /// The class of protocols: `consumer`, `connect`.
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub protocol_type: Option<&'a str>,
    /// The assignment protocol chosen.
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub protocol_name: Option<&'a str>,
    pub assignments: Vec<SyncGroupRequestAssignment<'a>>,
}

/// An element of [`SyncGroupRequest::assignments`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct SyncGroupRequestAssignment<'a> {
    /// The member's id; empty in the first request of a classic member.
    pub member_id: &'a str,
    pub assignment: &'a [u8],
}

/// What the member was assigned.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 14, versions = "0-5", flexible = "4+")]
pub struct SyncGroupResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    /// The class of protocols: `consumer`, `connect`.
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub protocol_type: Option<&'a str>,
    /// The assignment protocol chosen.
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub protocol_name: Option<&'a str>,
    pub assignment: &'a [u8],
}
