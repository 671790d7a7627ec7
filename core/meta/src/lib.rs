//! The cluster's metadata: an immutable image, the commands that change it, and the consensus that orders them.
//!
//! Owns who owns a partition, in which epoch, and the chain of its segments; never sees a record. Start at [`Image`],
//! [`Command`] and [`apply`], which are pure; [`MetaLog`] makes entries durable on the file-system seam; [`Consensus`]
//! is what the broker proposes to, with [`RaftConsensus`] behind it, or [`LocalConsensus`] without Raft.
//! Deliberately absent: heartbeats, the choice of owners and stores (the controller's, in the broker), any clock.
//!
//! Source: design/core.md, "Identity and epochs", "Metadata", "Invariants".

mod apply;
mod coalesce;
mod command;
#[cfg(test)]
mod conformance;
mod consensus;
pub mod encoding;
mod epochs;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod gate_fs;
mod image;
mod local;
mod meta_log;
mod offline;
mod partition;
mod quotas;
mod raft;
mod refused;
mod replay;
mod snapshot_policy;

pub use apply::{Outcomes, apply, apply_entry};
pub use command::{Command, DroppedSegment, Event, OpenSegment, Replacement};
pub use consensus::{Consensus, Leader, ProposeError, Proposing};
pub use epochs::EpochList;
pub use image::{Image, NodeImage, NodeState, TopicImage};
pub use local::{LocalConsensus, LocalState};
pub use meta_log::{MetaLog, MetaLogError, MetaSyncSite};
pub use offline::{OfflineEntry, OfflineMeta};
pub use partition::{COMPACTED, Loss, PartitionImage, SegmentImage, SegmentStatus};
pub use quotas::{
    QUOTA_ENTITIES_MAX, QUOTA_NAME_MAX, QuotaEntity, QuotaKey, QuotaName, QuotaRefused, QuotaValue,
    QuotaValues, Quotas,
};
pub use raft::{RaftConsensus, StartError};
pub use refused::{ChainMismatch, Counted, Refused};
