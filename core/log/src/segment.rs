//! One copy of one segment: a prefix of what its owner wrote.
//!
//! Appends and reads run at the same time from different threads: `writer` serialises what changes the files, `tail`
//! is held for moments only, and no lock is held while a reader reads. The parts: [`append`], [`read`],
//! [`timestamps`], [`recover`], [`seal`], [`sync`], [`sparse`] (the index in use).

mod append;
mod read;
mod recover;
mod seal;
mod sparse;
mod sync;
mod timestamps;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use buslane_wire::batch::{BatchHeader, HEADER_LEN};
use buslane_wire::ids::{Durability, LeaderEpoch, SegmentRef};
use parking_lot::{Mutex, RwLock};

use crate::fs::{FsFile, OpenMode};
use crate::handles::PartKey;
use crate::index::{IndexOf, NO_TIMESTAMP};
use crate::journal::record::{CopyState, Record};
use crate::layout::{self, Part};
use crate::store::Shared;
use crate::sync_site::SyncSite;
use crate::syncer::Requests;

pub use append::{AppendError, Appended};
pub use read::{ReadError, ReadSlice};
pub use recover::{RecoverError, Recovery};
pub use seal::{SealError, SealedCopy};
use sparse::SparseTail;
pub use sync::{SyncError, Synced};
pub use timestamps::TimestampedOffset;

/// Batch starts remembered for readers near the end: they need no index and no header.
const RING: usize = 64;

/// Greatest size of a segment file: positions in the index have 32 bits.
pub(crate) const MAX_BYTES: u64 = u32::MAX as u64;

/// The lowest epoch that a store still accepts for a partition. Appends hold it shared while they write, so that a
/// promise waits for them and every later report counts them (FenceBeforeRead).
#[derive(Debug)]
pub(crate) struct Fence(pub(crate) RwLock<LeaderEpoch>);

/// Damage that a crash cannot explain. It takes this partition offline on this store, nothing else.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{file}: damaged at byte {position}: {reason}; bring the file back from another copy, or stop the server and see what \
     can be saved with `buslane log verify --data {} --repair`",
    data_folder(file)
)]
pub struct Corrupt {
    /// The file.
    pub file: String,
    /// Where.
    pub position: u64,
    /// What is wrong.
    pub reason: String,
}

/// The data folder that holds a segment's file, `<data>/log/<topic>/<partition>/<file>`, as a shell takes it.
fn data_folder(file: &str) -> String {
    let data = Path::new(file).ancestors().nth(4).filter(|data| *data != "").unwrap_or(Path::new("."));
    let data = data.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    if data.chars().all(plain) { data } else { format!("'{}'", data.replace('\'', r"'\''")) }
}

/// What a store says of its copy of a segment that is not sealed in the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyReport {
    /// Offset of the segment's first record.
    pub base_offset: i64,
    /// End of the last whole batch, exclusive.
    pub end_offset: i64,
    /// Bytes up to there.
    pub end_position: u64,
    /// Epoch the segment was opened in.
    pub epoch: LeaderEpoch,
    /// Nothing acknowledged can be missing from this copy (WholeIsSticky).
    pub whole: bool,
    /// When an append to it counts as stored.
    pub durability: Durability,
}

/// How far a copy's life has come on this store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Made in this run: takes its owner's appends.
    Open,
    /// Found at start, its end is not known.
    Unrecovered,
    /// Its end is known; takes recovery's copies, never an owner's append: whoever wrote it lost this store when it
    /// restarted or failed.
    Recovered,
    /// Frozen and synced.
    Sealed,
    /// A write or a sync failed: given up until a recovery.
    Failed(Arc<str>),
    /// Its files are gone.
    Deleted,
}

impl Phase {
    /// For "the copy is …".
    fn describe(&self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Unrecovered => "not recovered",
            Phase::Recovered => "recovered: it takes only a recovery's copies",
            Phase::Sealed => "sealed",
            Phase::Failed(_) => "given up after a failed write or sync",
            Phase::Deleted => "deleted",
        }
    }
}

/// What changes with each append. Locked for moments, never across I/O.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) phase: Phase,
    /// Exclusive.
    pub(crate) end_offset: i64,
    pub(crate) end_position: u64,
    /// Greatest timestamp, [`NO_TIMESTAMP`] when empty.
    pub(crate) max_timestamp: i64,
    /// Everything below is durable.
    pub(crate) synced_offset: i64,
    pub(crate) synced_position: u64,
    /// The recovery point in the journal.
    pub(crate) noted_position: u64,
    /// The files' entries, and the checkpoints written before the first sync, are durable.
    pub(crate) entries_durable: bool,
    /// Checkpoints written, and how many of them are durable.
    pub(crate) checkpoints: u64,
    pub(crate) checkpoints_synced: u64,
    /// In the store's list of what the next round syncs.
    pub(crate) listed: bool,
    /// The file was cut since the last sync.
    pub(crate) cut_unsynced: bool,
    /// Rises when the end moves back, so that a sync under way does not claim what was cut.
    pub(crate) cuts: u64,
    /// Starts of the last batches: offset and position. Without a gap up to the end.
    pub(crate) ring: VecDeque<(i64, u64)>,
    pub(crate) sparse: SparseTail,
}

