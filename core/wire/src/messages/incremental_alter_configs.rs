//! IncrementalAlterConfigs (key 44).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for IncrementalAlterConfigs.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 44, versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsRequest<'a> {
    pub resources: Vec<AlterConfigsResource<'a>>,
    pub validate_only: bool,
}

/// An element of [`IncrementalAlterConfigsRequest::resources`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AlterConfigsResource<'a> {
    pub resource_type: i8,
    pub resource_name: &'a str,
    pub configs: Vec<AlterableConfig<'a>>,
}

/// An element of [`AlterConfigsResource::configs`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AlterableConfig<'a> {
    pub name: &'a str,
    pub config_operation: i8,
    #[wire(nullable = "0+")]
    pub value: Option<&'a str>,
}

/// Answers IncrementalAlterConfigs.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 44, versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsResponse<'a> {
    pub throttle_time_ms: i32,
    pub responses: Vec<AlterConfigsResourceResponse<'a>>,
}

/// An element of [`IncrementalAlterConfigsResponse::responses`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AlterConfigsResourceResponse<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    pub resource_type: i8,
    pub resource_name: &'a str,
}
