//! DescribeAcls (key 29).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for DescribeAcls.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 29, versions = "1-3", flexible = "2+")]
pub struct DescribeAclsRequest<'a> {
    pub resource_type_filter: i8,
    #[wire(nullable = "0+")]
    pub resource_name_filter: Option<&'a str>,
    #[wire(versions = "1+", default = 3)]
    pub pattern_type_filter: i8,
    #[wire(nullable = "0+")]
    pub principal_filter: Option<&'a str>,
    #[wire(nullable = "0+")]
    pub host_filter: Option<&'a str>,
    pub operation: i8,
    pub permission_type: i8,
}

/// Answers DescribeAcls.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 29, versions = "1-3", flexible = "2+")]
pub struct DescribeAclsResponse<'a> {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    pub resources: Vec<DescribeAclsResource<'a>>,
}

/// An element of [`DescribeAclsResponse::resources`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeAclsResource<'a> {
    pub resource_type: i8,
    pub resource_name: &'a str,
    #[wire(versions = "1+", default = 3)]
    pub pattern_type: i8,
    pub acls: Vec<AclDescription<'a>>,
}

/// An element of [`DescribeAclsResource::acls`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AclDescription<'a> {
    pub principal: &'a str,
    pub host: &'a str,
    pub operation: i8,
    pub permission_type: i8,
}
