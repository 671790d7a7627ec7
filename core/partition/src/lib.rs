//! One partition's owner as a state machine without I/O, clock or randomness.
//!
//! Owns the decisions: how a segment is recovered, opened, appended to, sealed; what is committed; which producer
//! sequences are accepted. Does not own files, sockets, metadata or queues of requests: the shell (`buslane-broker`,
//! or the simulation) carries out the [`Action`]s it returns and reports back. Same inputs, same outputs.
//!
//! Start at [`Owner`]. Source: design/core.md, "The partition's life", "Write path", "Invariants".

mod action;
mod owner;
mod producers;
mod recovery;
mod view;
mod writer;

pub use action::{Action, Loss, OpenSegment, Proposal, SealReason};
pub use owner::{Admission, Owner, Phase, Place, ProposalOutcome, Refusal, SealedCopy, Settings, StoreFault};
pub use producers::{
    DecodeError, LoadedProducers, ProducerHistory, ProducerTable, ProducerView, SequenceCheck, SequenceError,
    load_producers,
};
pub use recovery::{Report, Verdict, judge};
pub use view::{ChainView, OpenView};
pub use writer::SegmentWriter;

/// Milliseconds since the Unix epoch, made non-decreasing by whoever passes them in.
pub type Millis = i64;
