//! The end of a copy's life: checkpoints, seal, cut, removal.

use std::io;
use std::sync::Arc;

use buslane_wire::ids::SegmentRef;

use super::read::ReadError;
use super::sync::SyncError;
use super::{Phase, Segment};
use crate::fs::OpenMode;
use crate::journal::JournalFailed;
use crate::journal::record::Record;
use crate::layout::Part;
use crate::producers;
use crate::sync_site::SyncSite;

/// A frozen, durable copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedCopy {
    /// Exclusive.
    pub end_offset: i64,
    /// Bytes of the log file.
    pub bytes: u64,
    /// Greatest record timestamp, -1 when the segment is empty.
    pub max_timestamp: i64,
}

/// Why a copy is not sealed, cut or checkpointed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The copy ends before; it has to be completed from another one first.
    #[error("{segment}: the copy ends at {have}, it cannot be sealed at {want}")]
    Short {
        /// The segment.
        segment: SegmentRef,
        /// Where the copy ends.
        have: i64,
        /// Where it should.
        want: i64,
    },
    /// The offset lies inside a batch.
    #[error("{segment}: offset {offset} is not the end of a batch")]
    NotABoundary {
        /// The segment.
        segment: SegmentRef,
        /// What was asked.
        offset: i64,
    },
    /// The copy is not recovered, or deleted.
    #[error("{segment}: the copy is {state}")]
    NotSealable {
        /// The segment.
        segment: SegmentRef,
        /// What it is.
        state: &'static str,
    },
    /// The disk failed; the copy is given up.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file cannot be changed.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The store can make nothing durable any more.
    #[error(transparent)]
    Journal(#[from] JournalFailed),
}

impl Segment {
    /// Freezes the copy at `end_offset` and makes all of it durable: bytes, checkpoints, folder entries (SealedIsSynced).
    /// What is longer is cut off. It takes no append of its owner afterwards. Repeating it is harmless.
    ///
    /// This is the store's half; the segment is sealed when the chain says so, then call [`crate::Store::settle`].
    pub fn seal(self: &Arc<Self>, end_offset: i64) -> Result<SealedCopy, SealError> {
        let _writer = self.writer.lock();
        self.check_writable()?;
        self.cut(end_offset)?;
        self.mend_index();
        self.flush_index();
        // Survives the power cut: everything below the end, which the chain will count on. Done even where a sync
        // went before, as long as anything was written since.
        self.sync_at(SyncSite::SealData)?;
        self.sync_producers().map_err(|e| SealError::Sync(self.sync_failed(&e)))?;
        let sealed = {
            let mut tail = self.tail.lock();
            // Given up meanwhile, by a sync of everything.
            if let Phase::Failed(reason) = &tail.phase {
                let reason = reason.to_string();
                return Err(SyncError { file: self.file_name(Part::Log), reason }.into());
            }
            tail.phase = Phase::Sealed;
            tail.noted_position = tail.end_position;
            tail.ring = Default::default();
            SealedCopy {
                end_offset: tail.end_offset,
                bytes: tail.end_position,
                max_timestamp: tail.shown_max_timestamp(),
            }
        };
        *self.pinned.lock() = None;
        if self.copy_state().is_some() {
            // Not synced: without it the copy counts as open after a machine crash, which errs on the safe side.
            let (segment, position) = (self.reference, sealed.bytes);
            self.store.journal.write(&[Record::Sealed { segment, end_offset, position }])?;
        }
        Ok(sealed)
    }

    /// Cuts everything at and beyond `end_offset`, the end of a batch. A copy of a segment that is not sealed in the chain
    /// is not whole afterwards, durably so before the first byte goes. [`Segment::seal`] makes the cut durable.
    pub fn truncate_to(self: &Arc<Self>, end_offset: i64) -> Result<(), SealError> {
        let _writer = self.writer.lock();
        self.check_writable()?;
        self.cut(end_offset)
    }

