//! LeaveGroup (key 13).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for LeaveGroup.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 13, versions = "0-5", flexible = "4+")]
pub struct LeaveGroupRequest<'a> {
    pub group_id: &'a str,
    #[wire(versions = "0-2")]
    pub member_id: &'a str,
    #[wire(versions = "3+")]
    pub members: Vec<MemberIdentity<'a>>,
}

/// An element of [`LeaveGroupRequest::members`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct MemberIdentity<'a> {
    #[wire(versions = "3+")]
    pub member_id: &'a str,
    #[wire(versions = "3+", nullable = "3+", default = null)]
    pub group_instance_id: Option<&'a str>,
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub reason: Option<&'a str>,
}

/// Answers LeaveGroup.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 13, versions = "0-5", flexible = "4+")]
pub struct LeaveGroupResponse<'a> {
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(versions = "3+")]
    pub members: Vec<MemberResponse<'a>>,
}

/// An element of [`LeaveGroupResponse::members`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct MemberResponse<'a> {
    #[wire(versions = "3+")]
    pub member_id: &'a str,
    #[wire(versions = "3+", nullable = "3+")]
    pub group_instance_id: Option<&'a str>,
    #[wire(versions = "3+")]
    pub error_code: ErrorCode,
}
