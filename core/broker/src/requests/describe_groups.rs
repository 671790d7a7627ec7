//! DescribeGroups (key 15), versions 0 to 6: states and members. Authorized operations are not computed.

use std::collections::HashSet;
use std::sync::Arc;

use buslane_group::api::{DescribeGroups, Reply, Request};
use buslane_wire::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::groups::wrong;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: DescribeGroupsRequest<'_> = decode(body, context.version)?;
    let mut described = Vec::new();
    // Each group once: a small request has no huge answer.
    let mut seen = HashSet::new();
    for group in request.groups.iter().filter(|group| seen.insert(**group)) {
        let asked = DescribeGroups { version: context.version, groups: vec![(*group).into()] };
        match node.groups.ask(node, group, Request::DescribeGroups(asked)).await {
            Reply::DescribeGroups(reply) => described.extend(reply.groups),
            other => return wrong(&other),
        }
    }
    let groups = described.iter().map(|group| group.to_wire()).collect();
    context.answer(&DescribeGroupsResponse { throttle_time_ms: 0, groups })
}
