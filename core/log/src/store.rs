//! All copies under one data folder.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use buslane_wire::ids::{Durability, LeaderEpoch, SegmentRef, TopicPartition};
use parking_lot::{Mutex, RwLock};

use crate::fs::{Fs, OpenMode, Space};
use crate::handles::Handles;
use crate::journal::record::{CopyState, Record};
use crate::journal::{Journal, JournalCut, JournalError, JournalFailed};
use crate::layout::{self, Part};
use crate::segment::{Fence, Parts, Phase, RecoverError, Recovery, Segment};
use crate::sync_site::{SyncSite, Syncs};
use crate::syncer::SyncQueue;

/// Free space below which produce is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpaceReserve {
    /// In hundredths of the file system's size.
    pub percent: u64,
    /// And at least this many bytes.
    pub bytes: u64,
}

impl Default for SpaceReserve {
    /// 2 %, or 2 GiB.
    fn default() -> Self {
        SpaceReserve { percent: 2, bytes: 2 * 1024 * 1024 * 1024 }
    }
}

/// Settings of a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Free space that is kept for fetch, deletes, commits and metadata.
    pub reserve: SpaceReserve,
    /// Files of segments that are not written to (and indexes) kept open.
    pub open_files: usize,
    /// Unsynced bytes of a segment that make the background sync it before its next round.
    pub sync_bytes: u64,
    /// Segments to sync from which on one sync of everything is cheaper.
    pub sync_everything_from: usize,
    /// Runs of this store that others know of: the incarnation is above it, also with a journal that was begun anew.
    pub runs_before: u64,
    /// The one sync that the power-cut simulation takes away.
    #[doc(hidden)]
    pub skip_sync: Option<SyncSite>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            reserve: SpaceReserve::default(),
            open_files: 1024,
            // A second of a busy disk; the sync at a roll stays short.
            sync_bytes: 64 * 1024 * 1024,
            // Measured: 1,000 fdatasync on 32 threads 0.12 s, one syncfs 0.07 s; a few are cheaper one by one.
            sync_everything_from: 64,
            runs_before: 0,
            skip_sync: None,
        }
    }
}

/// Whether the store of a data folder could be opened. For those who look before they change anything.
///
/// # Errors
/// What [`Store::open`] would say of its journal.
pub fn check_journal(fs: &dyn Fs, dir: &Path, boot_id: &str) -> Result<(), JournalError> {
    crate::journal::replay(fs, dir, Some(boot_id)).map(drop)
}

/// Whether a data folder has segments. For those who look before they open it.
pub fn has_segments(fs: &dyn Fs, dir: &Path) -> io::Result<bool> {
    match list(fs, dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        listed => Ok(!listed?.is_empty()),
    }
}

/// Whether new records fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpaceState {
    /// Yes.
    Ok,
    /// Produce is refused (KAFKA_STORAGE_ERROR) until space is freed.
    NearlyFull {
        /// Bytes left.
        available_bytes: u64,
        /// Bytes that have to be free.
        needed_bytes: u64,
    },
}

/// What opening a store found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenReport {
    /// Of this run: above that of every run before. An owner loses a store whose incarnation changed.
    pub incarnation: u64,
    /// The machine stopped since the last run, and not cleanly.
    pub machine_crash: bool,
    /// The run before ended with a clean stop.
    pub clean_stop: bool,
    /// Copies of unsealed segments that may miss something acknowledged. Of no concern once their segment is sealed.
    pub not_whole: Vec<SegmentRef>,
    /// A torn end of the journal that was dropped. To be logged.
    pub journal_cut: Option<JournalCut>,
}

/// Why a store cannot be opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The folder cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// The folder or file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A higher epoch was promised before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{partition}: epoch {promised} was promised")]
pub struct PromisedHigher {
    /// The partition.
    pub partition: TopicPartition,
    /// The lowest epoch accepted.
    pub promised: LeaderEpoch,
}

/// A copy to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentSpec {
    /// The segment.
    pub segment: SegmentRef,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Epoch it is opened in: the only one that may append.
    pub epoch: LeaderEpoch,
    /// When an append to it counts as stored.
    pub durability: Durability,
}

