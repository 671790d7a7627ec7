//! DescribeCluster (key 60), versions 0 to 2.
//!
//! Endpoint type 2 (controllers) is refused as by a Kafka broker (KIP-919). Nobody is restricted: who asks may do all that
//! there is (KIP-430).

use buslane_wire::ErrorCode;
use buslane_wire::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::metadata::CLUSTER_OPERATIONS;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

/// The types of endpoints.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: DescribeClusterRequest = decode(body, context.version)?;
    if request.endpoint_type != BROKERS {
        return context.answer(&DescribeClusterResponse {
            error_code: match request.endpoint_type {
                CONTROLLERS => ErrorCode::MISMATCHED_ENDPOINT_TYPE,
                _ => ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            },
            error_message: Some("this listener tells of brokers only (endpoint type 1)"),
            endpoint_type: BROKERS,
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
    let mut response = DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: &node.cluster_id,
        controller_id: node.id.0,
        brokers,
        ..Default::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    context.answer(&response)
}
