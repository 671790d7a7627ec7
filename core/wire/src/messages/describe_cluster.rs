//! DescribeCluster (key 60, versions 0-2). Version 1 adds the endpoint type (KIP-919), 2 fenced brokers
//! (KIP-1073).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for the cluster id and the brokers.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 60, versions = "0-2", flexible = "0+")]
pub struct DescribeClusterRequest {
    pub include_cluster_authorized_operations: bool,
    /// 1: brokers; 2: controllers.
    #[wire(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    #[wire(versions = "2+")]
    pub include_fenced_brokers: bool,
}

/// The cluster.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 60, versions = "0-2", flexible = "0+")]
pub struct DescribeClusterResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(nullable = "0+", default = null)]
    pub error_message: Option<&'a str>,
    /// 1: brokers; 2: controllers.
    #[wire(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    /// The id of this cluster.
    pub cluster_id: &'a str,
    /// The controller's node; -1 when unknown.
    #[wire(default = -1)]
    pub controller_id: i32,
    pub brokers: Vec<DescribeClusterBroker<'a>>,
    /// Bit set of the operations allowed on the cluster; `i32::MIN` when not asked for.
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
    /// True for a broker that is registered but does not serve.
    #[wire(versions = "2+")]
    pub is_fenced: bool,
}