/// Why a copy is not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A higher epoch was promised (SingleWriter).
    #[error("{segment}: epoch {got} is fenced, epoch {promised} was promised")]
    Fenced {
        /// The segment.
        segment: SegmentRef,
        /// The creator's epoch.
        got: LeaderEpoch,
        /// The lowest epoch accepted.
        promised: LeaderEpoch,
    },
    /// A copy of that segment is there: ids are never used twice, so it is this one, made before.
    #[error("{segment}: the copy exists")]
    Exists {
        /// The segment.
        segment: SegmentRef,
    },
    /// The base offset is negative or too near the end of all offsets.
    #[error("{segment}: base offset {base_offset} is out of range")]
    BaseOffset {
        /// The segment.
        segment: SegmentRef,
        /// What was asked.
        base_offset: i64,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The disk failed.
    #[error("{file}: {source}")]
    Io {
        /// The file or folder.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The store can make nothing durable any more.
    #[error(transparent)]
    Journal(#[from] JournalFailed),
}

/// What the chain says of a segment whose copy is on this disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentState {
    /// Not sealed: its end is found by a recovery.
    Open {
        /// Epoch it was opened in.
        epoch: LeaderEpoch,
        /// When an append to it counts as stored.
        durability: Durability,
    },
    /// Sealed, and this copy counts as complete.
    Sealed {
        /// Exclusive.
        end_offset: i64,
        /// Bytes of the log file.
        bytes: u64,
        /// Greatest record timestamp, -1 when the segment is empty.
        max_timestamp: i64,
    },
}

/// Why a copy is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The copy is in use in another state: seal, truncate or complete it first.
    #[error(
        "{segment}: the chain says it ends at {chain_end}, the copy in use at {copy_end}, sealed: {sealed}"
    )]
    Differs {
        /// The segment.
        segment: SegmentRef,
        /// End in the chain, exclusive.
        chain_end: i64,
        /// End of the copy, exclusive.
        copy_end: i64,
        /// The copy is frozen.
        sealed: bool,
    },
    /// The base offset is negative or too near the end of all offsets.
    #[error("{segment}: base offset {base_offset} is out of range")]
    BaseOffset {
        /// The segment.
        segment: SegmentRef,
        /// What was asked.
        base_offset: i64,
    },
    /// The store can make nothing durable any more.
    #[error(transparent)]
    Journal(#[from] JournalFailed),
}

/// A copy found on the disk by its name. Copies sort as their partition's log goes: by offset, since compaction gives what is
/// old new ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundCopy {
    /// The segment.
    pub segment: SegmentRef,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Its log file.
    pub path: PathBuf,
}

impl Ord for FoundCopy {
    fn cmp(&self, other: &FoundCopy) -> std::cmp::Ordering {
        let key = |copy: &FoundCopy| (copy.segment.partition, copy.base_offset, copy.segment.segment);
        key(self).cmp(&key(other)).then_with(|| self.path.cmp(&other.path))
    }
}

impl PartialOrd for FoundCopy {
    fn partial_cmp(&self, other: &FoundCopy) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What all parts of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) syncs: Syncs,
    pub(crate) options: StoreOptions,
    pub(crate) journal: Journal,
    pub(crate) handles: Handles,
    pub(crate) segments: Mutex<BTreeMap<SegmentRef, Arc<Segment>>>,
    fences: Mutex<HashMap<TopicPartition, Arc<Fence>>>,
    /// Folders whose own entry was made durable in this run.
    pub(crate) durable_folders: Mutex<HashSet<PathBuf>>,
    /// Segments that the next round syncs or notes.
    pub(crate) dirty: Mutex<Vec<Arc<Segment>>>,
    /// Copies that were recovered in this run, and of which what lies below the recovery point was not read.
    pub(crate) unread: Mutex<BTreeSet<SegmentRef>>,
    pub(crate) queue: SyncQueue,
    /// Held by a round from its syncs to the note of their recovery points, and by a cut, which takes those back.
    pub(crate) noting: Mutex<()>,
    closed: AtomicBool,
}

