//! ListGroups (key 16), versions 0 to 5: the groups of all shards of this node, filtered by state and type.

use std::sync::Arc;

use buslane_group::api::{ListGroups, Reply, Request};
use buslane_wire::ErrorCode;
use buslane_wire::messages::{ListGroupsRequest, ListGroupsResponse};

use super::groups::wrong;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::groups::OFFSETS_TOPIC;
use crate::node::Node;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: ListGroupsRequest<'_> = decode(body, context.version)?;
    let asked = ListGroups::from_wire(&request);
    let topics = node.topics.load_full();
    let (mut listed, mut error_code) = (Vec::new(), ErrorCode::NONE);
    if let Some(topic) = topics.named(OFFSETS_TOPIC) {
        for index in 0..topic.partitions.len() as i32 {
            match node.groups.ask_shard(node, topic, index, Request::ListGroups(asked.clone())).await {
                Reply::ListGroups(reply) => {
                    listed.extend(reply.groups);
                    if reply.error_code.is_err() {
                        error_code = reply.error_code;
                    }
                }
                other => return wrong(&other),
            }
        }
    }
    listed.sort_by(|a, b| a.group.cmp(&b.group));
    let groups = listed.iter().map(|group| group.to_wire()).collect();
    context.answer(&ListGroupsResponse { throttle_time_ms: 0, error_code, groups })
}
