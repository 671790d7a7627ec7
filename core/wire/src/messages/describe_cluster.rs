//! DescribeCluster (key 60).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for DescribeCluster.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 60, versions = "0-2", flexible = "0+")]
pub struct DescribeClusterRequest {
    pub include_cluster_authorized_operations: bool,
    #[wire(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    #[wire(versions = "2+")]
    pub include_fenced_brokers: bool,
}

/// Answers DescribeCluster.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 60, versions = "0-2", flexible = "0+")]
pub struct DescribeClusterResponse<'a> {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+", default = null)]
    pub error_message: Option<&'a str>,
    #[wire(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    pub cluster_id: &'a str,
    #[wire(default = -1)]
    pub controller_id: i32,
    pub brokers: Vec<DescribeClusterBroker<'a>>,
    #[wire(default = i32::MIN)]
    pub cluster_authorized_operations: i32,
}

/// An element of [`DescribeClusterResponse::brokers`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeClusterBroker<'a> {
    pub broker_id: i32,
    pub host: &'a str,
    pub port: i32,
    #[wire(nullable = "0+", default = null)]
    pub rack: Option<&'a str>,
    #[wire(versions = "2+")]
    pub is_fenced: bool,
}
