//! What the log's frames hold: entries, votes, and what undoes entries.

use std::sync::Arc;

use buslane_wire::ids::NodeId;
use minicbor::{Decode, Encode};

use crate::encoding::ids;

/// Where an entry stands: its index, and the term and leader that proposed it (Raft's log id).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Encode, Decode)]
pub struct LogPosition {
    /// The leader's term.
    #[n(0)]
    pub term: u64,
    /// The leader.
    #[cbor(n(1), with = "ids::node")]
    pub leader: NodeId,
    /// Counts entries without gaps.
    #[n(2)]
    pub index: u64,
}

/// What an entry carries.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Payload {
    /// Nothing: a new leader's first entry.
    #[n(0)]
    Blank,
    /// Commands, as [`crate::encoding::encode_entry`] wrote them.
    #[n(1)]
    Commands(#[cbor(n(0), with = "shared_bytes")] Arc<[u8]>),
    /// The voters.
    #[n(2)]
    Membership(#[n(0)] Voters),
}

/// The members of the consensus group (Raft's membership).
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Voters {
    /// Groups of voters, each of which must agree; two while the membership changes.
    #[cbor(n(0), with = "ids::plans")]
    pub groups: Vec<Vec<NodeId>>,
    /// Every member and where it listens; those in no group only learn.
    #[n(1)]
    pub members: Vec<Member>,
}

/// A member of the consensus group.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Member {
    /// Which.
    #[cbor(n(0), with = "ids::node")]
    pub node: NodeId,
    /// Where it listens; empty while it is the only one.
    #[n(1)]
    pub address: String,
}

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct LogEntry {
    /// Where it stands.
    #[n(0)]
    pub at: LogPosition,
    /// What it carries.
    #[n(1)]
    pub payload: Payload,
}

/// A vote given (Raft's hard state).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Vote {
    /// In which term.
    #[n(0)]
    pub term: u64,
    /// For whom.
    #[cbor(n(1), with = "ids::node")]
    pub node: NodeId,
    /// Whether a quorum gave it.
    #[n(2)]
    pub committed: bool,
}

/// One record of the log.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Record {
    /// The next entry.
    #[n(0)]
    Entry(#[n(0)] LogEntry),
    /// The newest vote; the one before it counts no more.
    #[n(1)]
    Vote(#[n(0)] Vote),
    /// This entry and all later ones never happened: a leader has others. It needs no sync of its own: whatever depends
    /// on it is a later record of the same file.
    #[n(2)]
    Truncate(#[n(0)] u64),
    /// Entries up to here are in the snapshot and gone from the log.
    #[n(3)]
    Purged(#[n(0)] LogPosition),
}

impl Record {
    /// The level that introduced this form of it (see [`crate::encoding`]); commands have their own.
    pub(super) fn level(&self) -> u16 {
        1
    }
}

/// Bytes that the log and the memory share.
mod shared_bytes {
    use std::sync::Arc;

    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    pub(super) fn encode<C, W: Write>(
        bytes: &Arc<[u8]>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(bytes)?;
        Ok(())
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Arc<[u8]>, DecodeError> {
        d.bytes().map(Arc::from)
    }
}
