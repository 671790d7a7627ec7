//! CreateTopics (key 19), versions 2 to 7.
//!
//! Valid and invalid entries of one request are answered each for itself; a name that stands twice fails as a whole and is told
//! once.
//! Settings are checked before anything is created. Validate-only changes nothing.

use std::sync::Arc;

use buslane_wire::ErrorCode;
use buslane_wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use std::collections::{BTreeMap, HashSet};

use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;
use crate::quotas::Usage;
use crate::server_values::ServerValues;
use crate::topic_config::{KEYS, Source, effective};
use crate::topics::{self, NewTopic};

/// The first version that knows THROTTLING_QUOTA_EXCEEDED (KIP-599).
const STRICT_SINCE: i16 = 6;

pub async fn handle(
    node: &Arc<Node>,
    context: RequestContext,
    body: &[u8],
    usage: &Usage<'_>,
) -> Result<Answer, Unanswerable> {
    let mutations = usage.mutations(context.version >= STRICT_SINCE);
    let request: CreateTopicsRequest<'_> = decode(body, context.version)?;
    let wanted: Vec<NewTopic> = request.topics.iter().map(new_topic).collect();
    let outcomes = topics::create_within(node, &wanted, request.validate_only, mutations).await;
    let configs: Vec<BTreeMap<String, String>> = wanted.iter().map(topics::explicit_configs).collect();
    let server = node.server_values.load();
    let mut seen = HashSet::new();
    let topics = request
        .topics
        .iter()
        .zip(&outcomes)
        .zip(&configs)
        .filter(|((asked, _), _)| seen.insert(asked.name))
        .map(|((asked, outcome), explicit)| match outcome {
            Ok(created) => CreatableTopicResult {
                name: asked.name,
                topic_id: created.id,
                error_code: ErrorCode::NONE,
                error_message: None,
                topic_config_error_code: ErrorCode::NONE,
                num_partitions: created.partitions,
                replication_factor: created.replicas,
                configs: Some(told_configs(&server, explicit)),
            },
            Err(refused) => CreatableTopicResult {
                name: asked.name,
                error_code: refused.code,
                error_message: Some(&refused.message),
                configs: Some(Vec::new()),
                ..Default::default()
            },
        })
        .collect();
    context.answer(&CreateTopicsResponse { throttle_time_ms: 0, topics })
}

fn new_topic(asked: &CreatableTopic<'_>) -> NewTopic {
    NewTopic {
        name: asked.name.to_owned(),
        partitions: (asked.num_partitions != -1).then_some(asked.num_partitions),
        replicas: (asked.replication_factor != -1).then_some(asked.replication_factor),
        assignments: asked.assignments.iter().map(|a| (a.partition_index, a.broker_ids.clone())).collect(),
        configs: asked.configs.iter().map(|c| (c.name.to_owned(), c.value.map(str::to_owned))).collect(),
    }
}

fn told_configs<'a>(
    server: &'a ServerValues,
    explicit: &'a BTreeMap<String, String>,
) -> Vec<CreatableTopicConfigs<'a>> {
    KEYS.iter()
        .map(|key| {
            let (value, source) = effective(key, explicit, server);
            CreatableTopicConfigs {
                name: key.name,
                value: Some(value),
                read_only: false,
                config_source: source_code(source),
                is_sensitive: false,
            }
        })
        .collect()
}

/// The number of a value's origin: 1 the topic, 2 changed for the broker, 3 for all brokers, 4 the broker's file, 5 built in.
pub fn source_code(source: Source) -> i8 {
    match source {
        Source::Topic => 1,
        Source::Broker => 2,
        Source::AllBrokers => 3,
        Source::Server => 4,
        Source::Default => 5,
    }
}
