//! FindCoordinator (key 10), versions 0 to 6 (several keys from 4 on, KIP-699).
//!
//! A group's coordinator is the owner of its partition of `__consumer_offsets`, which the first such request creates.
//! Transactions are not served yet: a transactional id gets TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which every client
//! reports at once instead of trying for ever. The message says what is really the matter.

use std::collections::HashSet;
use std::sync::Arc;

use buslane_wire::ErrorCode;
use buslane_wire::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};

use super::{Answer, RequestContext, Unanswerable, decode};
use crate::groups::{offsets_topic, partition_of};
use crate::node::Node;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: FindCoordinatorRequest<'_> = decode(body, context.version)?;
    // Each key once, where Kafka tells it as often as it is asked: a small request has no huge answer.
    let mut seen = HashSet::new();
    let mut keys = if context.version < 4 { vec![request.key] } else { request.coordinator_keys };
    keys.retain(|key| seen.insert(*key));
    let topic = match request.key_type {
        GROUP => Some(offsets_topic(node).await),
        _ => None,
    };
    let image = node.consensus.image();
    let mut coordinators = keys.into_iter().map(|key| {
        let (error_code, message) = match &topic {
            Some(Ok(topic)) => {
                let partition = topic.partition(partition_of(key, topic.partitions.len()));
                match partition.and_then(|p| image.partition(p.id)?.owner) {
                    // This node is the only one.
                    Some(_) => (ErrorCode::NONE, if context.version < 4 { "NONE" } else { "" }),
                    None => (ErrorCode::COORDINATOR_NOT_AVAILABLE, "the group's partition has no owner yet"),
                }
            }
            Some(Err(code)) => (*code, "the topic of groups cannot be created; the broker's log says why"),
            None if request.key_type == TRANSACTION => (
                ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                "transactions are not served yet; use an idempotent producer without a transactional id",
            ),
            None => (ErrorCode::INVALID_REQUEST, "this kind of coordinator is not served"),
        };
        let found = !error_code.is_err();
        Coordinator {
            key,
            node_id: if found { node.id.0 } else { -1 },
            host: if found { &node.advertised_host } else { "" },
            port: if found { node.advertised_port } else { -1 },
            error_code,
            // The same text as Kafka, where nothing is to be said.
            error_message: Some(message),
        }
    });
    let response = if context.version >= 4 {
        FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() }
    } else {
        let one = coordinators.next().unwrap_or_default();
        FindCoordinatorResponse {
            error_code: one.error_code,
            error_message: one.error_message,
            node_id: one.node_id,
            host: one.host,
            port: one.port,
            ..Default::default()
        }
    };
    context.answer(&response)
}