impl Shared {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn fence(&self, partition: TopicPartition) -> Arc<Fence> {
        let mut fences = self.fences.lock();
        let fence = fences.entry(partition).or_insert_with(|| {
            let promised = self.journal.with(|s| s.promises.get(&partition).copied());
            Arc::new(Fence(RwLock::new(promised.unwrap_or(LeaderEpoch(-1)))))
        });
        fence.clone()
    }
}

/// The segment store on one disk. All functions may be called from any thread; those that write or read files block.
///
/// Dropping it without [`Store::close`] is what a crash of the process leaves.
#[derive(Debug)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

impl Store {
    /// Opens the store of a data folder, which the caller holds locked. When this returns, the new incarnation and what
    /// the stop before it means for wholeness are durable, and the clean-stop marker is gone.
    ///
    /// `boot_id` changes with each start of the machine ([`crate::disk::boot_id`]).
    pub fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: StoreOptions,
        boot_id: &str,
    ) -> Result<(Store, OpenReport), OpenError> {
        let mut syncs = Syncs::new(fs, dir, options.skip_sync);
        let log = layout::log_dir(dir);
        // Its entry is made durable together with the journal's.
        syncs
            .fs
            .create_dir_all(&log)
            .map_err(|source| OpenError::Io { path: log.display().to_string(), source })?;
        syncs.hold().map_err(|source| OpenError::Io { path: dir.display().to_string(), source })?;
        let (journal, replayed) = Journal::open(&syncs, boot_id, options.runs_before)?;
        let report = OpenReport {
            incarnation: replayed.state.incarnation,
            machine_crash: replayed.existed && !replayed.clean && replayed.last_boot_id != boot_id,
            clean_stop: replayed.clean,
            not_whole: replayed.state.copies.iter().filter(|(_, c)| !c.whole).map(|(s, _)| *s).collect(),
            journal_cut: replayed.cut,
        };
        let shared = Shared {
            handles: Handles::new(options.open_files),
            syncs,
            options,
            journal,
            segments: Mutex::default(),
            fences: Mutex::default(),
            durable_folders: Mutex::default(),
            dirty: Mutex::default(),
            unread: Mutex::default(),
            queue: SyncQueue::default(),
            noting: Mutex::new(()),
            closed: AtomicBool::new(false),
        };
        Ok((Store { shared: Arc::new(shared) }, report))
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.shared.syncs.root
    }

    /// Of this run.
    pub fn incarnation(&self) -> u64 {
        self.shared.journal.with(|s| s.incarnation)
    }

    /// Promises epochs, durably: nothing of a lower one is accepted for these partitions ever again, neither appends of
    /// segments of lower epochs, nor creations, nor an older recovery's copies. Appends that were under way are done
    /// when it returns. One commit serves all; the answers are in the order of the questions.
    pub fn promise(
        &self,
        promises: &[(TopicPartition, LeaderEpoch)],
    ) -> Result<Vec<Result<(), PromisedHigher>>, JournalFailed> {
        let mut answers = Vec::with_capacity(promises.len());
        let mut records = Vec::with_capacity(promises.len());
        for (partition, epoch) in promises {
            let fence = self.shared.fence(*partition);
            let mut promised = fence.0.write();
            if *promised > *epoch {
                answers.push(Err(PromisedHigher { partition: *partition, promised: *promised }));
            } else {
                // From now on, durable or not: refusing too much is safe.
                *promised = *epoch;
                records.push(Record::Promise { partition: *partition, epoch: *epoch });
                answers.push(Ok(()));
            }
        }
        if !records.is_empty() {
            // Survives the power cut: the promise, on which the recovery that asked relies.
            self.shared.journal.commit(SyncSite::JournalPromise, &records)?;
        }
        Ok(answers)
    }

    /// The lowest epoch accepted for a partition; `None` when nothing was promised.
    pub fn promised(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        let promised = *self.shared.fence(partition).0.read();
        (promised.0 >= 0).then_some(promised)
    }

    /// Makes an empty copy for its owner to append to.
    pub fn create(&self, spec: SegmentSpec) -> Result<Arc<Segment>, CreateError> {
        self.make(spec, spec.epoch, Phase::Open)
    }

    /// Makes an empty copy of an older segment for a recovery to fill, in exactly the promised epoch. It is not whole: what
    /// was acknowledged is not in it yet.
    pub fn create_for_recovery(
        &self,
        spec: SegmentSpec,
        recovery_epoch: LeaderEpoch,
    ) -> Result<Arc<Segment>, CreateError> {
        self.make(spec, recovery_epoch, Phase::Recovered)
    }

    /// Makes an empty copy for compaction to fill ([`crate::cleaner`]), on behalf of the owner in `owner_epoch`. `spec` has
    /// the epoch of the last segment that it takes the place of. The chain does not know it until it is sealed; until then
    /// it is nobody's, and an orphan at the next start.
    pub fn create_cleaned(
        &self,
        spec: SegmentSpec,
        owner_epoch: LeaderEpoch,
    ) -> Result<Arc<Segment>, CreateError> {
        self.make_under(spec, owner_epoch, Phase::Recovered, |promised| promised > owner_epoch)
    }

    fn make(
        &self,
        spec: SegmentSpec,
        creator: LeaderEpoch,
        phase: Phase,
    ) -> Result<Arc<Segment>, CreateError> {
        match phase {
            Phase::Open => self.make_under(spec, creator, phase, |promised| promised > creator),
            _ => self.make_under(spec, creator, phase, |promised| promised != creator),
        }
    }

    fn make_under(
        &self,
        spec: SegmentSpec,
        creator: LeaderEpoch,
        phase: Phase,
        fences: impl Fn(LeaderEpoch) -> bool,
    ) -> Result<Arc<Segment>, CreateError> {
        let SegmentSpec { segment, base_offset, epoch, durability } = spec;
        if self.shared.is_closed() {
            return Err(CreateError::Closed);
        }
        if !base_in_range(base_offset) {
            return Err(CreateError::BaseOffset { segment, base_offset });
        }
        let fence = self.shared.fence(segment.partition);
        // Held until the copy is there: a promise waits for it.
        let promised = fence.0.read();
        if fences(*promised) {
            return Err(CreateError::Fenced { segment, got: creator, promised: *promised });
        }
        if self.shared.segments.lock().contains_key(&segment) {
            return Err(CreateError::Exists { segment });
        }
        let root = &self.shared.syncs.root;
        let folder = layout::partition_dir(root, segment.partition);
        let path = layout::part(root, &segment, base_offset, Part::Log);
        let fs = &self.shared.syncs.fs;
        fs.create_dir_all(&folder)
            .map_err(|source| CreateError::Io { file: folder.display().to_string(), source })?;
        let log = fs.open(&path, OpenMode::CreateNew).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => CreateError::Exists { segment },
            _ => CreateError::Io { file: path.display().to_string(), source },
        })?;
        let mut copy = CopyState::new(base_offset, epoch, durability);
        copy.whole = phase == Phase::Open;
        let parts = Parts {
            reference: segment,
            base_offset,
            epoch,
            durability,
            phase,
            end_offset: base_offset,
            end_position: 0,
            max_timestamp: crate::index::NO_TIMESTAMP,
            log: Some(log),
        };
        let made = Segment::new(self.shared.clone(), fence.clone(), parts);
        if let Err(e) = self.note_copy(&made, copy) {
            // Nobody tries this one again, so nothing of it may stay.
            let _ = fs.remove_file(&path);
            let _ = self.shared.forget_copy(&segment);
            return Err(e);
        }
        self.shared.segments.lock().insert(segment, made.clone());
        Ok(made)
    }

    /// Enters a new copy in the journal.
    fn note_copy(&self, made: &Segment, copy: CopyState) -> Result<(), CreateError> {
        let record = [Record::Copy { segment: made.reference(), copy }];
        match copy.durability {
            // A copy that the journal forgets in a power cut counts as not whole, which it is by then.
            Durability::Replicated => self.shared.journal.write(&record)?,
            Durability::Synced => {
                // Called whole from now on, whatever happens, so its file has to be there.
                made.make_entries_durable().map_err(|source| CreateError::Io {
                    file: made.path(Part::Log).display().to_string(),
                    source,
                })?;
                // Survives the power cut: that nothing acknowledged is missing from it.
                self.shared.journal.commit(SyncSite::JournalSyncedCopy, &record)?;
            }
        }
        Ok(())
    }

    /// Takes up a copy that is on the disk, or returns the one in use. Opens nothing yet. A sealed one is settled: the
    /// journal forgets what it knew.
    pub fn load(
        &self,
        segment: SegmentRef,
        base_offset: i64,
        state: SegmentState,
    ) -> Result<Arc<Segment>, LoadError> {
        if !base_in_range(base_offset) {
            return Err(LoadError::BaseOffset { segment, base_offset });
        }
        let fence = self.shared.fence(segment.partition);
        let parts = match state {
            SegmentState::Open { epoch, durability } => Parts {
                reference: segment,
                base_offset,
                epoch,
                durability,
                phase: Phase::Unrecovered,
                end_offset: base_offset,
                end_position: 0,
                max_timestamp: crate::index::NO_TIMESTAMP,
                log: None,
            },
            SegmentState::Sealed { end_offset, bytes, max_timestamp } => Parts {
                reference: segment,
                base_offset,
                epoch: LeaderEpoch(-1),
                durability: Durability::Replicated,
                phase: Phase::Sealed,
                end_offset,
                end_position: bytes,
                max_timestamp: if end_offset == base_offset {
                    crate::index::NO_TIMESTAMP
                } else {
                    max_timestamp
                },
                log: None,
            },
        };
        let mut segments = self.shared.segments.lock();
        let found = segments.get(&segment).cloned();
        if let SegmentState::Sealed { end_offset, .. } = state {
            if let Some(found) = &found {
                let (copy_end, sealed) = (found.end_offset(), found.is_sealed());
                if !sealed || copy_end != end_offset {
                    return Err(LoadError::Differs { segment, chain_end: end_offset, copy_end, sealed });
                }
            }
            self.shared.forget_copy(&segment)?;
        }
        Ok(found.unwrap_or_else(|| {
            let made = Segment::new(self.shared.clone(), fence, parts);
            segments.insert(segment, made.clone());
            made
        }))
    }

    /// The copy in use, if it was created or loaded.
    pub fn get(&self, segment: &SegmentRef) -> Option<Arc<Segment>> {
        self.shared.segments.lock().get(segment).cloned()
    }

    /// Takes up the copy of a segment that is open in the chain, finds its end and reports it, under the promised epoch
    /// of the recovery that asks (FenceBeforeRead). `epoch` and `durability` are the segment's.
    pub fn recover(
        &self,
        segment: SegmentRef,
        base_offset: i64,
        epoch: LeaderEpoch,
        durability: Durability,
        recovery_epoch: LeaderEpoch,
    ) -> Result<(Arc<Segment>, Recovery), RecoverError> {
        let state = SegmentState::Open { epoch, durability };
        let loaded = self.load(segment, base_offset, state).map_err(|e| match e {
            LoadError::Journal(failed) => RecoverError::Journal(failed),
            other => RecoverError::Refused { segment, reason: other.to_string() },
        })?;
        match loaded.recover(recovery_epoch) {
            Ok(recovery) => Ok((loaded, recovery)),
            Err(e) => {
                if matches!(e, RecoverError::Missing { .. }) {
                    self.shared.segments.lock().remove(&segment);
                }
                Err(e)
            }
        }
    }

    /// Those of the copies recovered in this run, and below their recovery point not read, that `take` says yes to; each is
    /// told once. They were written by an earlier run, perhaps of a machine that crashed, so it is they that a scrub
    /// should read first.
    pub fn take_unread(&self, take: impl Fn(&SegmentRef) -> bool) -> Vec<SegmentRef> {
        let mut unread = self.shared.unread.lock();
        let taken: Vec<SegmentRef> = unread.iter().filter(|segment| take(segment)).copied().collect();
        taken.iter().for_each(|segment| {
            unread.remove(segment);
        });
        taken
    }

    /// The chain has sealed the segment: what the journal knows of its copy counts no more.
    pub fn settle(&self, segment: &SegmentRef) -> Result<(), JournalFailed> {
        self.shared.forget_copy(segment)
    }

    /// Deletes a copy. Readers that hold a slice go on reading. A copy that is not there counts as deleted.
    pub fn delete(&self, segment: &SegmentRef, base_offset: i64) -> Result<(), OpenError> {
        self.shared.unread.lock().remove(segment);
        let loaded = self.shared.segments.lock().remove(segment);
        let result = match loaded {
            Some(loaded) => loaded.remove(),
            None => Part::ALL.into_iter().try_for_each(|part| {
                let path = layout::part(&self.shared.syncs.root, segment, base_offset, part);
                match self.shared.syncs.fs.remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                    _ => Ok(()),
                }
            }),
        };
        let path = layout::part(&self.shared.syncs.root, segment, base_offset, Part::Log);
        result.map_err(|source| OpenError::Io { path: path.display().to_string(), source })?;
        // A record that stays because the journal failed is harmless: ids are never used twice.
        let _ = self.shared.forget_copy(segment);
        Ok(())
    }

    /// The partition was deleted for ever: its promise is forgotten, and its folder goes when it is empty.
    pub fn forget_partition(&self, partition: TopicPartition) -> Result<(), JournalFailed> {
        self.shared.segments.lock().retain(|segment, _| segment.partition != partition);
        self.shared.fences.lock().remove(&partition);
        let root = &self.shared.syncs.root;
        for folder in [layout::partition_dir(root, partition), layout::topic_dir(root, partition.topic)] {
            if self.shared.syncs.fs.remove_dir(&folder).is_ok() {
                self.shared.durable_folders.lock().remove(&folder);
            }
        }
        self.shared.journal.write(&[Record::ForgottenPartition { partition }])
    }

    /// The copies on the disk, by their names alone: no file is opened.
    pub fn list(&self) -> io::Result<Vec<FoundCopy>> {
        list(&*self.shared.syncs.fs, &self.shared.syncs.root)
    }

    /// The copies of one partition that its folder holds, sorted.
    pub fn list_partition(&self, partition: TopicPartition) -> io::Result<Vec<FoundCopy>> {
        let syncs = &self.shared.syncs;
        let folder = layout::partition_dir(&syncs.root, partition);
        let mut found = Vec::new();
        match list_partition(&*syncs.fs, &folder, partition, &mut found) {
            // Nothing was ever written to it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            listed => listed?,
        }
        found.sort();
        Ok(found)
    }

    /// Why nothing can be made durable any more, once that is so: until the store is opened anew.
    pub fn failure(&self) -> Option<String> {
        self.shared.journal.failure().map(|failed| failed.to_string())
    }

    /// Room on the file system of the data folder.
    pub fn space(&self) -> io::Result<Space> {
        self.shared.syncs.fs.space(&self.shared.syncs.root)
    }

    /// Whether new records fit.
    pub fn space_state(&self) -> io::Result<SpaceState> {
        let space = self.space()?;
        let reserve = &self.shared.options.reserve;
        let needed_bytes = (space.total_bytes / 100 * reserve.percent).max(reserve.bytes);
        Ok(if space.available_bytes < needed_bytes {
            SpaceState::NearlyFull { available_bytes: space.available_bytes, needed_bytes }
        } else {
            SpaceState::Ok
        })
    }

    /// The clean stop: nothing is appended any more, everything is synced, and the marker that says so is durable. The
    /// next start, on whatever boot, has nothing to doubt. Stop the [`crate::Syncer`] first.
    pub fn close(&self) -> Result<(), OpenError> {
        let shared = &self.shared;
        let io_error = |source| OpenError::Io { path: shared.syncs.root.display().to_string(), source };
        shared.closed.store(true, Ordering::Release);
        let segments: Vec<Arc<Segment>> = shared.segments.lock().values().cloned().collect();
        // Each takes its writer's lock once: appends under way are done then, later ones see the flag.
        segments.iter().for_each(|s| s.finish_writes());
        let targets: Vec<_> = segments.iter().filter_map(|s| Some((s, s.sync_target().ok()?))).collect();
        // Survives the power cut: what the marker vouches for.
        if let Err(e) = shared.syncs.everything(SyncSite::CleanStopEverything) {
            shared.doubt_everything(&e);
            return Err(io_error(e));
        }
        let mut records: Vec<Record> =
            targets.iter().filter_map(|(s, t)| s.recovery_point(s.synced_to(t))).collect();
        records.push(Record::CleanStop);
        // Survives the power cut: that there is nothing to doubt.
        shared
            .journal
            .commit(SyncSite::JournalCleanStop, &records)
            .map_err(|failed| io_error(io::Error::other(failed)))?;
        shared.journal.close();
        Ok(())
    }
}