/// One copy. Shared by its owner, readers and the syncer.
#[derive(Debug)]
pub struct Segment {
    pub(crate) store: Arc<Shared>,
    reference: SegmentRef,
    base_offset: i64,
    epoch: LeaderEpoch,
    durability: Durability,
    fence: Arc<Fence>,
    pub(crate) tail: Mutex<Tail>,
    /// Held by whoever changes the files.
    writer: Mutex<()>,
    /// Held by whoever makes the index anew; taken before `writer`.
    rebuilding: Mutex<()>,
    /// Held by whoever makes the log durable; taken after `writer`.
    syncing: Mutex<()>,
    /// Number of the index entry found last.
    index_hint: AtomicU64,
    /// Kept open while it is written to.
    pinned: Mutex<Option<Arc<dyn FsFile>>>,
    pub(crate) requests: Mutex<Requests>,
}

/// What a segment is made from.
pub(crate) struct Parts {
    pub(crate) reference: SegmentRef,
    pub(crate) base_offset: i64,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) durability: Durability,
    pub(crate) phase: Phase,
    pub(crate) end_offset: i64,
    pub(crate) end_position: u64,
    pub(crate) max_timestamp: i64,
    pub(crate) log: Option<Arc<dyn FsFile>>,
}

impl Segment {
    pub(crate) fn new(store: Arc<Shared>, fence: Arc<Fence>, parts: Parts) -> Arc<Segment> {
        let sealed = parts.phase == Phase::Sealed;
        Arc::new(Segment {
            store,
            reference: parts.reference,
            base_offset: parts.base_offset,
            epoch: parts.epoch,
            durability: parts.durability,
            fence,
            tail: Mutex::new(Tail {
                phase: parts.phase,
                end_offset: parts.end_offset,
                end_position: parts.end_position,
                max_timestamp: parts.max_timestamp,
                synced_offset: parts.end_offset,
                synced_position: parts.end_position,
                noted_position: parts.end_position,
                entries_durable: sealed,
                checkpoints: 0,
                checkpoints_synced: 0,
                listed: false,
                cut_unsynced: false,
                cuts: 0,
                ring: VecDeque::new(),
                sparse: SparseTail::new(!sealed),
            }),
            writer: Mutex::new(()),
            rebuilding: Mutex::new(()),
            syncing: Mutex::new(()),
            index_hint: AtomicU64::new(0),
            pinned: Mutex::new(parts.log),
            requests: Mutex::default(),
        })
    }

    /// Which segment.
    pub fn reference(&self) -> SegmentRef {
        self.reference
    }

    /// Offset of its first record.
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Epoch it was opened in; -1 for a copy loaded as sealed, where nobody asks.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// When an append to it counts as stored.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// End of what this copy holds, exclusive. The base offset while it is not recovered.
    pub fn end_offset(&self) -> i64 {
        self.tail.lock().end_offset
    }

    /// Bytes up to the end.
    pub fn end_position(&self) -> u64 {
        self.tail.lock().end_position
    }

    /// Everything below is durable on this store.
    pub fn synced(&self) -> Synced {
        let tail = self.tail.lock();
        Synced { end_offset: tail.synced_offset, position: tail.synced_position }
    }

    /// True once the copy was frozen and synced, or was loaded as sealed.
    pub fn is_sealed(&self) -> bool {
        self.tail.lock().phase == Phase::Sealed
    }

    /// True after a failed write or sync, until a recovery.
    pub fn is_failed(&self) -> bool {
        matches!(self.tail.lock().phase, Phase::Failed(_))
    }

    /// What the store says of this copy. Its end must be known.
    pub(crate) fn report(&self) -> CopyReport {
        let (end_offset, end_position, failed) = {
            let tail = self.tail.lock();
            assert_ne!(
                tail.phase,
                Phase::Unrecovered,
                "{}: reported before it was recovered",
                self.reference
            );
            (tail.end_offset, tail.end_position, matches!(tail.phase, Phase::Failed(_)))
        };
        CopyReport {
            base_offset: self.base_offset,
            end_offset,
            end_position,
            epoch: self.epoch,
            whole: !failed && self.copy_state().is_some_and(|copy| copy.whole),
            durability: self.durability,
        }
    }

