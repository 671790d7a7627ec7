//! DeleteGroups (key 42), versions 0 to 3: empty groups, with their offsets.

use std::collections::HashSet;
use std::sync::Arc;

use buslane_group::api::{DeleteGroups, Reply, Request};
use buslane_wire::ErrorCode;
use buslane_wire::messages::delete_groups::DeletableGroupResult;
use buslane_wire::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::groups::wrong;
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: DeleteGroupsRequest<'_> = decode(body, context.version)?;
    let mut deleted = Vec::new();
    let mut seen = HashSet::new();
    for group in request.groups_names.iter().filter(|group| seen.insert(**group)) {
        let asked = Request::DeleteGroups(DeleteGroups { groups: vec![(*group).into()] });
        match node.groups.ask(node, group, asked).await {
            Reply::DeleteGroups(reply) => deleted.extend(reply.groups),
            other => return wrong(&other),
        }
    }
    let results = deleted
        .iter()
        .map(|(group, error_code)| DeletableGroupResult {
            group_id: group,
            error_code: *error_code,
            error_message: message(*error_code),
        })
        .collect();
    context.answer(&DeleteGroupsResponse { throttle_time_ms: 0, results })
}

/// What a client shows its user, from version 3 on.
fn message(error: ErrorCode) -> Option<&'static str> {
    Some(match error {
        ErrorCode::NONE => return None,
        ErrorCode::INVALID_GROUP_ID => "this cannot be a group's id",
        ErrorCode::GROUP_ID_NOT_FOUND => "there is no such group",
        ErrorCode::NON_EMPTY_GROUP => "the group has members; it can be deleted when they have left",
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => {
            "the group's coordinator is still reading its log; ask again"
        }
        _ => "the group could not be deleted",
    })
}
