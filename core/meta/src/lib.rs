//! The cluster's metadata: an immutable image, the commands that change it, and the consensus that orders them.
//!
//! Owns who owns a partition, in which epoch, and the chain of its segments; never sees a record. Start at [`Image`],
//! [`Command`] and [`apply`], which are pure; [`MetaLog`] makes commands durable on the file-system seam; [`Consensus`]
//! is what the broker proposes to.

mod apply;
mod command;
mod consensus;
mod epochs;
mod image;
mod local;
mod meta_log;

pub use apply::apply;
pub use command::{Command, DroppedSegment, Event, OpenSegment, Refused};
pub use consensus::{Consensus, ProposeError, Proposing};
pub use epochs::EpochList;
pub use image::{Image, Loss, NodeImage, PartitionImage, SegmentImage, SegmentStatus, TopicImage};
pub use local::{LocalConsensus, LocalState};
pub use meta_log::{MetaLog, MetaLogError, MetaSyncSite};
