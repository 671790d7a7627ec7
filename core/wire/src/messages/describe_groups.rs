//! DescribeGroups (key 15).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for DescribeGroups.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 15, versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsRequest<'a> {
    pub groups: Vec<&'a str>,
    #[wire(versions = "3+")]
    pub include_authorized_operations: bool,
}

/// Answers DescribeGroups.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 15, versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsResponse<'a> {
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
    pub protocol_type: &'a str,
    pub protocol_data: &'a str,
    pub members: Vec<DescribedGroupMember<'a>>,
    #[wire(versions = "3+", default = i32::MIN)]
    pub authorized_operations: i32,
}

/// An element of [`DescribedGroup::members`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribedGroupMember<'a> {
    pub member_id: &'a str,
    #[wire(versions = "4+", nullable = "4+", ignorable, default = null)]
    pub group_instance_id: Option<&'a str>,
    pub client_id: &'a str,
    pub client_host: &'a str,
    pub member_metadata: &'a [u8],
    pub member_assignment: &'a [u8],
}
