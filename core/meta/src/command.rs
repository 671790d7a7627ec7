//! The commands that change the image.
//!
//! Each carries what its proposer believes (epoch, chain end, counts) and is refused when that is stale. A lost answer
//! is settled by reading the image, never by proposing something else; each command says below how its own effect is
//! recognised.

use std::collections::BTreeMap;

use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId, TopicId, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::image::{Loss, NodeImage};

/// A segment to be opened at the end of a chain. Its copies exist already.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenSegment {
    /// Above every earlier id of the partition.
    pub segment: SegmentId,
    /// The end of the chain.
    pub base_offset: i64,
    /// The stores that made a copy.
    pub stores: Vec<NodeId>,
    /// When an append to it counts as stored.
    pub durability: Durability,
}

/// One change. Encoded as JSON, tagged with its name: see docs/decisions/0004.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// A node is here (again). Recognised by its incarnation.
    RegisterNode {
        /// Which.
        node: NodeId,
        /// What it says of itself.
        image: NodeImage,
    },
    /// A new topic. Recognised by its id.
    CreateTopic {
        /// Drawn at random by the proposer.
        id: TopicId,
        /// Not taken.
        name: String,
        /// The stores of each partition; the first one owns it.
        plans: Vec<Vec<NodeId>>,
        /// The settings it sets itself, checked.
        config: BTreeMap<String, String>,
    },
    /// The topic and all its records go. Recognised by the id being gone.
    DeleteTopic {
        /// Which.
        topic: TopicId,
    },
    /// More partitions. Recognised by their number.
    CreatePartitions {
        /// Of which topic.
        topic: TopicId,
        /// How many there are now.
        expected_count: i32,
        /// The stores of each new one.
        plans: Vec<Vec<NodeId>>,
    },
    /// Settings of a topic: set where there is a value, removed where there is none.
    AlterTopicConfig {
        /// Which.
        topic: TopicId,
        /// Checked.
        changes: BTreeMap<String, Option<String>>,
    },
    /// An owner for a partition, with a new epoch. Recognised by owner and epoch.
    Assign {
        /// Which.
        partition: TopicPartition,
        /// The epoch now; the new one is the next.
        expected_epoch: LeaderEpoch,
        /// The new owner: a new run of the same one, too, since an epoch belongs to one run.
        owner: NodeId,
    },
    /// Opens a segment. Recognised by its id being the open one.
    Open {
        /// In which partition.
        partition: TopicPartition,
        /// Of the owner.
        epoch: LeaderEpoch,
        /// The segment.
        open: OpenSegment,
    },
    /// Seals the open segment, and opens the next one in the same step. Recognised by the chain's end and the open id.
    Seal {
        /// In which partition.
        partition: TopicPartition,
        /// Of the owner: the one who wrote it, or its successor who recovered it.
        epoch: LeaderEpoch,
        /// The open segment.
        segment: SegmentId,
        /// Exclusive; its base offset when it is empty, and then it leaves the chain.
        end_offset: i64,
        /// Bytes of the log file up to the end.
        bytes: u64,
        /// Greatest record timestamp, -1 when unknown.
        max_timestamp: i64,
        /// Stores that hold and synced all of it (SealedIsSynced).
        complete: Vec<NodeId>,
        /// What may be lost.
        loss: Option<Loss>,
        /// The segment that follows.
        next: Option<OpenSegment>,
    },
    /// Moves the log start; sealed segments wholly below it leave the chain. Recognised by the log start.
    AdvanceLogStart {
        /// Of which partition.
        partition: TopicPartition,
        /// At or below the end of what is sealed or open.
        offset: i64,
    },
    /// A block of producer ids. Not recognisable: a lost answer costs a block, and there are enough.
    AllocateProducerIds {
        /// How many.
        count: u32,
    },
}

/// What a command did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// It is in the image.
    Done,
    /// The new epoch.
    Assigned(LeaderEpoch),
    /// These ids are the proposer's: first, and how many.
    ProducerIds {
        /// First of the block.
        first: i64,
        /// How many.
        count: u32,
    },
    /// These segments left the chain: their copies can go once the command is durable.
    Dropped(Vec<DroppedSegment>),
}

/// A segment that left its chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DroppedSegment {
    /// Which.
    pub id: SegmentId,
    /// Where it started: part of its files' name.
    pub base_offset: i64,
}

/// Why a command was not applied. The image is as it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// No such topic or partition (any more).
    #[error("there is no such topic or partition")]
    Unknown,
    /// The name is taken.
    #[error("the name is taken by topic {0}")]
    NameTaken(TopicId),
    /// The id is taken.
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
    Chain(String),
    /// Another number of partitions than expected.
    #[error("{current} partitions, not {expected}")]
    Count {
        /// What the proposer believes.
        expected: i32,
        /// What is there.
        current: i32,
    },
    /// A partition without a store, or no partition at all.
    #[error("a partition needs at least one store")]
    NoStore,
    /// An offset beyond the end of the log, or none left to give.
    #[error("offset {got} is beyond {end}")]
    BeyondEnd {
        /// What was given.
        got: i64,
        /// The end.
        end: i64,
    },
}
