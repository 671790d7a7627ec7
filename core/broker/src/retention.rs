//! Retention by time and size: which sealed segments may go. The open one stays until it is sealed.

use std::sync::Arc;
use std::time::Duration;

use buslane_meta::{PartitionImage, SegmentImage, SegmentStatus};
use buslane_wire::ids::LeaderEpoch;

use crate::node::Node;
use crate::partitions::{Partition, Topic};
use crate::topic_config::TopicConfig;
use crate::topics::is_internal;

/// Where a partition's log should start, when it should start later than it does.
///
/// Segments go from the oldest on: by time while their newest record is older than `retention.ms`, by size while what
/// remains without them is at least `retention.bytes` (Kafka's rules). `written_ms` says when a segment without
/// timestamps was written last, in ms since the Unix epoch; one of which even that is not known stays.
pub fn new_log_start(
    partition: &PartitionImage,
    open_bytes: u64,
    config: &TopicConfig,
    now_ms: i64,
    written_ms: impl Fn(&SegmentImage) -> Option<i64>,
) -> Option<i64> {
    let mut total = partition.sealed_bytes() + open_bytes;
    let mut start = None;
    for segment in &partition.chain {
        let SegmentStatus::Sealed { end_offset, bytes, max_timestamp } = segment.status else { break };
        let newest_ms = || Some(max_timestamp).filter(|ms| *ms >= 0).or_else(|| written_ms(segment));
        let too_old = config
            .retention_ms
            .is_some_and(|ms| newest_ms().is_some_and(|newest| now_ms.saturating_sub(newest) > ms));
        let too_much = config.retention_bytes.is_some_and(|limit| total - bytes >= limit);
        if !too_old && !too_much {
            break;
        }
        total -= bytes;
        start = Some(end_offset);
    }
    start.filter(|s| *s > partition.log_start_offset)
}

/// Looks at all partitions of a node each `check`, until it stops.
pub async fn run(node: &Arc<Node>, check: Duration) {
    loop {
        tokio::time::sleep(check).await;
        if node.is_stopping() {
            return;
        }
        pass(node).await;
    }
}

/// Log starts in one proposal.
const BATCH: usize = 1_000;

async fn pass(node: &Arc<Node>) {
    // No pass of compaction is begun between the look and the commit: it would be for nothing.
    let _no_other = node.log_starts.lock().await;
    let looking = node.clone();
    // Off the runtime's threads: a segment without timestamps is looked for on the disk.
    match node.runtime.spawn_blocking(move || due(&looking)).await {
        Ok(due) => drop_segments(node, &due).await,
        Err(ended) => tracing::error!(%ended, "retention found nothing out"),
    }
}

/// Looks at one partition, which may be being compacted.
pub async fn pass_over(node: &Arc<Node>, partition: &Arc<Partition>) {
    let (looking, partition) = (node.clone(), partition.clone());
    let found = node.runtime.spawn_blocking(move || {
        let topics = looking.topics.load_full();
        let topic = topics.with_id(partition.id.topic).filter(|topic| goes_by_age_and_size(topic))?;
        due_of(&looking, topic, &partition)
    });
    match found.await {
        Ok(due) => drop_segments(node, due.as_slice()).await,
        Err(ended) => tracing::error!(%ended, "retention found nothing out"),
    }
}

async fn drop_segments(node: &Arc<Node>, due: &[Due]) {
    for batch in due.chunks(BATCH) {
        let starts: Vec<_> =
            batch.iter().map(|(partition, offset, epoch)| (partition.id, *offset, *epoch)).collect();
        let outcomes = node.advance_log_starts(&starts).await;
        for ((partition, offset, _), outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Ok(()) => tracing::info!(?partition, log_start_offset = offset, "old segments are dropped"),
                Err(error) => tracing::warn!(?partition, %error, "old segments could not be dropped"),
            }
        }
    }
}

/// A partition whose log should start later, where, and as of which epoch.
type Due = (Arc<Partition>, i64, LeaderEpoch);

/// All of them, except one that is being compacted: its turn comes at the end of that pass.
fn due(node: &Node) -> Vec<Due> {
    let topics = node.topics.load_full();
    let of_topic = |topic: &Arc<Topic>| -> Vec<Due> {
        let partitions = topic.partitions.iter().filter(|partition| !node.is_compacting(partition.id));
        partitions.filter_map(|partition| due_of(node, topic, partition)).collect()
    };
    topics.iter().filter(|topic| goes_by_age_and_size(topic)).flat_map(of_topic).collect()
}

/// What the brokers keep for themselves goes by other rules, whatever the server's settings are.
fn goes_by_age_and_size(topic: &Topic) -> bool {
    topic.config.delete && !is_internal(&topic.name)
}

fn due_of(node: &Node, topic: &Topic, partition: &Arc<Partition>) -> Option<Due> {
    let image = node.consensus.image();
    let p = image.partition(partition.id)?;
    let written_ms = |segment: &SegmentImage| partition.written_ms(segment);
    let now_ms = node.context.clock.wall_ms();
    let start = new_log_start(p, partition.open_bytes(), &topic.config, now_ms, written_ms)?;
    Some((partition.clone(), start, p.epoch))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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

    /// For partitions all of whose segments have timestamps.
    fn timed(segment: &SegmentImage) -> Option<i64> {
        panic!("{segment:?} has a timestamp")
    }

    fn config(settings: &[(&str, &str)]) -> TopicConfig {
        let map: BTreeMap<String, String> =
            settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        TopicConfig::resolve(&map, &Default::default())
    }

    #[test]
    fn segments_go_when_their_newest_record_is_too_old() {
        let by_time = config(&[("retention.ms", "100")]);
        assert_eq!(new_log_start(&partition(), 0, &by_time, 110, timed), None);
        assert_eq!(new_log_start(&partition(), 0, &by_time, 111, timed), Some(100));
        assert_eq!(
            new_log_start(&partition(), 0, &by_time, 1_000, timed),
            Some(300),
            "the open segment stays"
        );
        assert_eq!(new_log_start(&partition(), 0, &config(&[("retention.ms", "-1")]), i64::MAX, timed), None);
    }

    #[test]
    fn segments_go_while_enough_remains_without_them() {
        let by_size = config(&[("retention.bytes", "2000"), ("retention.ms", "-1")]);
        assert_eq!(new_log_start(&partition(), 0, &by_size, 0, timed), Some(100));
        assert_eq!(new_log_start(&partition(), 999, &by_size, 0, timed), Some(100));
        assert_eq!(new_log_start(&partition(), 1_000, &by_size, 0, timed), Some(200));
        let mut started = partition();
        started.log_start_offset = 100;
        assert_eq!(new_log_start(&started, 0, &by_size, 0, timed), None, "it starts there already");
    }

    #[test]
    fn a_segment_without_timestamps_is_as_old_as_its_last_write() {
        let by_time = config(&[("retention.ms", "100")]);
        let mut p = partition();
        let first = Arc::make_mut(&mut p.chain[0]);
        first.status = SegmentStatus::Sealed { end_offset: 100, bytes: 1_000, max_timestamp: -1 };
        let start = |now_ms, written: Option<i64>| {
            new_log_start(&p, 0, &by_time, now_ms, |segment| {
                assert_eq!(segment.base_offset, 0, "the others have timestamps");
                written
            })
        };
        assert_eq!(start(1_000, Some(899)), Some(300));
        assert_eq!(start(1_000, Some(900)), None);
        assert_eq!(start(1_000, None), None, "its age is not known");
    }
}
