//! ListGroups (key 16).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for ListGroups.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 16, versions = "0-5", flexible = "3+")]
pub struct ListGroupsRequest<'a> {
    #[wire(versions = "4+")]
    pub states_filter: Vec<&'a str>,
    #[wire(versions = "5+")]
    pub types_filter: Vec<&'a str>,
}

/// Answers ListGroups.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 16, versions = "0-5", flexible = "3+")]
pub struct ListGroupsResponse<'a> {
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    pub groups: Vec<ListedGroup<'a>>,
}

/// An element of [`ListGroupsResponse::groups`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ListedGroup<'a> {
    pub group_id: &'a str,
    pub protocol_type: &'a str,
    #[wire(versions = "4+", ignorable)]
    pub group_state: &'a str,
    #[wire(versions = "5+", ignorable)]
    pub group_type: &'a str,
}
