//! OffsetDelete (key 47), version 0 (KIP-496).

use std::sync::Arc;

use buslane_group::api::{OffsetDelete, Reply, Request};
use buslane_wire::messages::OffsetDeleteRequest;

use super::groups::wrong;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: OffsetDeleteRequest<'_> = decode(body, context.version)?;
    let asked = Request::OffsetDelete(OffsetDelete::from_wire(&request));
    match node.groups.ask(node, request.group_id, asked).await {
        Reply::OffsetDelete(reply) => context.answer(&reply.to_wire()),
        other => wrong(&other),
    }
}
