//! CreatePartitions (key 37), versions 0 to 3.
//!
//! Answers each topic for itself, and once. Records already written stay where they are: keys map differently from then on, as in
//! Kafka.

use std::collections::HashSet;
use std::sync::Arc;

use buslane_wire::ErrorCode;
use buslane_wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;
use crate::quotas::Usage;
use crate::topics;

/// The first version that knows THROTTLING_QUOTA_EXCEEDED (KIP-599).
const STRICT_SINCE: i16 = 3;

pub async fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    body: &[u8],
    usage: &Usage<'_>,
) -> Result<Answer, Unanswerable> {
    let mutations = usage.mutations(context.version >= STRICT_SINCE);
    let request: CreatePartitionsRequest<'_> = decode(body, context.version)?;
    let twice = topics::repeated(request.topics.iter().map(|topic| topic.name));
    let mut outcomes = Vec::with_capacity(request.topics.len());
    let mut seen = HashSet::new();
    for asked in request.topics.iter().filter(|asked| seen.insert(asked.name)) {
        let outcome = if twice.contains(asked.name) {
            Err(topics::Refused::new(ErrorCode::INVALID_REQUEST, "the topic stands twice in the request"))
        } else {
            let assignments: Option<Vec<Vec<i32>>> =
                asked.assignments.as_ref().map(|a| a.iter().map(|p| p.broker_ids.clone()).collect());
            let (name, count, validate_only) = (asked.name, asked.count, request.validate_only);
            topics::add_partitions(node, name, count, assignments, validate_only, mutations).await
        };
        outcomes.push((asked.name, outcome));
    }
    let results = outcomes
        .iter()
        .map(|(name, outcome)| CreatePartitionsTopicResult {
            name,
            error_code: outcome.as_ref().err().map_or(ErrorCode::NONE, |r| r.code),
            error_message: outcome.as_ref().err().map(|r| &*r.message),
        })
        .collect();
    context.answer(&CreatePartitionsResponse { throttle_time_ms: 0, results })
}
