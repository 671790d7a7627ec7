//! DescribeLogDirs (key 35), versions 1 to 5: one folder, the data folder, and the bytes of each partition's log in it.
//!
//! A partition's size is that of its log files from the log start on. Nothing lags and nothing moves between folders.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use buslane_wire::ErrorCode;
use buslane_wire::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

use super::{Answer, RequestContext, Unanswerable, decode};
use crate::node::Node;
use crate::partitions::{Partition, Topic};

pub fn handle(node: &Node, context: RequestContext, body: &[u8]) -> Result<Answer, Unanswerable> {
    let request: DescribeLogDirsRequest<'_> = decode(body, context.version)?;
    let table = node.topics.load_full();
    let topics = match &request.topics {
        None => {
            let mut all: Vec<_> =
                table.iter().map(|topic| described(node, topic, topic.partitions.iter())).collect();
            all.sort_by_key(|topic| topic.name);
            all
        }
        Some(asked) => {
            // Each topic and each partition once, as in Kafka.
            let mut wanted: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
            for asked in asked.iter().filter(|asked| !asked.partitions.is_empty()) {
                wanted.entry(asked.topic).or_default().extend(&asked.partitions);
            }
            let known = wanted.iter().filter_map(|(name, indexes)| Some((table.named(name)?, indexes)));
            known
                .map(|(topic, indexes)| {
                    described(node, topic, indexes.iter().filter_map(|index| topic.partition(*index)))
                })
                .collect()
        }
    };
    let space = node.context.store.space();
    let bytes = |bytes: Option<u64>| bytes.and_then(|b| i64::try_from(b).ok()).unwrap_or(-1);
    let log_dir = node.data.display().to_string();
    let results = vec![DescribeLogDirsResult {
        error_code: if space.is_ok() { ErrorCode::NONE } else { ErrorCode::KAFKA_STORAGE_ERROR },
        log_dir: &log_dir,
        topics,
        total_bytes: bytes(space.as_ref().ok().map(|s| s.total_bytes)),
        usable_bytes: bytes(space.as_ref().ok().map(|s| s.available_bytes)),
        is_cordoned: false,
    }];
    context.answer(&DescribeLogDirsResponse { throttle_time_ms: 0, error_code: ErrorCode::NONE, results })
}

fn described<'a>(
    node: &Node,
    topic: &'a Topic,
    partitions: impl Iterator<Item = &'a Arc<Partition>>,
) -> DescribeLogDirsTopic<'a> {
    DescribeLogDirsTopic {
        name: &topic.name,
        partitions: partitions
            .map(|partition| DescribeLogDirsPartition {
                partition_index: partition.id.partition,
                partition_size: node.log_bytes(partition) as i64,
                offset_lag: 0,
                is_future_key: false,
            })
            .collect(),
    }
}
