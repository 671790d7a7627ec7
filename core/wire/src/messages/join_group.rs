//! JoinGroup (key 11).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for JoinGroup.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 11, versions = "0-9", flexible = "6+")]
pub struct JoinGroupRequest<'a> {
    pub group_id: &'a str,
    pub session_timeout_ms: i32,
    #[wire(versions = "1+", ignorable, default = -1)]
    pub rebalance_timeout_ms: i32,
    pub member_id: &'a str,
    #[wire(versions = "5+", nullable = "5+", default = null)]
    pub group_instance_id: Option<&'a str>,
    pub protocol_type: &'a str,
    pub protocols: Vec<JoinGroupRequestProtocol<'a>>,
    #[wire(versions = "8+", nullable = "8+", ignorable, default = null)]
    pub reason: Option<&'a str>,
}

/// An element of [`JoinGroupRequest::protocols`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct JoinGroupRequestProtocol<'a> {
    pub name: &'a str,
    pub metadata: &'a [u8],
}

/// Answers JoinGroup.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 11, versions = "0-9", flexible = "6+")]
pub struct JoinGroupResponse<'a> {
    #[wire(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(default = -1)]
    pub generation_id: i32,
    #[wire(versions = "7+", nullable = "7+", ignorable, default = null)]
    pub protocol_type: Option<&'a str>,
    #[wire(nullable = "7+")]
    pub protocol_name: Option<&'a str>,
    pub leader: &'a str,
    #[wire(versions = "9+")]
    pub skip_assignment: bool,
    pub member_id: &'a str,
    pub members: Vec<JoinGroupResponseMember<'a>>,
}

/// An element of [`JoinGroupResponse::members`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct JoinGroupResponseMember<'a> {
    pub member_id: &'a str,
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub group_instance_id: Option<&'a str>,
    pub metadata: &'a [u8],
}
