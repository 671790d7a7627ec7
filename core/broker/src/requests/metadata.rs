//! Metadata (key 3), versions 0 to 13.
//!
//! Topics by name or, from version 10 on, by id (KIP-516); null asks for all (version 0: an empty list does). A topic
//! that is not there is created when client and broker allow it, with the broker's default partitions and replicas,
//! and told at once with its partitions. Nobody is restricted: who asks may do all that there is (KIP-430).

use std::collections::HashSet;
use std::sync::Arc;

use buslane_meta::Image;
use buslane_wire::ErrorCode;
use buslane_wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};

use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;
use crate::partitions::{Partition, Topic, Topics};
use crate::topics::{self, NewTopic};

/// The operations of the cluster as bits: CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS,
/// IDEMPOTENT_WRITE.
pub(super) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// Those of a topic: READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub(super) const TOPIC_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

pub async fn handle(node: &Arc<Node>, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: MetadataRequest<'_> = decode(body, context.version)?;
    let all = match &request.topics {
        None => true,
        Some(topics) => topics.is_empty() && context.version == 0,
    };
    let wanted = request.topics.as_deref().unwrap_or_default();
    if request.allow_auto_topic_creation && node.auto_create_topics && !all {
        create_missing(node, wanted).await;
    }
    let table = node.topics.load_full();
    let mut answered: Vec<MetadataResponseTopic<'_>> = if all {
        let mut topics: Vec<&Arc<Topic>> = table.iter().collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics.into_iter().map(|t| found(node, t)).collect()
    } else {
        // Each topic once, as in Kafka: a small request has no huge answer.
        let mut seen = HashSet::new();
        let once = wanted.iter().filter(|w| seen.insert((w.name, w.topic_id)));
        once.map(|w| one(node, &table, w)).collect()
    };
    if context.version < 12 {
        // A topic asked for by an unknown id has no name, and the version cannot say so.
        for topic in &mut answered {
            topic.name.get_or_insert("");
        }
    }
    if request.include_topic_authorized_operations {
        for topic in &mut answered {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let mut response = MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: node.id.0,
            host: &node.advertised_host,
            port: node.advertised_port,
            rack: None,
        }],
        cluster_id: Some(&node.cluster_id),
        controller_id: node.id.0,
        topics: answered,
        ..Default::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    context.answer(&response)
}

fn one<'a>(
    node: &Arc<Node>,
    table: &'a Topics,
    wanted: &MetadataRequestTopic<'a>,
) -> MetadataResponseTopic<'a> {
    // Java leaves the name empty, not null, where it asks by id.
    let name = wanted.name.filter(|_| wanted.topic_id.is_zero());
    let failed = |error_code| MetadataResponseTopic {
        error_code,
        name,
        topic_id: wanted.topic_id,
        is_internal: name.is_some_and(topics::is_internal),
        ..Default::default()
    };
    match name {
        Some(name) => match table.named(name) {
            Some(topic) => found(node, topic),
            None if topics::is_bad_name(name).is_some() => failed(ErrorCode::INVALID_TOPIC_EXCEPTION),
            None => failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        },
        None if wanted.topic_id.is_zero() => failed(ErrorCode::INVALID_TOPIC_EXCEPTION),
        None => match table.with_id(wanted.topic_id) {
            Some(topic) => found(node, topic),
            None => failed(ErrorCode::UNKNOWN_TOPIC_ID),
        },
    }
}

fn found<'a>(node: &Node, topic: &'a Topic) -> MetadataResponseTopic<'a> {
    let image = node.consensus.image();
    MetadataResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(&topic.name),
        topic_id: topic.id,
        is_internal: topics::is_internal(&topic.name),
        partitions: topic.partitions.iter().map(|partition| leadership(&image, partition)).collect(),
        ..Default::default()
    }
}

/// Who leads a partition, and which stores have it.
pub(super) fn leadership(image: &Image, partition: &Partition) -> MetadataResponsePartition {
    let mut told = MetadataResponsePartition {
        partition_index: partition.id.partition,
        leader_id: -1,
        leader_epoch: -1,
        error_code: ErrorCode::LEADER_NOT_AVAILABLE,
        ..Default::default()
    };
    let Some(p) = image.partition(partition.id) else { return told };
    told.replica_nodes = p.plan.iter().map(|n| n.0).collect();
    told.isr_nodes = partition.in_sync().iter().map(|n| n.0).collect();
    if told.isr_nodes.is_empty() {
        told.isr_nodes = told.replica_nodes.clone();
    }
    if let Some(owner) = p.owner {
        told.error_code = ErrorCode::NONE;
        told.leader_id = owner.0;
        told.leader_epoch = p.epoch.0;
    }
    told
}

async fn create_missing(node: &Arc<Node>, wanted: &[MetadataRequestTopic<'_>]) {
    let table = node.topics.load_full();
    let missing: Vec<NewTopic> = wanted
        .iter()
        .filter(|w| w.topic_id.is_zero())
        .filter_map(|w| w.name)
        .filter(|name| {
            table.named(name).is_none() && topics::is_bad_name(name).is_none() && !name.starts_with("__")
        })
        .map(|name| NewTopic {
            name: name.to_owned(),
            partitions: None,
            replicas: None,
            assignments: Vec::new(),
            configs: Vec::new(),
        })
        .collect();
    if !missing.is_empty() {
        // Whatever fails shows as UNKNOWN_TOPIC_OR_PARTITION, and the client asks again.
        let _ = topics::create(node, &missing, false).await;
    }
}
