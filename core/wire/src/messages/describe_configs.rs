//! DescribeConfigs (key 32).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for DescribeConfigs.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 32, versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsRequest<'a> {
    pub resources: Vec<DescribeConfigsResource<'a>>,
    #[wire(versions = "1+")]
    pub include_synonyms: bool,
    #[wire(versions = "3+")]
    pub include_documentation: bool,
}

/// An element of [`DescribeConfigsRequest::resources`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeConfigsResource<'a> {
    pub resource_type: i8,
    pub resource_name: &'a str,
    #[wire(nullable = "0+")]
    pub configuration_keys: Option<Vec<&'a str>>,
}

/// Answers DescribeConfigs.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 32, versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsResponse<'a> {
    pub throttle_time_ms: i32,
    pub results: Vec<DescribeConfigsResult<'a>>,
}

/// An element of [`DescribeConfigsResponse::results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeConfigsResult<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    pub resource_type: i8,
    pub resource_name: &'a str,
    pub configs: Vec<DescribeConfigsResourceResult<'a>>,
}

/// An element of [`DescribeConfigsResult::configs`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeConfigsResourceResult<'a> {
    pub name: &'a str,
    #[wire(nullable = "0+")]
    pub value: Option<&'a str>,
    pub read_only: bool,
    #[wire(versions = "1+", ignorable, default = -1)]
    pub config_source: i8,
    pub is_sensitive: bool,
    #[wire(versions = "1+", ignorable)]
    pub synonyms: Vec<DescribeConfigsSynonym<'a>>,
    #[wire(versions = "3+", ignorable)]
    pub config_type: i8,
    #[wire(versions = "3+", nullable = "0+", ignorable)]
    pub documentation: Option<&'a str>,
}

/// An element of [`DescribeConfigsResourceResult::synonyms`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeConfigsSynonym<'a> {
    #[wire(versions = "1+")]
    pub name: &'a str,
    #[wire(versions = "1+", nullable = "0+")]
    pub value: Option<&'a str>,
    #[wire(versions = "1+")]
    pub source: i8,
}
