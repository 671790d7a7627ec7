//! What an owner asks of its shell, in the order in which it must happen.

use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId};

/// A recorded loss: something acknowledged in `epoch` at or beyond `end_offset` may be gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loss {
    /// Epoch of the segment that lost it.
    pub epoch: LeaderEpoch,
    /// Where the surviving log ends, exclusive.
    pub end_offset: i64,
}

/// Why a segment is sealed. For logs and metrics, and for whether the next one is opened at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SealReason {
    /// A new owner found it open.
    Recovered,
    /// It reached its size.
    Size,
    /// It reached its age.
    Age,
    /// Nothing was written to it for a while.
    Idle,
    /// The topic's durability changed.
    Durability,
    /// One of its stores was lost.
    Failover,
    /// The owner steps down.
    StepDown,
}

/// A change of the chain, to be committed to metadata under the owner's epoch. At most one is in flight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proposal {
    /// Open a segment at the end of the chain; its copies exist on `stores`.
    Open(OpenSegment),
    /// Seal the open segment, and open the next at once where `next` says so.
    Seal {
        /// The open segment.
        segment: SegmentId,
        /// Its end, exclusive; equal to its base when it is empty.
        end_offset: i64,
        /// Bytes of the log file up to the end.
        bytes: u64,
        /// Greatest record timestamp in it, -1 when it is empty.
        max_timestamp: i64,
        /// The stores that hold *and synced* all of it (SealedIsSynced).
        complete: Vec<NodeId>,
        /// Recorded when recovery could not prove that all acknowledged records are there.
        loss: Option<Loss>,
        /// The segment that follows without a gap in service.
        next: Option<OpenSegment>,
    },
}

/// A segment to be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenSegment {
    /// Its id: above every earlier one of the partition.
    pub segment: SegmentId,
    /// Where it starts: the end of the chain.
    pub base_offset: i64,
    /// The stores that made a copy.
    pub stores: Vec<NodeId>,
    /// When an append to it counts as stored.
    pub durability: Durability,
}

/// One thing the shell has to do. Actions of one step are carried out in order; answers come back through the
/// `Owner::on_*` function named in each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Have `node` durably promise the owner's epoch, then report its copy -> `on_report`.
    Recover {
        /// The store.
        node: NodeId,
        /// The segment found open.
        segment: SegmentId,
    },
    /// Copy `[from_offset, end_offset)` of the segment from one store to another under the owner's epoch, batch CRCs
    /// checked -> `on_copied`.
    CopyTail {
        /// The segment.
        segment: SegmentId,
        /// The store with the longest copy.
        source: NodeId,
        /// The store that is behind.
        target: NodeId,
        /// End of the target's copy; `None`: it has none and makes one first.
        from_offset: Option<i64>,
        /// End of the source's copy.
        end_offset: i64,
    },
    /// Load the producer table as of `end_offset`: the newest checkpoint at or below it, and the batch headers after it
    /// -> `on_producers`. With no segment: from the chain's last sealed one.
    LoadProducers {
        /// The segment found open and the store to read it from; `None`: nothing was open.
        from: Option<(SegmentId, NodeId)>,
        /// As of which offset, exclusive.
        end_offset: i64,
    },
    /// Make an empty copy under the owner's epoch -> `on_created`.
    Create {
        /// The store.
        node: NodeId,
        /// What is to be made.
        segment: SegmentId,
        /// Where it starts.
        base_offset: i64,
        /// Fixed for the segment's life.
        durability: Durability,
        /// Encoded [`crate::ProducerTable`] as of `base_offset`: the copy's first checkpoint.
        producers: std::sync::Arc<[u8]>,
    },
    /// Keep a producer checkpoint beside every copy. No answer.
    Checkpoint {
        /// The segment.
        segment: SegmentId,
        /// As of which offset, exclusive.
        end_offset: i64,
        /// Encoded [`crate::ProducerTable`].
        producers: std::sync::Arc<[u8]>,
    },
    /// Start to write back what the segment has, so that the sync at its seal is short. No answer.
    Presync {
        /// The segment.
        segment: SegmentId,
    },
    /// Have `node` hold everything below `end_offset` and sync it, producers and directory too -> `on_sealed_copy`.
    SealCopy {
        /// The store.
        node: NodeId,
        /// The segment.
        segment: SegmentId,
        /// Its frozen end, exclusive.
        end_offset: i64,
        /// Encoded [`crate::ProducerTable`] as of the end.
        producers: std::sync::Arc<[u8]>,
    },
    /// Commit to metadata under the owner's epoch -> `on_proposed`.
    Propose(Proposal),
    /// Everything below is committed: wake produce and fetch requests.
    Committed(i64),
    /// Appends that were told to wait can be offered again, oldest first.
    Ready,
    /// This run cannot go on (no store is left, or a promise was refused): ask for a new epoch after a pause and start
    /// over with a new owner. Waiting requests are answered with a retriable error.
    Restart {
        /// What happened, for the log.
        reason: &'static str,
    },
    /// Nothing is open any more; the partition can be handed over.
    SteppedDown,
}
