//! UpdateFeatures (key 57, versions 0-2). KIP-584.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Changes finalized features.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 57, versions = "0-2", flexible = "0+")]
pub struct UpdateFeaturesRequest<'a> {
    /// How long the broker may take before it answers with REQUEST_TIMED_OUT.
    #[wire(default = 60_000, name = "timeoutMs")]
    pub timeout_ms: i32,
    pub feature_updates: Vec<FeatureUpdateKey<'a>>,
    /// Check, but change nothing.
    #[wire(versions = "1+")]
    pub validate_only: bool,
}

/// An element of [`UpdateFeaturesRequest::feature_updates`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct FeatureUpdateKey<'a> {
    pub feature: &'a str,
    /// The level; below 1 in an update removes the feature.
    pub max_version_level: i16,
    #[wire(versions = "0")]
    pub allow_downgrade: bool,
    /// 1: only up; 2: down without loss; 3: down at the price of a loss.
    #[wire(versions = "1+", default = 1)]
    pub upgrade_type: i8,
}

/// Whether it did.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 57, versions = "0-2", flexible = "0+")]
pub struct UpdateFeaturesResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
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
