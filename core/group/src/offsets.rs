//! Committed offsets, by group, topic and partition.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use buslane_wire::ids::TopicId;

use crate::records::{self, OffsetCommitKey, OffsetCommitValue, Record};

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOffset {
    /// The next offset to read.
    pub offset: i64,
    /// Epoch of the last record consumed; -1 when unknown.
    pub leader_epoch: i32,
    /// Text of the consumer's.
    pub metadata: Arc<str>,
    /// When it was committed, in milliseconds.
    pub commit_timestamp_ms: i64,
    /// When it expires whatever the retention, in milliseconds: only for commits that said so (below version 5).
    pub expire_timestamp_ms: Option<i64>,
    /// The topic's id; zero when the commit named the topic only.
    pub topic_id: TopicId,
}

impl StoredOffset {
    pub(crate) fn of_value(value: &OffsetCommitValue<'_>) -> StoredOffset {
        StoredOffset {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.into(),
            commit_timestamp_ms: value.commit_timestamp,
            expire_timestamp_ms: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
            topic_id: value.topic_id,
        }
    }

    /// The record, in the version that Kafka 4.x writes: 1 when it has an expiry of its own, else 4.
    pub(crate) fn to_record(&self, group: &str, topic: &str, partition: i32) -> Record {
        let value = OffsetCommitValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: &self.metadata,
            commit_timestamp: self.commit_timestamp_ms,
            expire_timestamp: self.expire_timestamp_ms.unwrap_or(-1),
            topic_id: self.topic_id,
        };
        let version = if self.expire_timestamp_ms.is_some() { 1 } else { 4 };
        records::record(&OffsetCommitKey { group, topic, partition }, &value, version)
            .expect("every string came in a message and has at most 32767 bytes")
    }

    /// True when it may be removed `now_ms`, for a group whose retention runs from `since_ms` on.
    pub(crate) fn is_expired(&self, now_ms: i64, since_ms: i64, retention_ms: i64) -> bool {
        match self.expire_timestamp_ms {
            Some(expiry) => now_ms >= expiry,
            None => now_ms.saturating_sub(since_ms) >= retention_ms,
        }
    }

    /// True when the offset was committed for another creation of the topic than `asked`; an unknown id fits all.
    pub(crate) fn is_of_another(&self, asked: TopicId) -> bool {
        !self.topic_id.is_zero() && !asked.is_zero() && self.topic_id != asked
    }
}

/// The record that removes an offset.
pub(crate) fn tombstone(group: &str, topic: &str, partition: i32) -> Record {
    records::tombstone(&OffsetCommitKey { group, topic, partition })
        .expect("every string came in a message or a record and has at most 32767 bytes")
}

/// Offsets of one group.
pub(crate) type TopicOffsets = BTreeMap<Arc<str>, BTreeMap<i32, StoredOffset>>;

/// Offsets of every group of a shard. No group stands in it without a topic, no topic without a partition.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Offsets(HashMap<Arc<str>, TopicOffsets>);

impl Offsets {
    pub fn of_group(&self, group: &str) -> Option<&TopicOffsets> {
        self.0.get(group)
    }

    pub fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&StoredOffset> {
        self.0.get(group)?.get(topic)?.get(&partition)
    }

    pub fn put(&mut self, group: Arc<str>, topic: &str, partition: i32, offset: StoredOffset) {
        let topics = self.0.entry(group).or_default();
        match topics.get_mut(topic) {
            Some(partitions) => {
                partitions.insert(partition, offset);
            }
            None => {
                topics.insert(topic.into(), BTreeMap::from([(partition, offset)]));
            }
        }
    }

    pub fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        let Some(topics) = self.0.get_mut(group) else { return };
        let Some(partitions) = topics.get_mut(topic) else { return };
        partitions.remove(&partition);
        if partitions.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.0.remove(group);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &TopicOffsets)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(topic_id: TopicId) -> StoredOffset {
        StoredOffset {
            offset: 5,
            leader_epoch: 2,
            metadata: "m".into(),
            commit_timestamp_ms: 100,
            expire_timestamp_ms: None,
            topic_id,
        }
    }

    #[test]
    fn the_record_of_an_offset_reads_back_to_it() {
        let with_expiry = StoredOffset { expire_timestamp_ms: Some(900), ..stored(TopicId::ZERO) };
        for (offset, version, read) in [
            (stored(TopicId([1; 16])), 4, stored(TopicId([1; 16]))),
            // Version 1 has no place for the epoch, as in Kafka.
            (with_expiry.clone(), 1, StoredOffset { leader_epoch: -1, ..with_expiry }),
        ] {
            let record = offset.to_record("g", "t", 3);
            assert_eq!(record.value.as_ref().unwrap()[..2], [0, version]);
            let parsed = records::parse(&record.key, record.value.as_deref()).unwrap();
            let records::Parsed::Known(records::Known::OffsetCommit(key, Some(value))) = parsed else {
                panic!("{parsed:?}")
            };
            assert_eq!(key, OffsetCommitKey { group: "g", topic: "t", partition: 3 });
            assert_eq!(StoredOffset::of_value(&value), read);
        }
    }

    #[test]
    fn retention_runs_from_the_given_time_and_an_own_expiry_wins() {
        let offset = stored(TopicId::ZERO);
        assert!(!offset.is_expired(199, 100, 100));
        assert!(offset.is_expired(200, 100, 100));
        let own = StoredOffset { expire_timestamp_ms: Some(150), ..offset };
        assert!(!own.is_expired(149, 0, 10));
        assert!(own.is_expired(150, 100, 1_000));
    }

    #[test]
    fn nothing_empty_is_kept() {
        let mut offsets = Offsets::default();
        offsets.put("g".into(), "t", 0, stored(TopicId::ZERO));
        offsets.put("g".into(), "t", 1, stored(TopicId::ZERO));
        offsets.remove("g", "t", 0);
        assert!(offsets.get("g", "t", 0).is_none() && offsets.get("g", "t", 1).is_some());
        offsets.remove("g", "t", 1);
        offsets.remove("g", "t", 1);
        assert_eq!(offsets, Offsets::default());
    }
}
