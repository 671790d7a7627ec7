//! DescribeGroups (key 15, versions 0-6). Version 4 adds static members, 6 an error message and
//! GROUP_ID_NOT_FOUND (KIP-1043).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks about classic groups.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 15, versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsRequest<'a> {
    pub groups: Vec<&'a str>,
    #[wire(versions = "3+")]
    pub include_authorized_operations: bool,
}

/// State and members of each group.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 15, versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub groups: Vec<DescribedGroup<'a>>,
}

/// An element of [`DescribeGroupsResponse::groups`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribedGroup<'a> {
    pub error_code: ErrorCode,
    #[wire(versions = "6+", nullable = "6+", default = null)]
    pub error_message: Option<&'a str>,
    pub group_id: &'a str,
    pub group_state: &'a str,
    /// The class of protocols: `consumer`, `connect`.
    pub protocol_type: &'a str,
    pub protocol_data: &'a str,
    pub members: Vec<DescribedGroupMember<'a>>,
    /// Bit set of the operations allowed on the group; `i32::MIN` when not asked for.
    #[wire(versions = "3+", default = i32::MIN)]
    pub authorized_operations: i32,
}

/// An element of [`DescribedGroup::members`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribedGroupMember<'a> {
    /// The member's id; empty in the first request of a classic member.
    pub member_id: &'a str,
    /// The name of a static member (KIP-345).
    #[wire(versions = "4+", nullable = "4+", ignorable, default = null)]
    pub group_instance_id: Option<&'a str>,
    pub client_id: &'a str,
    pub client_host: &'a str,
    pub member_metadata: &'a [u8],
    pub member_assignment: &'a [u8],
}