    /// What the journal knows; nothing for a segment that is sealed in the chain.
    fn copy_state(&self) -> Option<CopyState> {
        self.store.journal.with(|s| s.copies.get(&self.reference).copied())
    }

    fn index_of(&self) -> IndexOf {
        IndexOf { segment: self.reference.segment, base_offset: self.base_offset }
    }

    pub(crate) fn path(&self, part: Part) -> PathBuf {
        layout::part(&self.store.syncs.root, &self.reference, self.base_offset, part)
    }

    /// When its log was written last, in ms since the Unix epoch; `None` where the file system does not say.
    pub fn written_ms(&self) -> io::Result<Option<i64>> {
        let log = self.log()?;
        let Some(file) = log.os_file() else { return Ok(None) };
        let since = file.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH);
        Ok(since.ok().map(|since| since.as_millis() as i64))
    }

    /// Timestamp that the first batch of a sealed copy begins with, in ms since the Unix epoch; `None` where it has none.
    pub fn first_timestamp(&self) -> io::Result<Option<i64>> {
        let mut head = [0; HEADER_LEN];
        crate::fs::read_exact_at(&*self.log()?, &mut head, 0)?;
        let header = BatchHeader::parse(&head).map_err(io::Error::other)?;
        // Compaction puts the delete horizon in the base timestamp's place.
        let first = if header.has_delete_horizon() { header.max_timestamp } else { header.base_timestamp };
        Ok((first >= 0).then_some(first))
    }

    pub(crate) fn file_name(&self, part: Part) -> String {
        self.path(part).display().to_string()
    }

    fn corrupt(&self, position: u64, reason: impl Into<String>) -> Corrupt {
        Corrupt { file: self.file_name(Part::Log), position, reason: reason.into() }
    }

    /// The log file: the pinned handle, or one of the bounded many.
    pub(crate) fn log(&self) -> io::Result<Arc<dyn FsFile>> {
        if let Some(file) = &*self.pinned.lock() {
            return Ok(file.clone());
        }
        self.store.handles.get((self.reference, PartKey::Log), || {
            self.store.syncs.fs.open(&self.path(Part::Log), OpenMode::ReadWrite).or_else(|e| {
                // A sealed copy on a disk that became read-only is still served.
                if e.kind() == io::ErrorKind::ReadOnlyFilesystem
                    || e.kind() == io::ErrorKind::PermissionDenied
                {
                    self.store.syncs.fs.open(&self.path(Part::Log), OpenMode::Read)
                } else {
                    Err(e)
                }
            })
        })
    }

    /// Gives up a copy that is written to; what the journal says of it is the caller's.
    pub(crate) fn give_up(&self, reason: &str) {
        let mut tail = self.tail.lock();
        if matches!(tail.phase, Phase::Open | Phase::Recovered) {
            tail.phase = Phase::Failed(reason.into());
        }
    }

    /// Gives the copy up: it takes nothing more until a recovery. With `may_miss`, something acknowledged may be gone
    /// from now on, and that is durable before anybody hears of the failure.
    fn fail(&self, reason: &str, may_miss: bool) {
        {
            let mut tail = self.tail.lock();
            match tail.phase {
                Phase::Deleted => return,
                // The first reason is told. A full disk may have been it, and what fails now be worse.
                Phase::Failed(_) => {}
                _ => tail.phase = Phase::Failed(reason.into()),
            }
        }
        if may_miss && self.copy_state().is_some_and(|copy| copy.whole) {
            // When the journal fails too, the whole store answers nothing any more, this copy's state included.
            let _ = self
                .store
                .journal
                .commit(SyncSite::JournalNotWhole, &[Record::NotWhole { segment: self.reference }]);
        }
    }

    /// Waits for the append under way and writes what is collected of the index.
    pub(crate) fn finish_writes(&self) {
        let _writer = self.writer.lock();
        if !matches!(self.tail.lock().phase, Phase::Deleted | Phase::Unrecovered) {
            self.flush_index();
        }
    }

    /// Takes what is to be synced onto the store's list.
    fn list_dirty(self: &Arc<Self>, tail: &mut Tail) {
        if !tail.listed {
            tail.listed = true;
            self.store.dirty.lock().push(self.clone());
        }
    }
}

impl Tail {
    /// Greatest timestamp as the world sees it: -1 when there is none.
    pub(crate) fn shown_max_timestamp(&self) -> i64 {
        if self.max_timestamp == NO_TIMESTAMP { -1 } else { self.max_timestamp }
    }

    fn remember(&mut self, offset: i64, position: u64) {
        if self.ring.len() == RING {
            self.ring.pop_front();
        }
        self.ring.push_back((offset, position));
    }
}

#[cfg(test)]
mod tests;
