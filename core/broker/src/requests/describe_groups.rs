//! DescribeGroups (key 15), versions 0 to 6: states and members.
//!
//! Without ACLs a client may do everything that there is to do with a group (KIP-430).

use std::collections::HashSet;
use std::sync::Arc;

use buslane_group::api::{DescribeGroups, Reply, Request};
use buslane_wire::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::groups::wrong;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

/// The operations of a group as bits: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

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
    let groups = described
        .iter()
        .map(|group| {
            let mut group = group.to_wire();
            if request.include_authorized_operations && !group.error_code.is_err() {
                group.authorized_operations = ALL_OPERATIONS;
            }
            group
        })
        .collect();
    context.answer(&DescribeGroupsResponse { throttle_time_ms: 0, groups })
}
