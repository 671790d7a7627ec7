//! LeaveGroup (key 13, versions 0-5). Version 3 removes several members at once (KIP-345), 5 adds the reason
//! (KIP-800).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Leaves a classic group.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 13, versions = "0-5", flexible = "4+")]
pub struct LeaveGroupRequest<'a> {
    pub group_id: &'a str,
    /// The member's id; empty in the first request of a classic member.
    #[wire(versions = "0-2")]
    pub member_id: &'a str,
    #[wire(versions = "3+")]
    pub members: Vec<MemberIdentity<'a>>,
}

/// An element of [`LeaveGroupRequest::members`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct MemberIdentity<'a> {
    /// The member's id; empty in the first request of a classic member.
    #[wire(versions = "3+")]
    pub member_id: &'a str,
    /// The name of a static member (KIP-345).
    #[wire(versions = "3+", nullable = "3+", default = null)]
    pub group_instance_id: Option<&'a str>,
    /// For people (KIP-800).
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub reason: Option<&'a str>,
}

/// One result a member.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 13, versions = "0-5", flexible = "4+")]
pub struct LeaveGroupResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(versions = "3+")]
    pub members: Vec<MemberResponse<'a>>,
}

/// An element of [`LeaveGroupResponse::members`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct MemberResponse<'a> {
    /// The member's id; empty in the first request of a classic member.
    #[wire(versions = "3+")]
    pub member_id: &'a str,
    /// The name of a static member (KIP-345).
    #[wire(versions = "3+", nullable = "3+")]
    pub group_instance_id: Option<&'a str>,
    #[wire(versions = "3+")]
    pub error_code: ErrorCode,
}
