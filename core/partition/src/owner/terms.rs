//! What goes into an owner and comes out of it, besides actions.

use buslane_wire::ids::{Durability, LeaderEpoch, SegmentId};

use crate::Millis;
use crate::producers::SequenceError;
use crate::view::ChainView;

/// What the topic and the broker say about this partition's log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Copies of a new segment (R).
    pub replicas: usize,
    /// Fewest copies with which acks=all is accepted (`min.insync.replicas`), or all of them where the plan has fewer.
    pub min_insync: usize,
    /// Durability of the next segment.
    pub durability: Durability,
    /// A segment is sealed before an append would make it larger (bytes).
    pub segment_bytes: u64,
    /// A segment older than this is sealed.
    pub segment_ms: Millis,
    /// A segment that nothing was written to for this long is sealed.
    pub idle_ms: Millis,
    /// A producer that wrote nothing for this long is forgotten.
    pub producer_expiry_ms: Millis,
    /// Bytes between producer checkpoints.
    pub checkpoint_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            replicas: 1,
            min_insync: 1,
            durability: Durability::Replicated,
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            idle_ms: 600_000,
            producer_expiry_ms: 24 * 3_600_000,
            checkpoint_bytes: 16 << 20,
        }
    }
}

/// Where a batch goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The open segment.
    pub segment: SegmentId,
    /// Offset for the batch's first record.
    pub base_offset: i64,
    /// Leader epoch for the batch.
    pub epoch: LeaderEpoch,
}

/// What becomes of a batch that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Write it there, then call [`Owner::on_appended`].
    Append(Place),
    /// It is stored already: answer with these offsets under the request's acks rule.
    Duplicate {
        /// Offset of the stored batch's first record.
        base_offset: i64,
        /// Offset of its last record.
        last_offset: i64,
    },
    /// Not now: keep it in order and offer it again after [`Action::Ready`].
    Wait,
}

/// Why a batch is refused. All but the sequence errors are retriable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// This run does not own the partition (any more): NOT_LEADER_OR_FOLLOWER.
    #[error("not the owner")]
    NotOwner,
    /// acks=all with too few copies: NOT_ENOUGH_REPLICAS.
    #[error("{have} of at least {need} copies")]
    NotEnoughReplicas {
        /// Copies an append would reach now.
        have: usize,
        /// `min.insync.replicas`.
        need: usize,
    },
    /// No store could make a copy: KAFKA_STORAGE_ERROR.
    #[error("no store could make a copy of a new segment")]
    NoStore,
    /// Producer id, epoch or sequence.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
}

/// How a store failed an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreFault {
    /// It promised a higher epoch: another owner is at work.
    Fenced,
    /// It is lost to the segment: an error, a restart, a timeout.
    Lost,
}

/// How a proposal ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProposalOutcome {
    /// Committed and applied.
    Committed,
    /// The answer was lost; this is the image now. Settled by looking, never by proposing something else.
    Unknown(ChainView),
    /// Refused; this is the image now.
    Refused(ChainView),
}

/// What a sealed copy is made of, as its store reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedCopy {
    /// Bytes of the log file up to the end.
    pub bytes: u64,
    /// Greatest record timestamp, -1 when empty.
    pub max_timestamp: i64,
}

/// The state's name, for metrics, logs and readiness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Finding out where the log ends. Nothing can be served beyond what is sealed.
    Recovering,
    /// Nothing is open; the next append opens a segment.
    Idle,
    /// Copies of a new segment are being made.
    Creating,
    /// Appending.
    Appending,
    /// The open segment is being sealed.
    Sealing,
    /// Fenced, stepped down, or to be started over.
    Stopped,
}
