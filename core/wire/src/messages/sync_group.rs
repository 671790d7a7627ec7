//! SyncGroup (key 14).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for SyncGroup.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 14, versions = "0-5", flexible = "4+")]
pub struct SyncGroupRequest<'a> {
    pub group_id: &'a str,
    pub generation_id: i32,
    pub member_id: &'a str,
    #[wire(versions = "3+", nullable = "3+", default = null)]
    pub group_instance_id: Option<&'a str>,
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub protocol_type: Option<&'a str>,
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub protocol_name: Option<&'a str>,
    pub assignments: Vec<SyncGroupRequestAssignment<'a>>,
}

/// An element of [`SyncGroupRequest::assignments`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct SyncGroupRequestAssignment<'a> {
    pub member_id: &'a str,
    pub assignment: &'a [u8],
}

/// Answers SyncGroup.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 14, versions = "0-5", flexible = "4+")]
pub struct SyncGroupResponse<'a> {
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub protocol_type: Option<&'a str>,
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub protocol_name: Option<&'a str>,
    pub assignment: &'a [u8],
}
