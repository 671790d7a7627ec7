//! The part of the cluster image that one owner looks at. The shell makes it; this crate does not know the image.

use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId};

/// The end of a partition's chain in the committed metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChainView {
    /// The partition's epoch; an owner of a lower one is fenced.
    pub epoch: LeaderEpoch,
    /// End of the last sealed segment, exclusive; the log start offset when there is none.
    pub sealed_end_offset: i64,
    /// First offset that is not deleted. A power cut can leave less than that of the open segment: the chain then goes on
    /// from here.
    pub log_start_offset: i64,
    /// The open segment, if there is one; it starts at `sealed_end_offset`.
    pub open: Option<OpenView>,
}

/// An open segment in the committed metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenView {
    /// The segment.
    pub segment: SegmentId,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Epoch it was opened in.
    pub epoch: LeaderEpoch,
    /// The stores it is written to.
    pub stores: Vec<NodeId>,
    /// When an append to it counts as stored.
    pub durability: Durability,
}
