//! CreateAcls (key 30).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for CreateAcls.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 30, versions = "1-3", flexible = "2+")]
pub struct CreateAclsRequest<'a> {
    pub creations: Vec<AclCreation<'a>>,
}

/// An element of [`CreateAclsRequest::creations`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AclCreation<'a> {
    pub resource_type: i8,
    pub resource_name: &'a str,
    #[wire(versions = "1+", default = 3)]
    pub resource_pattern_type: i8,
    pub principal: &'a str,
    pub host: &'a str,
    pub operation: i8,
    pub permission_type: i8,
}

/// Answers CreateAcls.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 30, versions = "1-3", flexible = "2+")]
pub struct CreateAclsResponse<'a> {
    pub throttle_time_ms: i32,
    pub results: Vec<AclCreationResult<'a>>,
}

/// An element of [`CreateAclsResponse::results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AclCreationResult<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
}
