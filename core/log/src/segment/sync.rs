//! Making a copy durable.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Phase, Segment};
use crate::fs::OpenMode;
use crate::layout::{self, Part};
use crate::store::Shared;
use crate::sync_site::SyncSite;

/// Everything below is durable on this store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Synced {
    /// Exclusive.
    pub end_offset: i64,
    /// Bytes of the log file.
    pub position: u64,
}

/// A sync failed, now or earlier. Never retried: the copy is given up, and its wholeness with it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}: {reason}; the copy is given up, its partition goes on elsewhere")]
pub struct SyncError {
    /// The log file.
    pub file: String,
    /// What happened.
    pub reason: String,
}

impl Segment {
    /// Makes everything appended so far durable: the bytes, and at the first time the files' entries.
    pub fn sync(self: &Arc<Self>) -> Result<Synced, SyncError> {
        self.sync_at(SyncSite::AppendData)
    }

    pub(crate) fn sync_at(self: &Arc<Self>, site: SyncSite) -> Result<Synced, SyncError> {
        // One at a time, with what its outcome says noted: the system tells a failed write-back to one `fdatasync` of a
        // file, and to the next one that all is well.
        let _syncing = self.syncing.lock();
        let before = self.sync_target()?;
        if before.done {
            return Ok(before.target);
        }
        let result = if before.entries_durable { Ok(()) } else { self.sync_entries() };
        let result = result.and_then(|()| {
            let log = self.log()?;
            // Survives the power cut: every byte up to the target.
            self.store.syncs.file(site, &*log)
        });
        match result {
            Ok(()) => Ok(self.synced_to(&before)),
            Err(e) => Err(self.sync_failed(&e)),
        }
    }

    /// What a sync that starts now will have made durable.
    pub(crate) fn sync_target(&self) -> Result<SyncTarget, SyncError> {
        // On a full disk nothing happened to what the copy has: that becomes durable like everything else.
        if self.is_distrusted()
            && let Phase::Failed(reason) = &self.tail.lock().phase
        {
            return Err(SyncError { file: self.file_name(Part::Log), reason: reason.to_string() });
        }
        let tail = self.tail.lock();
        Ok(SyncTarget {
            target: Synced { end_offset: tail.end_offset, position: tail.end_position },
            entries_durable: tail.entries_durable,
            checkpoints: tail.checkpoints,
            done: tail.phase == Phase::Deleted
                || (tail.entries_durable && !tail.cut_unsynced && tail.synced_position == tail.end_position),
            cuts: tail.cuts,
        })
    }

    /// A sync that started at `before` went well.
    pub(crate) fn synced_to(&self, before: &SyncTarget) -> Synced {
        if self.is_distrusted() {
            return before.target;
        }
        let mut tail = self.tail.lock();
        // A checkpoint since then may have made a new file.
        tail.entries_durable |= tail.checkpoints == before.checkpoints;
        if tail.cuts == before.cuts {
            tail.cut_unsynced = false;
            if tail.synced_position < before.target.position {
                tail.synced_offset = before.target.end_offset;
                tail.synced_position = before.target.position;
            }
        }
        before.target
    }

    /// A sync failed: what the system says of later ones means nothing.
    pub(crate) fn is_distrusted(&self) -> bool {
        self.is_failed() && !self.copy_state().is_some_and(|copy| copy.whole)
    }

    pub(crate) fn sync_failed(&self, error: &io::Error) -> SyncError {
        let reason = format!("sync failed: {error}");
        self.fail(&reason, true);
        SyncError { file: self.file_name(Part::Log), reason }
    }

    /// Makes the entries of a new copy's files durable before its first sync.
    pub(crate) fn make_entries_durable(&self) -> io::Result<()> {
        self.sync_entries()?;
        self.tail.lock().entries_durable = true;
        Ok(())
    }

    /// Makes the producer checkpoints written so far and all folder entries up to `log` durable. Once in a copy's life
    /// in a run, and again at its seal for the checkpoints: an open copy's later checkpoints may be lost, its batches
    /// then say the same.
    pub(super) fn sync_entries(&self) -> io::Result<()> {
        self.sync_producers()?;
        let (root, partition) = (&self.store.syncs.root, self.reference.partition);
        // Survives the power cut: the segment's files.
        self.store.syncs.dir(SyncSite::SegmentEntry, &layout::partition_dir(root, partition))?;
        self.store.sync_folder(&layout::partition_dir(root, partition), SyncSite::PartitionEntry)?;
        self.store.sync_folder(&layout::topic_dir(root, partition.topic), SyncSite::TopicEntry)
    }

    /// Makes the producer checkpoints durable, where some are not.
    pub(super) fn sync_producers(&self) -> io::Result<()> {
        let written = {
            let tail = self.tail.lock();
            if tail.checkpoints == tail.checkpoints_synced {
                return Ok(());
            }
            tail.checkpoints
        };
        match self.store.syncs.fs.open(&self.path(Part::Producers), OpenMode::ReadWrite) {
            // Survives the power cut: what the producers sent last.
            Ok(file) => self.store.syncs.file(SyncSite::ProducersData, &*file)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let mut tail = self.tail.lock();
        tail.checkpoints_synced = tail.checkpoints_synced.max(written);
        Ok(())
    }
}

/// Where a sync starts.
pub(crate) struct SyncTarget {
    pub(crate) target: Synced,
    pub(crate) entries_durable: bool,
    /// Written so far.
    pub(crate) checkpoints: u64,
    /// Nothing is left to sync.
    pub(crate) done: bool,
    pub(crate) cuts: u64,
}

impl Shared {
    /// Makes a folder's own entry durable, once per run: it may have been made by a run that a crash ended.
    fn sync_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        if self.durable_folders.lock().contains(folder) {
            return Ok(());
        }
        let parent = folder.parent().expect("a segment's folders lie below the data folder");
        self.syncs.dir(site, parent)?;
        self.durable_folders.lock().insert(folder.to_owned());
        Ok(())
    }
}
