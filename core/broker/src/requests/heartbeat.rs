//! Heartbeat (key 12), versions 0 to 4: a member of a classic group is alive.

use std::sync::Arc;

use buslane_group::api::{Heartbeat, Reply, Request};
use buslane_wire::messages::HeartbeatRequest;

use super::groups::wrong;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: HeartbeatRequest<'_> = decode(body, context.version)?;
    let asked = Request::Heartbeat(Heartbeat::from_wire(&request));
    match node.groups.ask(node, request.group_id, asked).await {
        Reply::Heartbeat(reply) => context.answer(&reply.to_wire()),
        other => wrong(&other),
    }
}
