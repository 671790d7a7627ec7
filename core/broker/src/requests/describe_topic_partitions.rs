//! DescribeTopicPartitions (key 75), version 0: topics by name, page by page (KIP-966).
//!
//! Topics come in the order of their names; no names means all topics. A page holds as many partitions as the client
//! and [`PARTITIONS_MAX`] allow; the cursor is where the next one begins. There are no eligible leader replicas: whoever may
//! lead without loss is in the ISR.

use std::collections::BTreeSet;

use buslane_wire::ErrorCode;
use buslane_wire::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};

use super::metadata::{TOPIC_OPERATIONS, leadership};
use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;
use crate::topics;

/// `max.request.partition.size.limit`: most partitions of a page.
const PARTITIONS_MAX: i32 = 2_000;

pub fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: DescribeTopicPartitionsRequest<'_> = decode(body, context.version)?;
    let table = node.topics.load_full();
    let image = node.consensus.image();
    let names: BTreeSet<&str> = match request.topics.is_empty() {
        true => table.iter().map(|topic| &*topic.name).collect(),
        false => request.topics.iter().map(|topic| topic.name).collect(),
    };
    let (first_name, first_index) = match &request.cursor {
        Some(cursor) => (cursor.topic_name, cursor.partition_index.max(0)),
        None => ("", 0),
    };
    let mut left = request.response_partition_limit.clamp(1, PARTITIONS_MAX) as usize;
    let mut answered = Vec::new();
    let mut next_cursor = None;
    for name in names.range(first_name..) {
        if left == 0 {
            next_cursor = Some(Cursor { topic_name: name, partition_index: 0 });
            break;
        }
        let Some(topic) = table.named(name) else {
            let error_code = match topics::is_bad_name(name) {
                Some(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
                None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            left -= 1;
            answered.push(DescribeTopicPartitionsResponseTopic {
                error_code,
                name: Some(name),
                topic_authorized_operations: TOPIC_OPERATIONS,
                ..Default::default()
            });
            continue;
        };
        let skipped = if *name == first_name { first_index as usize } else { 0 };
        let told: Vec<_> =
            topic.partitions.iter().skip(skipped).take(left).map(|p| leadership(&image, p)).collect();
        let end = skipped + told.len();
        left -= told.len();
        if end < topic.partitions.len() {
            next_cursor = Some(Cursor { topic_name: name, partition_index: end as i32 });
        }
        answered.push(DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::NONE,
            name: Some(name),
            topic_id: topic.id,
            topic_authorized_operations: TOPIC_OPERATIONS,
            is_internal: topics::is_internal(name),
            partitions: told
                .into_iter()
                .map(|p| DescribeTopicPartitionsResponsePartition {
                    error_code: p.error_code,
                    partition_index: p.partition_index,
                    leader_id: p.leader_id,
                    leader_epoch: p.leader_epoch,
                    replica_nodes: p.replica_nodes,
                    isr_nodes: p.isr_nodes,
                    eligible_leader_replicas: Some(Vec::new()),
                    last_known_elr: Some(Vec::new()),
                    offline_replicas: Vec::new(),
                })
                .collect(),
        });
        if next_cursor.is_some() {
            break;
        }
    }
    context.answer(&DescribeTopicPartitionsResponse { throttle_time_ms: 0, topics: answered, next_cursor })
}
