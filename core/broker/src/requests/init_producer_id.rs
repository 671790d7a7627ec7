//! InitProducerId (key 22), versions 0 to 5.
//!
//! Without a transactional id every call gets a fresh id, epoch 0 (also a producer that asks to have its epoch raised,
//! KIP-360: a new id fences as well). Ids come from blocks allocated through metadata, so none is ever given out twice.
//! A transactional id is refused: transactions are not served yet.

use buslane_wire::ErrorCode;
use buslane_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

pub async fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: InitProducerIdRequest<'_> = decode(body, context.version)?;
    let refuse = |error_code| InitProducerIdResponse {
        error_code,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let response = match request.transactional_id {
        Some("") => refuse(ErrorCode::INVALID_REQUEST),
        // An id and an epoch belong together, also where neither is looked at.
        None if (request.producer_id == -1) != (request.producer_epoch == -1) => {
            refuse(ErrorCode::INVALID_REQUEST)
        }
        Some(_) => refuse(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        None => match node.producer_ids.next(&node.consensus).await {
            Some(producer_id) => {
                InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() }
            }
            None => refuse(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        },
    };
    context.answer(&response)
}
