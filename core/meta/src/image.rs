//! The cluster image: what is true of the whole cluster, as of one applied command.
//!
//! Immutable; changing it makes a new one that shares everything unchanged. Source: design/core.md, "Metadata".
//! Room is left for users, ACLs, quotas, lanes and tiered objects: they come as further maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId, TopicId, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::epochs::EpochList;

/// A recorded loss: something acknowledged in `epoch` at or beyond `end_offset` may be gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Loss {
    /// Epoch of the segment that lost it.
    pub epoch: LeaderEpoch,
    /// Where the surviving log ended, exclusive.
    pub end_offset: i64,
}

/// How far a segment has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SegmentStatus {
    /// Its owner writes to it.
    Open,
    /// Ended for ever.
    Sealed {
        /// Exclusive.
        end_offset: i64,
        /// Bytes of the log file up to the end.
        bytes: u64,
        /// Greatest record timestamp, -1 when unknown.
        max_timestamp: i64,
    },
}

/// One segment of a chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SegmentImage {
    /// Above every earlier id of its partition.
    pub id: SegmentId,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Epoch it was opened in.
    pub epoch: LeaderEpoch,
    /// Stores it is written to; once sealed, those that hold all of it.
    pub stores: Vec<NodeId>,
    /// When an append to it counts as stored.
    pub durability: Durability,
    /// Open or sealed.
    pub status: SegmentStatus,
}

impl SegmentImage {
    /// Its end, exclusive, once it is sealed.
    pub fn end_offset(&self) -> Option<i64> {
        match self.status {
            SegmentStatus::Open => None,
            SegmentStatus::Sealed { end_offset, .. } => Some(end_offset),
        }
    }
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartitionImage {
    /// Who owns it; none while nobody does.
    pub owner: Option<NodeId>,
    /// Its leader epoch: rises with each assignment.
    pub epoch: LeaderEpoch,
    /// Where each epoch that wrote starts.
    pub epochs: EpochList,
    /// Stores of the next segment, in order of preference: Kafka's replicas.
    pub plan: Vec<NodeId>,
    /// Its segments by base offset; at most the last one is open.
    pub chain: Vec<Arc<SegmentImage>>,
    /// First offset that can be read.
    pub log_start_offset: i64,
    /// End of the last segment ever sealed, exclusive: where the next one starts, though the chain be empty.
    pub sealed_end_offset: i64,
    /// Greatest segment id ever opened.
    pub last_segment: SegmentId,
    /// What was lost, oldest first.
    pub losses: Vec<Loss>,
}

impl PartitionImage {
    /// A new partition, owned by the first store of its plan in epoch 0.
    pub fn new(plan: Vec<NodeId>) -> PartitionImage {
        let mut epochs = EpochList::default();
        epochs.begin(LeaderEpoch(0), 0);
        PartitionImage {
            owner: plan.first().copied(),
            epoch: LeaderEpoch(0),
            epochs,
            plan,
            chain: Vec::new(),
            log_start_offset: 0,
            sealed_end_offset: 0,
            last_segment: SegmentId(0),
            losses: Vec::new(),
        }
    }

    /// The epoch in which the record at `offset` was written.
    pub fn epoch_of(&self, offset: i64) -> Option<LeaderEpoch> {
        self.epochs.epoch_of(offset)
    }

    /// Kafka's OffsetForLeaderEpoch: see [`EpochList::end_of`].
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch, end_offset: i64) -> Option<(LeaderEpoch, i64)> {
        self.epochs.end_of(epoch, self.epoch, end_offset)
    }

    /// The open segment, if there is one.
    pub fn open_segment(&self) -> Option<&Arc<SegmentImage>> {
        self.chain.last().filter(|s| s.status == SegmentStatus::Open)
    }

    /// Bytes of its sealed segments.
    pub fn sealed_bytes(&self) -> u64 {
        self.chain
            .iter()
            .map(|s| match s.status {
                SegmentStatus::Sealed { bytes, .. } => bytes,
                SegmentStatus::Open => 0,
            })
            .sum()
    }

    /// ChainContiguous: each segment starts where its predecessor ended, epochs and ids never fall, only the last one
    /// is open, and nothing ends below the log start.
    ///
    /// # Panics
    /// When any of that is broken: the command that did it must not be applied.
    pub fn check(&self) {
        let within = self.log_start_offset <= self.sealed_end_offset || self.open_segment().is_some();
        assert!(within, "the log starts beyond its end: {self:?}");
        for pair in self.chain.windows(2) {
            let end = pair[0].end_offset();
            assert_eq!(end, Some(pair[1].base_offset), "ChainContiguous: {pair:?}");
            assert!(pair[0].epoch <= pair[1].epoch, "an epoch fell: {pair:?}");
            assert!(pair[0].id < pair[1].id, "a segment id fell: {pair:?}");
        }
        if let Some(last) = self.chain.last() {
            assert_eq!(
                last.end_offset().unwrap_or(last.base_offset),
                self.sealed_end_offset,
                "the chain's end"
            );
            assert!(last.id <= self.last_segment && last.epoch <= self.epoch, "beyond the newest: {last:?}");
        }
        if let Some(first) = self.chain.first().and_then(|s| s.end_offset()) {
            assert!(
                first > self.log_start_offset,
                "a segment wholly below the log start {}",
                self.log_start_offset
            );
        }
    }
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TopicImage {
    /// Its id for ever.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// The settings it sets itself.
    pub config: BTreeMap<String, String>,
    /// Its partitions by index.
    pub partitions: imbl::Vector<Arc<PartitionImage>>,
}

impl TopicImage {
    /// The settings it sets itself.
    pub fn config_map(&self) -> BTreeMap<String, String> {
        self.config.clone()
    }
}

/// One node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeImage {
    /// Where clients reach it.
    pub host: String,
    /// And the port.
    pub port: u16,
    /// Its rack.
    pub rack: Option<String>,
    /// Of its store: rises with each start.
    pub incarnation: u64,
}

/// See the module's head.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Image {
    /// Commands applied so far.
    pub version: u64,
    /// Topics by id.
    pub topics: imbl::OrdMap<TopicId, Arc<TopicImage>>,
    /// Ids by name.
    #[serde(skip)]
    pub(crate) names: imbl::OrdMap<String, TopicId>,
    /// Nodes by id.
    pub nodes: imbl::OrdMap<NodeId, Arc<NodeImage>>,
    /// First producer id that was not given out.
    pub next_producer_id: i64,
}

impl Image {
    /// The topic with that id.
    pub fn topic(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(&id)
    }

    /// The topic with that name.
    pub fn topic_named(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.names.get(name).and_then(|id| self.topics.get(id))
    }

    /// That partition.
    pub fn partition(&self, id: TopicPartition) -> Option<&Arc<PartitionImage>> {
        let index = usize::try_from(id.partition).ok()?;
        self.topics.get(&id.topic)?.partitions.get(index)
    }

    /// Every partition.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &Arc<PartitionImage>)> {
        self.topics.values().flat_map(|t| {
            let id = t.id;
            t.partitions
                .iter()
                .enumerate()
                .map(move |(i, p)| (TopicPartition { topic: id, partition: i as i32 }, p))
        })
    }

    /// Rebuilds what a snapshot does not carry.
    pub(crate) fn index_names(&mut self) {
        self.names = self.topics.values().map(|t| (t.name.clone(), t.id)).collect();
    }

    /// Every invariant of every partition; see [`PartitionImage::check`].
    pub fn check(&self) {
        for (_, partition) in self.partitions() {
            partition.check();
        }
        assert_eq!(self.names.len(), self.topics.len(), "each topic has one name");
    }
}
