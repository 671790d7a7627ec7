//! One partition in the image: its owner, its chain of segments, what is known of its epochs.

use std::sync::Arc;

use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId};
use minicbor::{Decode, Encode};

use crate::encoding::ids::{durability, epoch, nodes, segment};
use crate::epochs::EpochList;

/// A recorded loss: something acknowledged in `epoch` at or beyond `end_offset` may be gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Loss {
    /// Epoch of the segment that lost it.
    #[cbor(n(0), with = "epoch")]
    pub epoch: LeaderEpoch,
    /// Where the surviving log ended, exclusive.
    #[n(1)]
    pub end_offset: i64,
}

/// Set in the ids that compaction draws, which have no place in the order of a chain's other ids. An owner's counter (the low
/// half of an id) does not come as far.
pub const COMPACTED: u64 = 1 << 31;

/// How far a segment has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum SegmentStatus {
    /// Its owner writes to it.
    #[n(0)]
    Open,
    /// Ended for ever.
    #[n(1)]
    Sealed {
        /// Exclusive.
        #[n(0)]
        end_offset: i64,
        /// Bytes of the log file up to the end.
        #[n(1)]
        bytes: u64,
        /// Greatest record timestamp in ms since the Unix epoch, -1 when unknown.
        #[n(2)]
        max_timestamp: i64,
    },
}

/// One segment of a chain. A tiered segment's object joins it as a further field.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SegmentImage {
    /// Above every earlier id of its partition; with [`COMPACTED`] only another one than all of them.
    #[cbor(n(0), with = "segment")]
    pub id: SegmentId,
    /// Where it starts: the offset of its first record, unless compaction took that away.
    #[n(1)]
    pub base_offset: i64,
    /// Epoch it was opened in.
    #[cbor(n(2), with = "epoch")]
    pub epoch: LeaderEpoch,
    /// Stores it is written to; once sealed, those that hold all of it.
    #[cbor(n(3), with = "nodes")]
    pub stores: Vec<NodeId>,
    /// When an append to it counts as stored.
    #[cbor(n(4), with = "durability")]
    pub durability: Durability,
    /// Open or sealed.
    #[n(5)]
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
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct PartitionImage {
    /// Who owns it; none while nobody does.
    #[cbor(n(0), with = "crate::encoding::ids::owner", has_nil)]
    pub owner: Option<NodeId>,
    /// Its leader epoch: rises with each assignment.
    #[cbor(n(1), with = "epoch")]
    pub epoch: LeaderEpoch,
    /// Where each epoch that wrote starts; the first one at the log start.
    #[n(2)]
    pub epochs: EpochList,
    /// Stores of the next segment, in order of preference: Kafka's replicas.
    #[cbor(n(3), with = "nodes")]
    pub plan: Vec<NodeId>,
    /// Its segments by base offset; at most the last one is open.
    #[cbor(n(4), with = "crate::encoding::shared::list")]
    pub chain: Vec<Arc<SegmentImage>>,
    /// First offset that can be read; never falls.
    #[n(5)]
    pub log_start_offset: i64,
    /// Where the next segment starts, though the chain be empty: the end of the last one sealed, exclusive, or the log
    /// start where a recorded loss ended the log below it.
    #[n(6)]
    pub sealed_end_offset: i64,
    /// Greatest segment id ever opened.
    #[cbor(n(7), with = "segment")]
    pub last_segment: SegmentId,
    /// What was lost, oldest first; forgotten once the log start has moved past it.
    #[n(8)]
    pub losses: Vec<Loss>,
    /// How far compaction has come, exclusive: below it no record is superseded by another one below it. None before the
    /// first pass; of level 2.
    #[n(9)]
    pub clean_end_offset: Option<i64>,
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
            clean_end_offset: None,
        }
    }

    /// The epoch in which the record at `offset` was written.
    pub fn epoch_of(&self, offset: i64) -> Option<LeaderEpoch> {
        self.epochs.epoch_of(offset)
    }

    /// The epoch at a segment's base offset: no batch in it has a lower one. 0 where that is not known any more, below the
    /// log start.
    pub fn first_epoch_of(&self, segment: &SegmentImage) -> LeaderEpoch {
        // Epochs that wrote nothing leave no trace, so above the segment's own it is only where that is empty.
        self.epoch_of(segment.base_offset).unwrap_or(LeaderEpoch(0)).min(segment.epoch)
    }

    /// Kafka's OffsetForLeaderEpoch: see [`EpochList::end_of`]. `end_offset` is where the log ends for whoever asks,
    /// exclusive.
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

    /// ChainContiguous: each segment starts where its predecessor ended, epochs and owners' ids never fall, only the last one
    /// is open, nothing ends below the log start, and the epochs cover the log from its start on.
    ///
    /// # Panics
    /// When any of that is broken: the command that did it must not be applied.
    pub fn check(&self) {
        let within = self.log_start_offset <= self.sealed_end_offset || self.open_segment().is_some();
        assert!(within, "the log starts beyond its end: {self:?}");
        let mut newest = None;
        for id in self.chain.iter().map(|s| s.id).filter(|id| id.0 & COMPACTED == 0) {
            assert!(newest.is_none_or(|newest| newest < id), "a segment id fell: {id} in {self:?}");
            newest = Some(id);
        }
        for pair in self.chain.windows(2) {
            let end = pair[0].end_offset();
            assert_eq!(end, Some(pair[1].base_offset), "ChainContiguous: {pair:?}");
            assert!(pair[0].epoch <= pair[1].epoch, "an epoch fell: {pair:?}");
        }
        if let Some(last) = self.chain.last() {
            let end = last.end_offset().unwrap_or(last.base_offset);
            assert_eq!(end, self.sealed_end_offset, "the chain's end: {self:?}");
            let known = last.id <= self.last_segment || last.id.0 & COMPACTED != 0;
            assert!(known && last.epoch <= self.epoch, "beyond the newest: {last:?}");
        }
        if let Some(end) = self.chain.first().and_then(|s| s.end_offset()) {
            let start = self.log_start_offset;
            assert!(end > start, "a segment ends at {end}, not above the log start {start}");
        }
        let clean = self.clean_end_offset.is_none_or(|end| end <= self.sealed_end_offset);
        assert!(clean, "compacted beyond the sealed end: {self:?}");
        self.epochs.check();
        let first = self.epochs.first().map(|(_, start)| start);
        assert_eq!(first, Some(self.log_start_offset), "the epochs start at the log start: {self:?}");
        let (newest, begun) = self.epochs.last().expect("there is a first one");
        assert!(newest <= self.epoch, "epoch {newest} beyond the newest {}", self.epoch);
        let end = self.sealed_end_offset.max(self.log_start_offset);
        assert!(begun <= end, "epoch {newest} begins at {begun}, beyond the sealed end {end}");
    }
}
