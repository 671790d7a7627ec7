//! Which partitions are due (Kafka's rules, KIP-58 and KIP-354).

use std::sync::Arc;

use buslane_meta::{PartitionImage, SegmentImage, SegmentStatus};
use buslane_wire::ids::TopicPartition;

use crate::node::Node;
use crate::partitions::Partition;
use crate::topic_config::TopicConfig;

/// A partition to compact.
pub(super) struct Due {
    pub(super) partition: Arc<Partition>,
    dirty_ratio: f64,
}

/// How much of a partition can be cleaned.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Cleanable {
    /// Segments from the first of the chain on, up to the first that is open or too young.
    segments: usize,
    /// Of these, the first one that is not clean to its end.
    first_dirty: usize,
    /// The dirty ones' part of their bytes.
    dirty_ratio: f64,
}

/// Nothing when there is no dirty segment that is old enough.
///
/// `written_ms` tells when a segment without timestamps was written last.
fn cleanable(
    partition: &PartitionImage,
    config: &TopicConfig,
    now_ms: i64,
    written_ms: impl Fn(&SegmentImage) -> Option<i64>,
) -> Option<Cleanable> {
    let clean_end = partition.clean_end_offset.unwrap_or(0);
    let (mut clean_bytes, mut dirty_bytes) = (0, 0);
    let (mut segments, mut first_dirty) = (0, None);
    for segment in &partition.chain {
        let SegmentStatus::Sealed { end_offset, bytes, max_timestamp } = segment.status else { break };
        if end_offset <= clean_end {
            clean_bytes += bytes;
        } else {
            let youngest = now_ms.saturating_sub(config.min_compaction_lag_ms);
            let newest_ms = || Some(max_timestamp).filter(|ms| *ms >= 0).or_else(|| written_ms(segment));
            if config.min_compaction_lag_ms > 0 && newest_ms().is_none_or(|newest| newest > youngest) {
                break;
            }
            first_dirty.get_or_insert(segments);
            dirty_bytes += bytes;
        }
        segments += 1;
    }
    let dirty_ratio = dirty_bytes as f64 / (clean_bytes + dirty_bytes).max(1) as f64;
    first_dirty.map(|first_dirty| Cleanable { segments, first_dirty, dirty_ratio })
}

/// Whether a partition is due. `first_ms` tells when the first record of a segment was written, in ms since the Unix epoch.
fn is_due(
    partition: &PartitionImage,
    config: &TopicConfig,
    now_ms: i64,
    cleanable: &Cleanable,
    first_ms: impl Fn(&SegmentImage) -> Option<i64>,
) -> bool {
    if cleanable.dirty_ratio > config.min_cleanable_dirty_ratio {
        return true;
    }
    let oldest = now_ms.saturating_sub(config.max_compaction_lag_ms);
    config.max_compaction_lag_ms < i64::MAX
        && partition.chain[cleanable.first_dirty..cleanable.segments]
            .iter()
            .any(|segment| first_ms(segment).is_some_and(|first| first < oldest))
}

/// How many segments take part, from the first of the chain on; nothing when nothing is dirty and old enough.
pub(super) fn cleanable_now(
    partition: &Arc<Partition>,
    image: &PartitionImage,
    config: &TopicConfig,
    now_ms: i64,
) -> Option<usize> {
    cleanable(image, config, now_ms, |segment| partition.written_ms(segment)).map(|found| found.segments)
}

