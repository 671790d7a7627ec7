//! LeaveGroup (key 13), versions 0 to 5: takes members out of a classic group.

use std::sync::Arc;

use buslane_group::api::{LeaveGroup, Reply, Request};
use buslane_wire::messages::LeaveGroupRequest;

use super::groups::wrong;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: LeaveGroupRequest<'_> = decode(body, context.version)?;
    let asked = Request::LeaveGroup(LeaveGroup::from_wire(&request, context.version));
    match node.groups.ask(node, request.group_id, asked).await {
        Reply::LeaveGroup(reply) => context.answer(&reply.to_wire(context.version)),
        other => wrong(&other),
    }
}
