//! CreateAcls (key 30, versions 1-3).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Creates ACLs.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 30, versions = "1-3", flexible = "2+")]
pub struct CreateAclsRequest<'a> {
    pub creations: Vec<AclCreation<'a>>,
}

/// An element of [`CreateAclsRequest::creations`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AclCreation<'a> {
    /// In configuration requests: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group. In ACLs: 2
    /// topic, 3 group, 4 cluster, 5 transactional id, 6 delegation token, 7 user.
    pub resource_type: i8,
    pub resource_name: &'a str,
    /// 3 literal, 4 prefixed.
    #[wire(versions = "1+", default = 3)]
    pub resource_pattern_type: i8,
    pub principal: &'a str,
    pub host: &'a str,
    /// 1 any (filters only), 2 all, 3 read, 4 write, 5 create, 6 delete, 7 alter, 8 describe, 9 cluster
    /// action, 10 describe configs, 11 alter configs, 12 idempotent write, 13 create tokens, 14 describe
    /// tokens, 15 two-phase commit.
    pub operation: i8,
    /// 1 any (filters only), 2 deny, 3 allow.
    pub permission_type: i8,
}

/// One result an ACL.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 30, versions = "1-3", flexible = "2+")]
pub struct CreateAclsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
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
