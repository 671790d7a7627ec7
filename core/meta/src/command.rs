//! The commands that change the image.
//!
//! Each carries what its proposer believes (epoch, chain end, counts) and is refused when that is stale. A lost answer
//! is settled by reading the image, never by proposing something else: first wait until the image is newer than the one
//! the proposal was made from, then look for the command's own effect, as each says below under *recognised*. Not found
//! there, the same command may be proposed again: the belief that it carries makes a second effect impossible.

use std::collections::BTreeMap;

use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId, TopicId, TopicPartition};
use minicbor::{Decode, Encode};

use crate::image::{NodeImage, NodeState};
use crate::partition::Loss;
use crate::quotas::{QuotaEntity, QuotaKey, QuotaValue};

/// A segment to be opened at the end of a chain. Its copies exist already.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct OpenSegment {
    /// Above every earlier id of the partition.
    #[cbor(n(0), with = "crate::encoding::ids::segment")]
    pub segment: SegmentId,
    /// The end of the chain.
    #[n(1)]
    pub base_offset: i64,
    /// The stores that made a copy.
    #[cbor(n(2), with = "crate::encoding::ids::nodes")]
    pub stores: Vec<NodeId>,
    /// When an append to it counts as stored.
    #[cbor(n(3), with = "crate::encoding::ids::durability")]
    pub durability: Durability,
}

/// A sealed segment that compaction made of others, copied and synced on its stores.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Replacement {
    /// The segments that go, in the order of the chain: sealed, each starting where the one before ends.
    #[cbor(n(0), with = "crate::encoding::ids::segments")]
    pub old: Vec<SegmentId>,
    /// The one that takes their place: never used before, with [`COMPACTED`](crate::partition::COMPACTED) in its id.
    #[cbor(n(1), with = "crate::encoding::ids::segment")]
    pub new: SegmentId,
    /// Where the first of them starts.
    #[n(2)]
    pub base_offset: i64,
    /// Where the last of them ends, exclusive.
    #[n(3)]
    pub end_offset: i64,
    /// Bytes of its log file.
    #[n(4)]
    pub bytes: u64,
    /// Greatest record timestamp in ms since the Unix epoch, -1 when unknown.
    #[n(5)]
    pub max_timestamp: i64,
    /// Stores that hold and synced all of it (SealedIsSynced).
    #[cbor(n(6), with = "crate::encoding::ids::nodes")]
    pub stores: Vec<NodeId>,
}

