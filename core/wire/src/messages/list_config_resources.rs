//! ListConfigResources (key 74, versions 0-1). Version 0 was ListClientMetricsResources (KIP-714); version 1
//! lists any type (KIP-1142).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks which resources have settings.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 74, versions = "0-1", flexible = "0+")]
pub struct ListConfigResourcesRequest {
    #[wire(versions = "1+")]
    pub resource_types: Vec<i8>,
}

/// The resources.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 74, versions = "0-1", flexible = "0+")]
pub struct ListConfigResourcesResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    pub config_resources: Vec<ConfigResource<'a>>,
}

/// An element of [`ListConfigResourcesResponse::config_resources`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ConfigResource<'a> {
    pub resource_name: &'a str,
    /// In configuration requests: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group. In ACLs: 2
    /// topic, 3 group, 4 cluster, 5 transactional id, 6 delegation token, 7 user.
    #[wire(versions = "1+", ignorable, default = 16)]
    pub resource_type: i8,
}
