//! Why a command is refused: what its proposer believes beside what is.

use buslane_wire::ids::{LeaderEpoch, NodeId, SegmentId, TopicId};

use crate::quotas::QuotaRefused;

/// Why a command was not applied. The image is as it was.
///
/// A refusal is final for this command in this image: proposing the same again is refused again until the image has
/// moved on. Whoever gets one reads the image.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// No such topic, partition or node (any more).
    #[error("there is no such topic, partition or node")]
    Unknown,
    /// The name is taken.
    #[error("the name is taken by topic {0}")]
    NameTaken(TopicId),
    /// The topic id is taken or zero; or the cluster has another id.
    #[error("the id is taken")]
    IdTaken,
    /// The proposer's epoch is not the partition's.
    #[error("epoch {got} was given, the partition is in epoch {current}")]
    Epoch {
        /// The proposer's.
        got: LeaderEpoch,
        /// The partition's.
        current: LeaderEpoch,
    },
    /// The chain is not in the state that the proposer believes.
    #[error("the chain is not as expected: {0}")]
    Chain(ChainMismatch),
    /// Something is counted otherwise than the proposer believes.
    #[error("{what}: {current}, not {expected}")]
    Count {
        /// What is counted.
        what: Counted,
        /// What the proposer believes.
        expected: u64,
        /// What is there.
        current: u64,
    },
    /// Applying it, or another command of the same entry, would break an invariant: a defect of this program, told in the
    /// server's log. Nothing of the entry was applied.
    #[error("it would break an invariant, which is a defect of this program; see the server's log")]
    Broken,
    /// A partition or segment without a store or with one named twice, or no partition at all.
    #[error("a partition needs at least one store, and each one once")]
    NoStore,
    /// Quotas that cannot be.
    #[error(transparent)]
    Quota(#[from] QuotaRefused),
    /// An offset beyond the end of the log, or more ids than are left.
    #[error("{got} is beyond {end}")]
    BeyondEnd {
        /// What was given.
        got: i64,
        /// The end.
        end: i64,
    },
}

/// What [`Refused::Count`] counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// Partitions of a topic.
    Partitions,
    /// Runs of a node: its store's incarnation.
    Incarnation,
    /// The level of a feature.
    FeatureLevel,
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Counted::Partitions => "partitions",
            Counted::Incarnation => "incarnation",
            Counted::FeatureLevel => "feature level",
        })
    }
}

/// How a chain differs from what the proposer believes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChainMismatch {
    /// Another segment is open, or none.
    #[error("segment {got} is not the open one ({})", Named(*.open))]
    NotOpen {
        /// The proposer's.
        got: SegmentId,
        /// The open one.
        open: Option<SegmentId>,
    },
    /// A segment is open already.
    #[error("segment {open} is open")]
    IsOpen {
        /// Which.
        open: SegmentId,
    },
    /// The chain ends elsewhere.
    #[error("the chain ends at {end}, not at {got}")]
    End {
        /// The proposer's.
        got: i64,
        /// Where it ends, exclusive.
        end: i64,
    },
    /// A segment would end before it starts.
    #[error("the segment starts at {base_offset}, beyond its end {got}")]
    BeforeBase {
        /// The proposer's end.
        got: i64,
        /// Where the segment starts.
        base_offset: i64,
    },
    /// The id is not above the greatest one ever opened.
    #[error("segment id {got} is not above {last}")]
    SegmentId {
        /// The proposer's.
        got: SegmentId,
        /// The greatest one.
        last: SegmentId,
    },
    /// The recorded loss is not that of the segment being sealed.
    #[error("a loss in epoch {epoch} at {end_offset} is not one of the segment that is sealed")]
    Loss {
        /// The proposer's epoch.
        epoch: LeaderEpoch,
        /// The proposer's end.
        end_offset: i64,
    },
    /// No sealed segment of that id is in the chain.
    #[error("segment {got} is not a sealed one of the chain")]
    NotSealed {
        /// The proposer's.
        got: SegmentId,
    },
    /// The id is in the chain already, or not one of compaction's.
    #[error("segment id {got} is not a new one of compaction's")]
    NotNew {
        /// The proposer's.
        got: SegmentId,
    },
    /// The segments cover other offsets, each range exclusive at its end.
    #[error("the segments cover offsets {current:?}, not {got:?}")]
    Range {
        /// The proposer's.
        got: (i64, i64),
        /// What they cover.
        current: (i64, i64),
    },
    /// The stores, of the plan or of a segment, are others.
    #[error("the stores are {current:?}, not {expected:?}")]
    Stores {
        /// What the proposer believes.
        expected: Vec<NodeId>,
        /// What is there.
        current: Vec<NodeId>,
    },
}

struct Named(Option<SegmentId>);

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(segment) => write!(f, "that is {segment}"),
            None => f.write_str("none is"),
        }
    }
}
