//! SyncGroup (key 14), versions 0 to 5: hands in the assignment, or waits for it.

use std::sync::Arc;

use buslane_group::api::{Reply, Request, SyncGroup};
use buslane_wire::messages::SyncGroupRequest;

use super::groups::wrong;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

/// What is asked, copied out of the frame.
pub fn read(context: RequestContext, body: &[u8]) -> Result<SyncGroup, Unanswerable> {
    let request: SyncGroupRequest<'_> = decode(body, context.version)?;
    Ok(SyncGroup::from_wire(&request, context.version))
}

pub async fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    asked: SyncGroup,
) -> Result<Answer, Unanswerable> {
    let group = asked.group.clone();
    match node.groups.ask(node, &group, Request::SyncGroup(asked)).await {
        Reply::SyncGroup(reply) => context.answer(&reply.to_wire()),
        other => wrong(&other),
    }
}
