//! ConsumerGroupHeartbeat (key 68), versions 0 and 1: joins, stays in and leaves a group whose partitions the coordinator
//! assigns (KIP-848).

use std::sync::Arc;

use buslane_group::api::{ConsumerGroupHeartbeat, Reply, Request};
use buslane_group::consumer::Heartbeat;
use buslane_wire::ErrorCode;
use buslane_wire::messages::ConsumerGroupHeartbeatRequest;

use super::groups::{caller, consumer_protocol_is_on, wrong};
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

pub async fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    client_id: Option<&str>,
    body: &[u8],
) -> Result<Answer, Unanswerable> {
    let request: ConsumerGroupHeartbeatRequest<'_> = decode(body, context.version)?;
    let caller = caller(context, client_id);
    let asked = Request::ConsumerGroupHeartbeat(ConsumerGroupHeartbeat {
        version: context.version,
        group: request.group_id.into(),
        new_member_id: uuid::Uuid::new_v4().to_string().into(),
        heartbeat: Heartbeat::from_wire(&request, &caller.client_id, &caller.client_host),
    });
    let reply = if consumer_protocol_is_on(node) {
        node.groups.ask(node, request.group_id, asked).await
    } else {
        asked.refuse(ErrorCode::UNSUPPORTED_VERSION)
    };
    match reply {
        Reply::ConsumerGroupHeartbeat(reply) => context.answer(&reply.to_wire()),
        other => wrong(&other),
    }
}