impl Shared {
    /// Drops what the journal knows of a copy. Not synced: it is dropped again when the copy is next loaded.
    pub(crate) fn forget_copy(&self, segment: &SegmentRef) -> Result<(), JournalFailed> {
        if self.journal.with(|s| s.copies.contains_key(segment)) {
            self.journal.write(&[Record::Forgotten { segment: *segment }])?;
        }
        Ok(())
    }
}

impl Shared {
    /// A sync of everything failed: whatever was written since its last sync, in this run or before, may be gone without
    /// any later sync noticing. Every copy in use is given up, and no unsealed one is whole any more, durably.
    pub(crate) fn doubt_everything(&self, error: &io::Error) {
        let segments: Vec<Arc<Segment>> = self.segments.lock().values().cloned().collect();
        segments.iter().for_each(|s| s.give_up(&format!("sync failed: {error}")));
        let records: Vec<Record> = self.journal.with(|s| {
            let unsealed = s.copies.iter().filter(|(_, copy)| !copy.sealed);
            unsealed.map(|(segment, _)| Record::NotWhole { segment: *segment }).collect()
        });
        // When that fails too, the store answers nothing any more.
        let _ = self.journal.renew(&records);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Segments hold what they share with the store, which holds them.
        self.shared.closed.store(true, Ordering::Release);
        self.shared.segments.lock().clear();
        self.shared.dirty.lock().clear();
        self.shared.queue.clear();
    }
}

