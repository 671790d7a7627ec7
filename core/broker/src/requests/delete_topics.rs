//! DeleteTopics (key 20), versions 1 to 6.
//!
//! By name, from version 6 on by id too. A topic created again under the name gets a new id (KIP-516).

use std::collections::HashSet;
use std::sync::Arc;

use buslane_meta::Command;
use buslane_wire::ErrorCode;
use buslane_wire::ids::TopicId;
use buslane_wire::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;
use crate::quotas::Usage;
use crate::topics::repeated;

/// The first version that knows THROTTLING_QUOTA_EXCEEDED (KIP-599).
const STRICT_SINCE: i16 = 5;

pub async fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    body: &[u8],
    usage: &Usage<'_>,
) -> Result<Answer, Unanswerable> {
    let mutations = usage.mutations(context.version >= STRICT_SINCE);
    let request: DeleteTopicsRequest<'_> = decode(body, context.version)?;
    let asked: Vec<(Option<&str>, TopicId)> = if context.version >= 6 {
        request.topics.iter().map(|t| (t.name, t.topic_id)).collect()
    } else {
        request.topic_names.iter().map(|name| (Some(*name), TopicId::ZERO)).collect()
    };
    let table = node.topics.load_full();
    let mut responses = Vec::with_capacity(asked.len());
    let twice = repeated(asked.iter());
    let once: HashSet<&(Option<&str>, TopicId)> =
        asked.iter().filter(|named| !twice.contains(named)).collect();
    let mut seen = HashSet::new();
    // What stands there more than once is told once and as it stands there, as in Kafka.
    for named in asked.iter().filter(|named| seen.insert(**named)) {
        let (name, id) = named;
        if twice.contains(named) {
            responses.push(DeletableTopicResult {
                name: *name,
                topic_id: *id,
                error_code: ErrorCode::INVALID_REQUEST,
                error_message: Some("the topic stands twice in the request"),
            });
            continue;
        }
        let topic = match name {
            Some(name) if id.is_zero() => table.named(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            None if !id.is_zero() => table.with_id(*id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
            _ => Err(ErrorCode::INVALID_REQUEST),
        };
        // By its name and by its id: told by the id.
        let both = topic
            .is_ok_and(|t| once.contains(&(None, t.id)) && once.contains(&(Some(&*t.name), TopicId::ZERO)));
        if both && name.is_some() {
            continue;
        }
        let (error_code, message) = match topic {
            _ if both => {
                (ErrorCode::INVALID_REQUEST, Some("the topic stands there by its name and by its id"))
            }
            Err(code) if code == ErrorCode::INVALID_REQUEST => (code, Some("give either a name or an id")),
            Err(code) => (code, Some("there is no such topic")),
            Ok(topic) if mutations.take(topic.partitions.len()).is_err() => {
                let message = "The throttling quota has been exceeded.";
                (ErrorCode::THROTTLING_QUOTA_EXCEEDED, Some(message))
            }
            Ok(topic) => match node.propose(Command::DeleteTopic { topic: topic.id }).await {
                Ok(_) => (ErrorCode::NONE, None),
                Err(code) => (code, Some("the metadata did not take the deletion")),
            },
        };
        responses.push(DeletableTopicResult {
            name: topic.ok().map(|t| &*t.name).or(*name),
            topic_id: topic.map_or(*id, |t| t.id),
            error_code,
            error_message: message,
        });
    }
    context.answer(&DeleteTopicsResponse { throttle_time_ms: 0, responses })
}
