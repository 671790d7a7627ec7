//! OffsetFetch (key 9), versions 1 to 10 (several groups from 8 on, topic ids from 10 on).

use std::sync::Arc;

use buslane_group::api::{OffsetFetch, OffsetFetchReply, Reply, Request};
use buslane_wire::messages::OffsetFetchRequest;

use super::groups::wrong;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: OffsetFetchRequest<'_> = decode(body, context.version)?;
    let mut replies = Vec::new();
    for asked in OffsetFetch::from_wire(&request, context.version) {
        let group = asked.group.clone();
        match node.groups.ask(node, &group, Request::OffsetFetch(asked)).await {
            Reply::OffsetFetch(reply) => replies.push(reply),
            other => return wrong(&other),
        }
    }
    context.answer(&OffsetFetchReply::to_wire(&replies, context.version))
}
