//! ApiVersions (key 18).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for ApiVersions.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 18, versions = "0-5", flexible = "3+")]
pub struct ApiVersionsRequest<'a> {
    #[wire(versions = "3+", ignorable)]
    pub client_software_name: &'a str,
    #[wire(versions = "3+", ignorable)]
    pub client_software_version: &'a str,
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub cluster_id: Option<&'a str>,
    #[wire(versions = "5+", ignorable, default = -1)]
    pub node_id: i32,
}

/// Answers ApiVersions.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 18, versions = "0-5", flexible = "3+")]
pub struct ApiVersionsResponse<'a> {
    pub error_code: ErrorCode,
    pub api_keys: Vec<ApiVersion>,
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    #[wire(versions = "3+", tag = 0, ignorable)]
    pub supported_features: Vec<SupportedFeatureKey<'a>>,
    #[wire(versions = "3+", tag = 1, ignorable, default = -1)]
    pub finalized_features_epoch: i64,
    #[wire(versions = "3+", tag = 2, ignorable)]
    pub finalized_features: Vec<FinalizedFeatureKey<'a>>,
    #[wire(versions = "3+", tag = 3, ignorable)]
    pub zk_migration_ready: bool,
}

/// An element of [`ApiVersionsResponse::api_keys`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ApiVersion {
    pub api_key: i16,
    pub min_version: i16,
    pub max_version: i16,
}

/// An element of [`ApiVersionsResponse::supported_features`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct SupportedFeatureKey<'a> {
    #[wire(versions = "3+")]
    pub name: &'a str,
    #[wire(versions = "3+")]
    pub min_version: i16,
    #[wire(versions = "3+")]
    pub max_version: i16,
}

/// An element of [`ApiVersionsResponse::finalized_features`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct FinalizedFeatureKey<'a> {
    #[wire(versions = "3+")]
    pub name: &'a str,
    #[wire(versions = "3+")]
    pub max_version_level: i16,
    #[wire(versions = "3+")]
    pub min_version_level: i16,
}
