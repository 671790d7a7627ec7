//! JoinGroup (key 11), versions 0 to 9: enters the next generation of a classic group. Answered when the generation begins.

use std::sync::Arc;

use buslane_group::api::{JoinGroup, Reply, Request};
use buslane_wire::messages::JoinGroupRequest;

use super::groups::{caller, wrong};
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

/// What is asked, copied out of the frame.
pub fn read(
    context: RequestContext,
    client_id: Option<&str>,
    body: &[u8],
) -> Result<JoinGroup, Unanswerable> {
    let request: JoinGroupRequest<'_> = decode(body, context.version)?;
    let suffix = uuid::Uuid::new_v4().to_string().into();
    Ok(JoinGroup::from_wire(&request, context.version, caller(context, client_id), suffix))
}

pub async fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    asked: JoinGroup,
) -> Result<Answer, Unanswerable> {
    let group = asked.group.clone();
    match node.groups.ask(node, &group, Request::JoinGroup(asked)).await {
        Reply::JoinGroup(reply) => context.answer(&reply.to_wire(context.version)),
        other => wrong(&other),
    }
}
