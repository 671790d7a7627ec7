//! Retention by time and size: which sealed segments may go. The open one stays until it is sealed.

use std::sync::Arc;

use buslane_meta::{PartitionImage, SegmentStatus};

use crate::node::Node;
use crate::topic_config::TopicConfig;

/// Where a partition's log should start, when it should start later than it does.
///
/// Segments go from the oldest on: by time while their newest record is older than `retention.ms`, by size while what
/// remains without them is at least `retention.bytes` (Kafka's rules).
pub fn new_log_start(
    partition: &PartitionImage,
    open_bytes: u64,
    config: &TopicConfig,
    now_ms: i64,
) -> Option<i64> {
    let mut total = partition.sealed_bytes() + open_bytes;
    let mut start = None;
    for segment in &partition.chain {
        let SegmentStatus::Sealed { end_offset, bytes, max_timestamp } = segment.status else { break };
        let too_old = config
            .retention_ms
            .is_some_and(|ms| max_timestamp >= 0 && now_ms.saturating_sub(max_timestamp) > ms);
        let too_much = config.retention_bytes.is_some_and(|limit| total - bytes >= limit);
        if !too_old && !too_much {
            break;
        }
        total -= bytes;
        start = Some(end_offset);
    }
    start.filter(|s| *s > partition.log_start_offset)
}

/// One pass over all partitions of a node.
pub async fn run(node: &Arc<Node>) {
    let topics = node.topics.load_full();
    let now_ms = node.context.clock.now_ms();
    for topic in topics.iter() {
        for partition in &topic.partitions {
            let image = node.consensus.image();
            let Some(p) = image.partition(partition.id) else { continue };
            let Some(offset) = new_log_start(p, partition.open_bytes(), &topic.config, now_ms) else {
                continue;
            };
            match node.advance_log_start(partition, offset).await {
                Ok(()) => tracing::info!(?partition, log_start_offset = offset, "old segments are dropped"),
                Err(error) => tracing::warn!(?partition, %error, "old segments could not be dropped"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use buslane_meta::SegmentImage;
    use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId};

    use super::*;

    /// Three sealed segments of 100 offsets and 1,000 bytes with maximum timestamps 10, 20, 30, and an open one.
    fn partition() -> PartitionImage {
        let mut p = PartitionImage::new(vec![NodeId(1)]);
        for i in 0..4i64 {
            let status = if i < 3 {
                SegmentStatus::Sealed { end_offset: (i + 1) * 100, bytes: 1_000, max_timestamp: (i + 1) * 10 }
            } else {
                SegmentStatus::Open
            };
            p.chain.push(Arc::new(SegmentImage {
                id: SegmentId(i as u64 + 1),
                base_offset: i * 100,
                epoch: LeaderEpoch(0),
                stores: vec![NodeId(1)],
                durability: Durability::Replicated,
                status,
            }));
        }
        p.sealed_end_offset = 300;
        p
    }

    fn config(settings: &[(&str, &str)]) -> TopicConfig {
        let map: BTreeMap<String, String> =
            settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        TopicConfig::resolve(&map, &BTreeMap::new())
    }

    #[test]
    fn segments_go_when_their_newest_record_is_too_old() {
        let by_time = config(&[("retention.ms", "100")]);
        assert_eq!(new_log_start(&partition(), 0, &by_time, 110), None);
        assert_eq!(new_log_start(&partition(), 0, &by_time, 111), Some(100));
        assert_eq!(new_log_start(&partition(), 0, &by_time, 1_000), Some(300), "the open segment stays");
        assert_eq!(new_log_start(&partition(), 0, &config(&[("retention.ms", "-1")]), i64::MAX), None);
    }

    #[test]
    fn segments_go_while_enough_remains_without_them() {
        let by_size = config(&[("retention.bytes", "2000"), ("retention.ms", "-1")]);
        assert_eq!(new_log_start(&partition(), 0, &by_size, 0), Some(100));
        assert_eq!(new_log_start(&partition(), 999, &by_size, 0), Some(100));
        assert_eq!(new_log_start(&partition(), 1_000, &by_size, 0), Some(200));
        let mut started = partition();
        started.log_start_offset = 100;
        assert_eq!(new_log_start(&started, 0, &by_size, 0), None, "it starts there already");
    }
}