/// All that are due and not among `waiting`, the dirtiest first. Blocks on the disk.
pub(super) fn find(node: &Node, waiting: &[TopicPartition]) -> Vec<Due> {
    let (image, topics) = (node.consensus.image(), node.topics.load_full());
    let now_ms = node.context.clock.wall_ms();
    let mut due = Vec::new();
    for topic in topics.iter().filter(|topic| topic.config.compact) {
        for partition in topic.partitions.iter().filter(|p| !waiting.contains(&p.id)) {
            let Some(p) = image.partition(partition.id).filter(|p| p.owner == Some(node.id)) else {
                continue;
            };
            let written_ms = |segment: &SegmentImage| partition.written_ms(segment);
            let Some(cleanable) = cleanable(p, &topic.config, now_ms, written_ms) else { continue };
            if is_due(p, &topic.config, now_ms, &cleanable, |segment| partition.first_ms(segment)) {
                due.push(Due { partition: partition.clone(), dirty_ratio: cleanable.dirty_ratio });
            }
        }
    }
    due.sort_by(|a, b| b.dirty_ratio.total_cmp(&a.dirty_ratio));
    due
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId};

    use super::*;

    /// Sealed segments of 100 offsets and so many bytes with maximum timestamps 10, 20, …, and an open one.
    fn partition(bytes: &[u64], clean_end_offset: i64) -> PartitionImage {
        let mut p = PartitionImage::new(vec![NodeId(1)]);
        for i in 0..=bytes.len() {
            let base_offset = i as i64 * 100;
            let sealed = |bytes: &u64| SegmentStatus::Sealed {
                end_offset: base_offset + 100,
                bytes: *bytes,
                max_timestamp: (i as i64 + 1) * 10,
            };
            p.chain.push(Arc::new(SegmentImage {
                id: SegmentId(i as u64 + 1),
                base_offset,
                epoch: LeaderEpoch(0),
                stores: vec![NodeId(1)],
                durability: Durability::Replicated,
                status: bytes.get(i).map_or(SegmentStatus::Open, sealed),
            }));
        }
        p.sealed_end_offset = bytes.len() as i64 * 100;
        p.clean_end_offset = Some(clean_end_offset);
        p
    }

    fn config(settings: &[(&str, &str)]) -> TopicConfig {
        let map: BTreeMap<String, String> =
            settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        TopicConfig::resolve(&map, &Default::default())
    }

    fn due_at(p: &PartitionImage, config: &TopicConfig, now_ms: i64) -> Option<(usize, bool)> {
        // Each segment begins five milliseconds before its newest record.
        let first_ms = |segment: &SegmentImage| Some(segment.base_offset / 10 + 5);
        let cleanable = cleanable(p, config, now_ms, |_| None)?;
        Some((cleanable.segments, is_due(p, config, now_ms, &cleanable, first_ms)))
    }

    #[test]
    fn a_partition_is_due_when_more_of_it_is_dirty_than_the_ratio() {
        let half = config(&[]);
        assert_eq!(due_at(&partition(&[], 0), &half, 1_000), None, "nothing is sealed");
        assert_eq!(due_at(&partition(&[10, 10], 200), &half, 1_000), None, "all is clean");
        assert_eq!(due_at(&partition(&[10, 10], 100), &half, 1_000), Some((2, false)), "no more than half");
        assert_eq!(due_at(&partition(&[10, 11], 100), &half, 1_000), Some((2, true)));
        assert_eq!(
            due_at(&partition(&[10, 1], 99), &half, 1_000),
            Some((2, true)),
            "dirty to its last offset"
        );
        let any = config(&[("min.cleanable.dirty.ratio", "0")]);
        assert_eq!(due_at(&partition(&[1_000_000, 1], 100), &any, 1_000), Some((2, true)));
    }

    #[test]
    fn without_timestamps_a_segment_is_as_old_as_its_file() {
        let lag = config(&[("min.compaction.lag.ms", "50")]);
        let mut p = partition(&[10, 10], 0);
        for segment in &mut p.chain {
            if let SegmentStatus::Sealed { max_timestamp, .. } = &mut Arc::make_mut(segment).status {
                *max_timestamp = -1;
            }
        }
        let written = |segment: &SegmentImage| Some(segment.base_offset);
        let segments = |now_ms| cleanable(&p, &lag, now_ms, written).map(|found| found.segments);
        assert_eq!([49, 50, 149, 150].map(segments), [None, Some(1), Some(1), Some(2)]);
        assert_eq!(cleanable(&p, &lag, 1_000, |_| None).map(|found| found.segments), None, "nobody knows");
    }

    #[test]
    fn what_is_too_young_is_left_alone_with_all_that_follows() {
        let lag = config(&[("min.compaction.lag.ms", "50")]);
        let p = partition(&[10, 10, 10], 0);
        assert_eq!(due_at(&p, &lag, 59), None);
        assert_eq!(due_at(&p, &lag, 60), Some((1, true)));
        assert_eq!(due_at(&p, &lag, 79), Some((2, true)));
        assert_eq!(due_at(&p, &lag, 80), Some((3, true)));
    }

    #[test]
    fn what_waits_too_long_is_due_however_little_it_is() {
        let lag = config(&[("max.compaction.lag.ms", "100")]);
        let p = partition(&[1_000, 1, 1], 100);
        assert_eq!(due_at(&p, &lag, 115), Some((3, false)));
        assert_eq!(due_at(&p, &lag, 116), Some((3, true)), "its first record is of 15");
    }
}