/// One change. The numbers are those of the encoding: docs/decisions/0004.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Command {
    /// A run of a node begins; it is [`NodeState::Active`]. Refused when a later run is known.
    ///
    /// *Recognised*: the node's incarnation is this one.
    #[n(0)]
    RegisterNode {
        /// Which.
        #[cbor(n(0), with = "crate::encoding::ids::node")]
        node: NodeId,
        /// What it says of itself.
        #[n(1)]
        image: NodeImage,
    },
    /// A new topic. Every partition is owned by the first store of its plan, in epoch 0.
    ///
    /// *Recognised*: the id is there.
    #[n(1)]
    CreateTopic {
        /// Drawn at random by the proposer, never used before.
        #[cbor(n(0), with = "crate::encoding::ids::topic")]
        id: TopicId,
        /// Not taken.
        #[n(1)]
        name: String,
        /// The stores of each partition; the first one owns it.
        #[cbor(n(2), with = "crate::encoding::ids::plans")]
        plans: Vec<Vec<NodeId>>,
        /// The settings it sets itself, checked.
        #[n(3)]
        config: BTreeMap<String, String>,
    },
    /// The topic and all its records go.
    ///
    /// *Recognised*: the id is gone.
    #[n(2)]
    DeleteTopic {
        /// Which.
        #[cbor(n(0), with = "crate::encoding::ids::topic")]
        topic: TopicId,
    },
    /// More partitions.
    ///
    /// *Recognised*: their number is above the expected one, and the first new plan is this one. (Someone else who added
    /// as many with the same plans is no harm: the caller has what it asked for.)
    #[n(3)]
    CreatePartitions {
        /// Of which topic.
        #[cbor(n(0), with = "crate::encoding::ids::topic")]
        topic: TopicId,
        /// How many there are now.
        #[n(1)]
        expected_count: i32,
        /// The stores of each new one.
        #[cbor(n(2), with = "crate::encoding::ids::plans")]
        plans: Vec<Vec<NodeId>>,
    },
    /// Settings of a topic: set where there is a value, removed where there is none. Carries no belief: the last one
    /// wins, as in Kafka (KIP-339).
    ///
    /// *Recognised*: the settings are as wanted. Doing it twice is doing it once.
    #[n(4)]
    AlterTopicConfig {
        /// Which.
        #[cbor(n(0), with = "crate::encoding::ids::topic")]
        topic: TopicId,
        /// Checked.
        #[n(1)]
        changes: BTreeMap<String, Option<String>>,
    },
    /// An owner for a partition, with a new epoch: one above the expected one. The epoch begins at the end of the chain,
    /// which is known at once when nothing is open, else with the seal that recovers the open segment.
    ///
    /// *Recognised*: the epoch is one above the expected one and the owner is this one. A run of an owner that cannot
    /// tell whether that assignment was for it or an earlier run takes none for its own and asks for another.
    #[n(5)]
    Assign {
        /// Which.
        #[cbor(n(0), with = "crate::encoding::ids::partition")]
        partition: TopicPartition,
        /// The epoch now; the new one is the next.
        #[cbor(n(1), with = "crate::encoding::ids::epoch")]
        expected_epoch: LeaderEpoch,
        /// The new owner: a new run of the same one, too, since an epoch belongs to one run.
        #[cbor(n(2), with = "crate::encoding::ids::node")]
        owner: NodeId,
    },
    /// Opens a segment at the end of a chain in which none is open.
    ///
    /// *Recognised*: its id is the open one, or at or below [`last_segment`](crate::PartitionImage::last_segment) (then
    /// it was sealed since: ids are drawn by one run of one owner, who knows its own).
    #[n(6)]
    Open {
        /// In which partition.
        #[cbor(n(0), with = "crate::encoding::ids::partition")]
        partition: TopicPartition,
        /// Of the owner.
        #[cbor(n(1), with = "crate::encoding::ids::epoch")]
        epoch: LeaderEpoch,
        /// The segment.
        #[n(2)]
        open: OpenSegment,
    },
    /// Seals the open segment, and opens the next one in the same step where there is a `next`. The first seal of an
    /// epoch that took over an open segment also begins that epoch.
    ///
    /// An empty segment leaves the chain. So does one that a loss ended at or below the log start; the chain then goes on
    /// from the log start, which never falls.
    ///
    /// *Recognised*: the segment is not the open one, the chain's sealed end is `end_offset`, the open segment is
    /// `next`'s (or none).
    #[n(7)]
    Seal {
        /// In which partition.
        #[cbor(n(0), with = "crate::encoding::ids::partition")]
        partition: TopicPartition,
        /// Of the owner: the one who wrote it, or its successor who recovered it.
        #[cbor(n(1), with = "crate::encoding::ids::epoch")]
        epoch: LeaderEpoch,
        /// The open segment.
        #[cbor(n(2), with = "crate::encoding::ids::segment")]
        segment: SegmentId,
        /// Exclusive; its base offset when it is empty, and then it leaves the chain.
        #[n(3)]
        end_offset: i64,
        /// Bytes of the log file up to the end.
        #[n(4)]
        bytes: u64,
        /// Greatest record timestamp in ms since the Unix epoch, -1 when unknown.
        #[n(5)]
        max_timestamp: i64,
        /// Stores that hold and synced all of it (SealedIsSynced).
        #[cbor(n(6), with = "crate::encoding::ids::nodes")]
        complete: Vec<NodeId>,
        /// What may be lost.
        #[n(7)]
        loss: Option<Loss>,
        /// The segment that follows.
        #[n(8)]
        next: Option<OpenSegment>,
    },
    /// Moves the log start (retention, DeleteRecords); sealed segments wholly below it leave the chain. An offset below
    /// the log start moves nothing and is no error: the log start never falls.
    ///
    /// *Recognised*: the log start is at or above the offset.
    #[n(8)]
    AdvanceLogStart {
        /// Of which partition.
        #[cbor(n(0), with = "crate::encoding::ids::partition")]
        partition: TopicPartition,
        /// At or below the sealed end; inside the open segment at or below what its owner, who proposes, has committed.
        #[n(1)]
        offset: i64,
        /// The epoch that the proposer believes in: of it inside the open segment, where the next owner may have committed
        /// something else.
        #[cbor(n(2), with = "crate::encoding::ids::epoch")]
        epoch: LeaderEpoch,
    },
    /// A block of producer ids (KIP-730).
    ///
    /// *Recognised*: not at all. A lost answer costs a block that nobody uses; there are enough.
    #[n(9)]
    AllocateProducerIds {
        /// How many.
        #[n(0)]
        count: u32,
    },
    /// The cluster's id, once and for ever.
    ///
    /// *Recognised*: the cluster has this id. Setting the same id again changes nothing.
    #[n(10)]
    SetClusterId {
        /// Not empty.
        #[n(0)]
        cluster_id: String,
    },
    /// What the cluster does with a node.
    ///
    /// *Recognised*: the node's incarnation and state are these.
    #[n(11)]
    SetNodeState {
        /// Which.
        #[cbor(n(0), with = "crate::encoding::ids::node")]
        node: NodeId,
        /// The run that is meant: a later one has registered anew and is not touched.
        #[n(1)]
        incarnation: u64,
        /// Its new state.
        #[n(2)]
        state: NodeState,
    },
    /// Other stores for the *next* segment of a partition (Kafka's reassignment). Nothing is copied by it.
    ///
    /// *Recognised*: the plan is this one.
    #[n(12)]
    AlterPlan {
        /// Of which partition.
        #[cbor(n(0), with = "crate::encoding::ids::partition")]
        partition: TopicPartition,
        /// The plan now.
        #[cbor(n(1), with = "crate::encoding::ids::nodes")]
        expected: Vec<NodeId>,
        /// The plan to be.
        #[cbor(n(2), with = "crate::encoding::ids::nodes")]
        plan: Vec<NodeId>,
    },
    /// Other stores for a sealed segment: repair made a copy whole and synced it, or a copy is given up. A copy may be
    /// deleted only after the command that takes it out is durable (DurableBeforeDelete).
    ///
    /// *Recognised*: the segment's stores are these, or the segment is gone.
    #[n(13)]
    AlterStores {
        /// In which partition.
        #[cbor(n(0), with = "crate::encoding::ids::partition")]
        partition: TopicPartition,
        /// A sealed one.
        #[cbor(n(1), with = "crate::encoding::ids::segment")]
        segment: SegmentId,
        /// Its stores now.
        #[cbor(n(2), with = "crate::encoding::ids::nodes")]
        expected: Vec<NodeId>,
        /// Its stores to be.
        #[cbor(n(3), with = "crate::encoding::ids::nodes")]
        stores: Vec<NodeId>,
    },
    /// Switches a feature to a level, 0 for off (KIP-584).
    ///
    /// *Recognised*: the feature's level is this one.
    #[n(14)]
    SetFeature {
        /// Its name.
        #[n(0)]
        name: String,
        /// Its level now.
        #[n(1)]
        expected: u16,
        /// Its level to be.
        #[n(2)]
        level: u16,
    },
    /// What one pass of compaction made: segments take the place of others, all of them or none. The epochs in which
    /// records were written stay as they are.
    ///
    /// *Recognised*: the new segments are in the chain and [`clean_end_offset`](crate::PartitionImage::clean_end_offset) is
    /// at or above this one.
    #[n(15)]
    ReplaceSegments {
        /// Of which partition.
        #[cbor(n(0), with = "crate::encoding::ids::partition")]
        partition: TopicPartition,
        /// Of the owner, who compacts.
        #[cbor(n(1), with = "crate::encoding::ids::epoch")]
        epoch: LeaderEpoch,
        /// In the order of the chain; none when there was nothing to leave out.
        #[n(2)]
        replacements: Vec<Replacement>,
        /// Below it no record is superseded by another one below it. At or below the sealed end; never falls.
        #[n(3)]
        clean_end_offset: i64,
    },
    /// Quotas of one entity: set where there is a value, removed where there is none. Carries no belief: the last one
    /// wins, as in Kafka (KIP-546).
    ///
    /// *Recognised*: the quotas are as wanted. Doing it twice is doing it once.
    #[n(16)]
    AlterQuotas {
        /// Whose.
        #[n(0)]
        entity: QuotaEntity,
        /// What.
        #[n(1)]
        changes: BTreeMap<QuotaKey, Option<QuotaValue>>,
    },
    /// Settings of brokers that hold while they run, over those of their configuration files (KIP-226): set where there is
    /// a value, removed where there is none. Carries no belief: the last one wins.
    ///
    /// *Recognised*: the settings are as wanted. Doing it twice is doing it once.
    #[n(17)]
    AlterBrokerConfig {
        /// Whose; none: of all that have none of their own.
        #[cbor(n(0), with = "crate::encoding::ids::owner", has_nil)]
        node: Option<NodeId>,
        /// Checked.
        #[n(1)]
        changes: BTreeMap<String, Option<String>>,
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