    /// Keeps a producer checkpoint as of `end_offset`; the store does not look into it. Durable with the next seal.
    pub fn checkpoint_producers(&self, end_offset: i64, payload: &[u8]) -> Result<(), SealError> {
        let io_error = |source| SealError::Io { file: self.file_name(Part::Producers), source };
        if payload.len() > producers::MAX_PAYLOAD {
            return Err(io_error(io::ErrorKind::FileTooLarge.into()));
        }
        let _writer = self.writer.lock();
        self.check_writable()?;
        let path = self.path(Part::Producers);
        let fs = &self.store.syncs.fs;
        let (file, made) = match fs.open(&path, OpenMode::ReadWrite) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => (fs.open(&path, OpenMode::CreateNew), true),
            result => (result, false),
        };
        let written = file.and_then(|file| {
            let (_, end) = producers::frames(&*file)?;
            // A torn frame of an earlier run goes, so that what follows can be found.
            if file.len()? > end {
                file.set_len(end)?;
            }
            producers::append(&*file, end, end_offset, payload)
        });
        {
            let mut tail = self.tail.lock();
            tail.checkpoints += 1;
            // A name that the syncs so far did not see: the next one goes for the folder, too.
            tail.entries_durable &= !made;
        }
        written.map(|_| ()).map_err(io_error)
    }

    /// The newest good checkpoint at or below `end_offset`, and its own offset. `None` where there is none (any more):
    /// then the predecessor's last one and this segment's batches say the same.
    pub fn producers_at(&self, end_offset: i64) -> Result<Option<(i64, Vec<u8>)>, SealError> {
        let read = || match self.store.syncs.fs.open(&self.path(Part::Producers), OpenMode::Read) {
            Ok(file) => producers::newest_at(&*file, end_offset),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        };
        read().map_err(|source| SealError::Io { file: self.file_name(Part::Producers), source })
    }

    /// Removes the files. Readers that hold a slice go on reading. Not synced: a copy that comes back after a power cut
    /// is found by [`crate::Store::list`] and goes to the orphans.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.give_away();
        // The log goes last: while it is there, the copy is listed and can be deleted again.
        for part in Part::ALL {
            match self.store.syncs.fs.remove_file(&self.path(part)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes nothing more and holds no file: the files go or are moved.
    pub(crate) fn give_away(&self) {
        let _writer = self.writer.lock();
        self.tail.lock().phase = Phase::Deleted;
        *self.pinned.lock() = None;
        self.store.handles.forget(&self.reference);
    }

    fn check_writable(&self) -> Result<(), SealError> {
        let phase = self.tail.lock().phase.clone();
        match phase {
            Phase::Failed(reason) => {
                Err(SyncError { file: self.file_name(Part::Log), reason: reason.to_string() }.into())
            }
            Phase::Unrecovered | Phase::Deleted => {
                Err(SealError::NotSealable { segment: self.reference, state: phase.describe() })
            }
            _ => Ok(()),
        }
    }

    /// Moves the end back. The caller holds `writer`.
    fn cut(&self, end_offset: i64) -> Result<(), SealError> {
        let segment = self.reference;
        let have = self.end_offset();
        if end_offset > have || end_offset < self.base_offset {
            return Err(SealError::Short { segment, have, want: end_offset });
        }
        if end_offset == have {
            return Ok(());
        }
        let (position, max_timestamp) = self.named(self.max_timestamp_below(end_offset))?;
        let Some(position) = position else {
            return Err(SealError::NotABoundary { segment, offset: end_offset });
        };
        let _noting = self.store.noting.lock();
        if let Some(mut copy) = self.copy_state() {
            // Survives the power cut: that this copy no longer has all it once confirmed. The recovery point goes back
            // with it, else the shorter file would look damaged.
            let mut records = vec![Record::NotWhole { segment }];
            if copy.synced_position > position {
                copy.whole = false;
                copy.sealed = false;
                copy.synced_offset = end_offset;
                copy.synced_position = position;
                records.push(Record::Copy { segment, copy });
            }
            self.store.journal.commit(SyncSite::JournalNotWhole, &records)?;
        }
        {
            let mut tail = self.tail.lock();
            tail.end_offset = end_offset;
            tail.end_position = position;
            tail.max_timestamp = max_timestamp;
            tail.cuts += 1;
            tail.synced_position = tail.synced_position.min(position);
            tail.synced_offset = tail.synced_offset.min(end_offset);
            tail.noted_position = tail.noted_position.min(position);
            tail.ring.clear();
            if tail.phase == Phase::Sealed {
                tail.phase = Phase::Recovered;
            }
        }
        let cut = self.log().and_then(|log| log.set_len(position));
        if let Err(source) = cut {
            self.fail(&format!("cutting failed: {source}"), true);
            return Err(SealError::Io { file: self.file_name(Part::Log), source });
        }
        {
            // A sync that began before the file was cut says nothing of the cut.
            let mut tail = self.tail.lock();
            tail.cuts += 1;
            tail.cut_unsynced = true;
        }
        self.cut_index(position);
        Ok(())
    }
}
