//! ConsumerGroupDescribe (key 69), versions 0 and 1: groups of the consumer protocol with their members, what these have
//! and what they are to have (KIP-848).

use std::collections::HashSet;
use std::sync::Arc;

use buslane_group::api::{ConsumerGroupDescribe, ConsumerGroupDescribeReply, Reply, Request};
use buslane_wire::ErrorCode;
use buslane_wire::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

use super::describe_groups::ALL_OPERATIONS;
use super::groups::{consumer_protocol_is_on, wrong};
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::groups::TopicsSeen;
use crate::node::Node;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: ConsumerGroupDescribeRequest<'_> = decode(body, context.version)?;
    let mut described = Vec::new();
    // Each group once: a small request has no huge answer.
    let mut seen = HashSet::new();
    for group in request.group_ids.iter().filter(|group| seen.insert(**group)) {
        let asked = Request::ConsumerGroupDescribe(ConsumerGroupDescribe { groups: vec![(*group).into()] });
        let reply = if consumer_protocol_is_on(node) {
            node.groups.ask(node, group, asked).await
        } else {
            asked.refuse(ErrorCode::UNSUPPORTED_VERSION)
        };
        match reply {
            Reply::ConsumerGroupDescribe(reply) => described.extend(reply.groups),
            other => return wrong(&other),
        }
    }
    let described = ConsumerGroupDescribeReply { groups: described };
    let topics = TopicsSeen(node.topics.load_full());
    let mut groups = described.to_wire(node.groups.consumer_config(), &topics);
    if request.include_authorized_operations {
        for group in groups.iter_mut().filter(|group| !group.error_code.is_err()) {
            group.authorized_operations = ALL_OPERATIONS;
        }
    }
    context.answer(&ConsumerGroupDescribeResponse { throttle_time_ms: 0, groups })
}