/// Base offsets leave room for a whole segment above them.
fn base_in_range(base_offset: i64) -> bool {
    (0..=i64::MAX - 2 * (1 << 32)).contains(&base_offset)
}

/// The copies under a data folder by their names, in order. Names that are not ours are passed over.
pub(crate) fn list(fs: &dyn Fs, root: &Path) -> io::Result<Vec<FoundCopy>> {
    let log = layout::log_dir(root);
    let mut found = Vec::new();
    for topic in fs.read_dir(&log)?.into_iter().filter(|e| e.is_dir) {
        let Some(topic_id) = layout::parse_topic(&topic.name) else { continue };
        let topic_dir = log.join(&topic.name);
        for partition in fs.read_dir(&topic_dir)?.into_iter().filter(|e| e.is_dir) {
            let Some(number) = layout::parse_partition(&partition.name) else { continue };
            let partition_dir = topic_dir.join(&partition.name);
            let of = TopicPartition { topic: topic_id, partition: number };
            list_partition(fs, &partition_dir, of, &mut found)?;
        }
    }
    found.sort();
    Ok(found)
}

fn list_partition(
    fs: &dyn Fs,
    folder: &Path,
    partition: TopicPartition,
    found: &mut Vec<FoundCopy>,
) -> io::Result<()> {
    for file in fs.read_dir(folder)?.into_iter().filter(|e| !e.is_dir) {
        if let Some((base_offset, segment, Part::Log)) = layout::parse_file_name(&file.name) {
            let segment = SegmentRef { partition, segment };
            found.push(FoundCopy { segment, base_offset, path: folder.join(&file.name) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
