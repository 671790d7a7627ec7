//! ListGroups (key 16, versions 0-5). Version 4 filters by state (KIP-518), 5 by type (KIP-848).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks which groups the broker coordinates.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 16, versions = "0-5", flexible = "3+")]
pub struct ListGroupsRequest<'a> {
    /// Only groups in these states; empty for all.
    #[wire(versions = "4+")]
    pub states_filter: Vec<&'a str>,
    /// Only groups of these types; empty for all.
    #[wire(versions = "5+")]
    pub types_filter: Vec<&'a str>,
}

/// Names, states and types.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 16, versions = "0-5", flexible = "3+")]
pub struct ListGroupsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    pub groups: Vec<ListedGroup<'a>>,
}

/// An element of [`ListGroupsResponse::groups`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ListedGroup<'a> {
    pub group_id: &'a str,
    /// The class of protocols: `consumer`, `connect`.
    pub protocol_type: &'a str,
    #[wire(versions = "4+", ignorable)]
    pub group_state: &'a str,
    #[wire(versions = "5+", ignorable)]
    pub group_type: &'a str,
}
