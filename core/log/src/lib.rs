//! The segment store on one disk.
//!
//! Owns the files under one data folder: segment copies, their indexes and producer checkpoints, and the store journal
//! (promises, incarnation, recovery points, wholeness); reads sealed copies again, to find what spoiled ([`Scrub`]). Keeps
//! promises and refuses what is unsafe; what to append, seal or recover is decided by the partition's owner
//! (`buslane-partition`), through this crate's API.
//! Deliberately absent: topics' meaning, replication, metadata, any clock, any randomness, tokio.
//!
//! Start at [`Store`], then [`Segment`]. Every byte goes through the seam in [`fs`]; every sync through
//! [`SyncSite`], so that the power-cut simulation can take away one at a time.
//! Source: design/core.md, "On disk", "Recover", "Whole", "Invariants".

mod batch_chain;
pub mod cleaner;
pub mod data_dir;
pub mod disk;
pub mod dump;
pub mod faulty;
#[cfg(test)]
mod fixtures;
pub mod fs;
pub mod fs_tests;
mod handles;
mod index;
mod journal;
mod layout;
pub mod offline;
mod orphans;
mod producers;
mod scrub;
mod segment;
mod store;
mod sync_site;
mod syncer;
pub mod verify;
mod walk;

pub use data_dir::{DataDir, DataDirError, Identity, Wanted};
pub use journal::{JournalError, JournalFailed};
pub use offline::Offline;
pub use scrub::{DamagedRange, Scrub, ScrubStep, SealedSegment};
pub use segment::{
    AppendError, Appended, CopyReport, Corrupt, ReadError, ReadSlice, RecoverError, Recovery, SealError,
    SealedCopy, Segment, SyncError, Synced, TimestampedOffset,
};
pub use store::{
    CreateError, FoundCopy, LoadError, OpenError, OpenReport, PromisedHigher, SegmentSpec, SegmentState,
    SpaceReserve, SpaceState, Store, StoreOptions, check_journal, has_segments,
};
pub use sync_site::SyncSite;
pub use syncer::{RoundReport, SyncCallback, Syncer, SyncerOptions};
