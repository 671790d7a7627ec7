//! AlterConfigs (key 33, versions 0-2). Replaces all settings of a resource; IncrementalAlterConfigs is the
//! better choice.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Replaces settings.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 33, versions = "0-2", flexible = "2+")]
pub struct AlterConfigsRequest<'a> {
    pub resources: Vec<AlterConfigsResource<'a>>,
    /// Check, but change nothing.
    pub validate_only: bool,
}

/// An element of [`AlterConfigsRequest::resources`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AlterConfigsResource<'a> {
    /// In configuration requests: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group. In ACLs: 2
    /// topic, 3 group, 4 cluster, 5 transactional id, 6 delegation token, 7 user.
    pub resource_type: i8,
    pub resource_name: &'a str,
    pub configs: Vec<AlterableConfig<'a>>,
}

/// An element of [`AlterConfigsResource::configs`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AlterableConfig<'a> {
    pub name: &'a str,
    #[wire(nullable = "0+")]
    pub value: Option<&'a str>,
}

/// One result a resource.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 33, versions = "0-2", flexible = "2+")]
pub struct AlterConfigsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub responses: Vec<AlterConfigsResourceResponse<'a>>,
}

/// An element of [`AlterConfigsResponse::responses`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AlterConfigsResourceResponse<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    /// In configuration requests: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group. In ACLs: 2
    /// topic, 3 group, 4 cluster, 5 transactional id, 6 delegation token, 7 user.
    pub resource_type: i8,
    pub resource_name: &'a str,
}
