//! ListConfigResources (key 74).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for ListConfigResources.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 74, versions = "0-1", flexible = "0+")]
pub struct ListConfigResourcesRequest {
    #[wire(versions = "1+")]
    pub resource_types: Vec<i8>,
}

/// Answers ListConfigResources.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 74, versions = "0-1", flexible = "0+")]
pub struct ListConfigResourcesResponse<'a> {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    pub config_resources: Vec<ConfigResource<'a>>,
}

/// An element of [`ListConfigResourcesResponse::config_resources`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConfigResource<'a> {
    pub resource_name: &'a str,
    #[wire(versions = "1+", ignorable, default = 16)]
    pub resource_type: i8,
}
