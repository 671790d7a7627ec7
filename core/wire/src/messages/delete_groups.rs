//! DeleteGroups (key 42, versions 0-3). Version 3 adds an error message.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Deletes groups.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 42, versions = "0-3", flexible = "2+")]
pub struct DeleteGroupsRequest<'a> {
    pub groups_names: Vec<&'a str>,
}

/// One result a group.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 42, versions = "0-3", flexible = "2+")]
pub struct DeleteGroupsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub results: Vec<DeletableGroupResult<'a>>,
}

/// An element of [`DeleteGroupsResponse::results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DeletableGroupResult<'a> {
    pub group_id: &'a str,
    pub error_code: ErrorCode,
    #[wire(versions = "3+", nullable = "3+", ignorable, default = null)]
    pub error_message: Option<&'a str>,
}
