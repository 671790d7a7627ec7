//! DeleteAcls (key 31).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for DeleteAcls.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 31, versions = "1-3", flexible = "2+")]
pub struct DeleteAclsRequest<'a> {
    pub filters: Vec<DeleteAclsFilter<'a>>,
}

/// An element of [`DeleteAclsRequest::filters`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DeleteAclsFilter<'a> {
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

/// Answers DeleteAcls.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 31, versions = "1-3", flexible = "2+")]
pub struct DeleteAclsResponse<'a> {
    pub throttle_time_ms: i32,
    pub filter_results: Vec<DeleteAclsFilterResult<'a>>,
}

/// An element of [`DeleteAclsResponse::filter_results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DeleteAclsFilterResult<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    pub matching_acls: Vec<DeleteAclsMatchingAcl<'a>>,
}

/// An element of [`DeleteAclsFilterResult::matching_acls`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DeleteAclsMatchingAcl<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    pub resource_type: i8,
    pub resource_name: &'a str,
    #[wire(versions = "1+", default = 3)]
    pub pattern_type: i8,
    pub principal: &'a str,
    pub host: &'a str,
    pub operation: i8,
    pub permission_type: i8,
}
