//! DescribeCluster (key 60), versions 0 to 2.
//!
//! Endpoint type 2 (controllers) is refused as by a Kafka broker: UNSUPPORTED_ENDPOINT_TYPE (KIP-919).
//! Not done: authorized operations; nobody is restricted, and `i32::MIN` says that they were not computed.

use buslane_wire::ErrorCode;
use buslane_wire::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

pub fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: DescribeClusterRequest = decode(body, context.version)?;
    if request.endpoint_type != 1 {
        return context.answer(&DescribeClusterResponse {
            error_code: ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            error_message: Some("this listener tells of brokers only (endpoint type 1)"),
            endpoint_type: request.endpoint_type,
            ..Default::default()
        });
    }
    let brokers = vec![DescribeClusterBroker {
        broker_id: node.id.0,
        host: &node.advertised_host,
        port: node.advertised_port,
        rack: None,
        is_fenced: false,
    }];
    context.answer(&DescribeClusterResponse {
        endpoint_type: 1,
        cluster_id: &node.cluster_id,
        controller_id: node.id.0,
        brokers,
        ..Default::default()
    })
}
