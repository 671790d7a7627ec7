//! DescribeConfigs (key 32, versions 1-4). Version 1 adds sources and synonyms, 3 types and documentation.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for settings.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 32, versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsRequest<'a> {
    pub resources: Vec<DescribeConfigsResource<'a>>,
    /// Tell, too, which values would apply if the strongest were removed.
    #[wire(versions = "1+")]
    pub include_synonyms: bool,
    #[wire(versions = "3+")]
    pub include_documentation: bool,
}

/// An element of [`DescribeConfigsRequest::resources`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeConfigsResource<'a> {
    /// In configuration requests: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group. In ACLs: 2
    /// topic, 3 group, 4 cluster, 5 transactional id, 6 delegation token, 7 user.
    pub resource_type: i8,
    pub resource_name: &'a str,
    /// The settings asked for; null for all.
    #[wire(nullable = "0+")]
    pub configuration_keys: Option<Vec<&'a str>>,
}

/// The settings of each resource.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 32, versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub results: Vec<DescribeConfigsResult<'a>>,
}

/// An element of [`DescribeConfigsResponse::results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeConfigsResult<'a> {
    pub error_code: ErrorCode,
    #[wire(nullable = "0+")]
    pub error_message: Option<&'a str>,
    /// In configuration requests: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group. In ACLs: 2
    /// topic, 3 group, 4 cluster, 5 transactional id, 6 delegation token, 7 user.
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
    /// True when no request can change it.
    pub read_only: bool,
    /// Where the value comes from: 1 topic, 2 broker, 3 all brokers, 4 broker's file, 5 built in, 6 broker
    /// logger, 7 client metrics, 8 group.
    #[wire(versions = "1+", ignorable, default = -1)]
    pub config_source: i8,
    /// True when the value is withheld.
    pub is_sensitive: bool,
    #[wire(versions = "1+", ignorable)]
    pub synonyms: Vec<DescribeConfigsSynonym<'a>>,
    /// 0 unknown, 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password.
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
    /// Where the value comes from, numbered as `config_source`.
    #[wire(versions = "1+")]
    pub source: i8,
}
