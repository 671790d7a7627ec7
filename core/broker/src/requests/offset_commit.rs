//! OffsetCommit (key 8), versions 2 to 10 (topic ids from 10 on).

use std::sync::Arc;

use buslane_group::api::{OffsetCommit, Reply, Request};
use buslane_wire::messages::OffsetCommitRequest;

use super::groups::wrong;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: OffsetCommitRequest<'_> = decode(body, context.version)?;
    let asked = Request::OffsetCommit(OffsetCommit::from_wire(&request, context.version));
    match node.groups.ask(node, request.group_id, asked).await {
        Reply::OffsetCommit(reply) => context.answer(&reply.to_wire()),
        other => wrong(&other),
    }
}
