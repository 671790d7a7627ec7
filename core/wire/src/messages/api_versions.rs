//! ApiVersions (key 18, versions 0-5). The response header is always version 0, and a version the broker does
//! not know is answered with a body of version 0 and UNSUPPORTED_VERSION (KIP-511). Version 5 says which
//! cluster and node the client means to reach (KIP-1242).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks which requests are served; the first request of a connection.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 18, versions = "0-5", flexible = "3+")]
pub struct ApiVersionsRequest<'a> {
    #[wire(versions = "3+", ignorable)]
    pub client_software_name: &'a str,
    #[wire(versions = "3+", ignorable)]
    pub client_software_version: &'a str,
    /// The cluster that the client means to reach; given together with the node id, or not at all (KIP-1242).
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub cluster_id: Option<&'a str>,
    /// The node that the client means to reach; -1 when it does not know (KIP-1242).
    #[wire(versions = "5+", ignorable, default = -1)]
    pub node_id: i32,
}

/// The requests served, and the features.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 18, versions = "0-5", flexible = "3+")]
pub struct ApiVersionsResponse<'a> {
    pub error_code: ErrorCode,
    pub api_keys: Vec<ApiVersion>,
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    #[wire(versions = "3+", tag = 0, ignorable)]
    pub supported_features: Vec<SupportedFeatureKey<'a>>,
    /// Grows with each change of the finalized features; -1 when unknown.
    #[wire(versions = "3+", tag = 1, ignorable, default = -1)]
    pub finalized_features_epoch: i64,
    /// Levels that the whole cluster has agreed on; clients switch behaviour on them.
    #[wire(versions = "3+", tag = 2, ignorable)]
    pub finalized_features: Vec<FinalizedFeatureKey<'a>>,
    /// A relic; false.
    #[wire(versions = "3+", tag = 3, ignorable)]
    pub zk_migration_ready: bool,
}

/// An element of [`ApiVersionsResponse::api_keys`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct ApiVersion {
    pub api_key: i16,
    /// Inclusive.
    pub min_version: i16,
    /// Inclusive.
    pub max_version: i16,
}

/// An element of [`ApiVersionsResponse::supported_features`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct SupportedFeatureKey<'a> {
    #[wire(versions = "3+")]
    pub name: &'a str,
    /// Inclusive.
    #[wire(versions = "3+")]
    pub min_version: i16,
    /// Inclusive.
    #[wire(versions = "3+")]
    pub max_version: i16,
}

/// An element of [`ApiVersionsResponse::finalized_features`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct FinalizedFeatureKey<'a> {
    #[wire(versions = "3+")]
    pub name: &'a str,
    /// The level; below 1 in an update removes the feature.
    #[wire(versions = "3+")]
    pub max_version_level: i16,
    #[wire(versions = "3+")]
    pub min_version_level: i16,
}
