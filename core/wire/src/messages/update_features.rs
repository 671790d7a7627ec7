//! UpdateFeatures (key 57).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for UpdateFeatures.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 57, versions = "0-2", flexible = "0+")]
pub struct UpdateFeaturesRequest<'a> {
    #[wire(default = 60_000, name = "timeoutMs")]
    pub timeout_ms: i32,
    pub feature_updates: Vec<FeatureUpdateKey<'a>>,
    #[wire(versions = "1+")]
    pub validate_only: bool,
}

/// An element of [`UpdateFeaturesRequest::feature_updates`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct FeatureUpdateKey<'a> {
    pub feature: &'a str,
    pub max_version_level: i16,
    #[wire(versions = "0")]
    pub allow_downgrade: bool,
    #[wire(versions = "1+", default = 1)]
    pub upgrade_type: i8,
}

/// Answers UpdateFeatures.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 57, versions = "0-2", flexible = "0+")]
pub struct UpdateFeaturesResponse<'a> {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    #[wire(versions = "0-1", ignorable)]
    pub results: Vec<UpdatableFeatureResult<'a>>,
}

/// An element of [`UpdateFeaturesResponse::results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct UpdatableFeatureResult<'a> {
    pub feature: &'a str,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
}
