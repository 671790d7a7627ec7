//! Finding the end of a copy that was not sealed when the store stopped, or that was given up.
//!
//! Below the recovery point everything was synced: headers are walked from the last good index entry, and any fault is
//! damage. All of it is not read, which would take a start as long as reading every open segment: it is listed for the
//! scrub ([`crate::Store::take_unread`]), which reads it first once it is sealed (docs/decisions/0007-scrubbing.md). Beyond it every CRC is checked. What may end the prefix there: a last batch that is not all there (a process
//! crash stops a write halfway); after a machine crash any bad batch (any subset of unsynced pages survives).

use std::io::{self, IoSlice};
use std::sync::Arc;

use buslane_wire::ids::{LeaderEpoch, SegmentRef};

use super::{CopyReport, Corrupt, Phase, Segment};
use crate::batch_chain::{BatchChain, Gaps};
use crate::fs::{FsFile, OpenMode, read_exact_at};
use crate::index::Entry;
use crate::journal::JournalFailed;
use crate::journal::record::{CopyState, Record};
use crate::layout::Part;
use crate::walk::{WalkError, more_follows};

/// Bytes rewritten at once.
const CHUNK: usize = 256 * 1024;

/// What a recovery found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// The copy.
    pub report: CopyReport,
    /// Bytes cut off at the end: where, how many, why. To be logged.
    pub cut: Option<TailCut>,
}

/// A torn end that was cut off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TailCut {
    /// The log file.
    pub file: String,
    /// Where it ends now.
    pub position: u64,
    /// Bytes cut off.
    pub bytes: u64,
    /// What was wrong with them.
    pub reason: String,
}

/// Why the end of a copy is not known.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The recovery's epoch was not promised, or a higher one was (FenceBeforeRead).
    #[error("{segment}: recovery in epoch {got}, but {promised} was promised")]
    NotPromised {
        /// The segment.
        segment: SegmentRef,
        /// The recovery's epoch.
        got: LeaderEpoch,
        /// The one promised.
        promised: LeaderEpoch,
    },
    /// The store has no copy any more, as a machine crash leaves it that came before the first sync: a real loss, since
    /// copies are made before their segment is opened.
    #[error("{segment}: {file} is missing")]
    Missing {
        /// The segment.
        segment: SegmentRef,
        /// The log file.
        file: String,
    },
    /// Damaged where a crash cannot have done it.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The copy was deleted, or its name or the caller contradicts the journal.
    #[error("{segment}: {reason}")]
    Refused {
        /// The segment.
        segment: SegmentRef,
        /// Why.
        reason: String,
    },
    /// The disk failed.
    #[error("{file}: {source}")]
    Io {
        /// The log file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The store can make nothing durable any more.
    #[error(transparent)]
    Journal(#[from] JournalFailed),
}

/// The walk's result.
struct End {
    offset: i64,
    position: u64,
    max_timestamp: i64,
    /// Why it ends before the file does.
    torn: Option<String>,
}

impl Segment {
    /// Finds the copy's end, cuts a torn one, and reports. `recovery_epoch` must be the promised one. A copy whose end
    /// is known is only reported; one that was given up in this run is looked at again from the disk.
    pub(crate) fn recover(self: &Arc<Self>, recovery_epoch: LeaderEpoch) -> Result<Recovery, RecoverError> {
        let segment = self.reference;
        // Exclusive: no append of an older owner is under way while the length is read (FenceBeforeRead).
        let promised = self.fence.0.write();
        if *promised != recovery_epoch {
            return Err(RecoverError::NotPromised { segment, got: recovery_epoch, promised: *promised });
        }
        let _writer = self.writer.lock();
        let phase = self.tail.lock().phase.clone();
        let cut = match phase {
            Phase::Deleted => {
                return Err(RecoverError::Refused { segment, reason: "the copy was deleted".into() });
            }
            Phase::Unrecovered | Phase::Failed(_) => self.find_end()?,
            Phase::Open => {
                self.tail.lock().phase = Phase::Recovered;
                None
            }
            Phase::Recovered | Phase::Sealed => None,
        };
        Ok(Recovery { report: self.report(), cut })
    }

    fn find_end(self: &Arc<Self>) -> Result<Option<TailCut>, RecoverError> {
        let segment = self.reference;
        let copy = self.known_state()?;
        let io_error = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound if copy.torn && copy.synced_position == 0 => {
                RecoverError::Missing { segment, file: self.file_name(Part::Log) }
            }
            // Somebody removed it, and can perhaps bring it back: sealing without it would make the loss final.
            io::ErrorKind::NotFound => self.corrupt(0, "the file is missing".to_owned()).into(),
            _ => RecoverError::Io { file: self.file_name(Part::Log), source },
        };
        *self.pinned.lock() = None;
        self.store.handles.forget(&segment);
        let log = self.log().map_err(io_error)?;
        let len = log.len().map_err(io_error)?;
        let end = self.walk_to_end(&*log, len, &copy)?;
        let cut = match &end.torn {
            Some(reason) => {
                log.set_len(end.position).map_err(io_error)?;
                let (position, bytes) = (end.position, len - end.position);
                Some(TailCut { file: self.file_name(Part::Log), position, bytes, reason: reason.clone() })
            }
            None => None,
        };
        if !copy.whole {
            // A sync may have failed here: then these pages count as clean, are not on the disk, and no later sync
            // would write them. Written once more, they are dirty again.
            rewrite(&*log, copy.synced_position, end.position).map_err(io_error)?;
            self.rewrite_checkpoints()?;
        }
        *self.pinned.lock() = Some(log);
        let mut tail = self.tail.lock();
        tail.phase = if copy.sealed && end.position == copy.synced_position {
            Phase::Sealed
        } else {
            Phase::Recovered
        };
        tail.end_offset = end.offset;
        tail.end_position = end.position;
        tail.max_timestamp = end.max_timestamp;
        tail.synced_offset = copy.synced_offset;
        tail.synced_position = copy.synced_position;
        tail.noted_position = copy.synced_position;
        tail.entries_durable = false;
        // Those of an earlier run: nobody knows what became of them.
        tail.checkpoints += 1;
        tail.cut_unsynced = cut.is_some();
        tail.cuts += 1;
        tail.ring.clear();
        self.list_dirty(&mut tail);
        if copy.synced_position > 0 {
            self.store.unread.lock().insert(segment);
        }
        Ok(cut)
    }

    /// As for the log: a hole that a power cut tears would hide the checkpoints behind it.
    fn rewrite_checkpoints(&self) -> Result<(), RecoverError> {
        let written = || -> io::Result<()> {
            let file = match self.store.syncs.fs.open(&self.path(Part::Producers), OpenMode::ReadWrite) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                result => result?,
            };
            rewrite(&*file, 0, file.len()?)
        };
        written().map_err(|source| RecoverError::Io { file: self.file_name(Part::Producers), source })
    }

    /// What the journal knows of the copy. Nothing: its record was lost in a machine crash, so anything may be missing
    /// and torn, and from now on that is written down.
    fn known_state(&self) -> Result<CopyState, RecoverError> {
        if let Some(copy) = self.copy_state() {
            if copy.base_offset != self.base_offset || copy.epoch != self.epoch {
                let reason = format!(
                    "the journal says base offset {} and epoch {}, the chain says {} and {}",
                    copy.base_offset, copy.epoch, self.base_offset, self.epoch
                );
                return Err(RecoverError::Refused { segment: self.reference, reason });
            }
            return Ok(copy);
        }
        let mut copy = CopyState::new(self.base_offset, self.epoch, self.durability);
        copy.whole = false;
        copy.torn = true;
        self.store.journal.write(&[Record::Copy { segment: self.reference, copy }])?;
        Ok(copy)
    }

    fn walk_to_end(&self, log: &dyn FsFile, len: u64, copy: &CopyState) -> Result<End, RecoverError> {
        let (kept, entry) = self.trusted_entry(log, copy.synced_position, copy.torn);
        match self.walk_from(log, len, copy, kept, entry) {
            Err(RecoverError::Corrupt(_)) if entry.position > 0 => {
                // Perhaps it is the index that is wrong.
                let start =
                    Entry { offset: self.base_offset, position: 0, max_before: crate::index::NO_TIMESTAMP };
                self.walk_from(log, len, copy, 0, start)
            }
            result => result,
        }
    }

    fn walk_from(
        &self,
        log: &dyn FsFile,
        len: u64,
        copy: &CopyState,
        kept: u64,
        from: Entry,
    ) -> Result<End, RecoverError> {
        let io_error = |source| RecoverError::Io { file: self.file_name(Part::Log), source };
        if len < copy.synced_position {
            let reason = format!("the file ends here, but {} bytes were synced", copy.synced_position);
            return Err(self.corrupt(len, reason).into());
        }
        let at_recovery_point =
            |at: &Entry| (at.position, at.offset) == (copy.synced_position, copy.synced_offset);
        // Where a crash, or a write that failed, may have left anything.
        let lenient = copy.torn || copy.sealed || !copy.whole;
        self.restart_index(kept, from.position);
        let mut chain = BatchChain::new(log, len, from, Gaps::Refused);
        let mut torn = None;
        while chain.at().position < len {
            let at = chain.at();
            let checked = at.position >= copy.synced_position;
            match chain.next(checked) {
                Ok(_) => {}
                Err(WalkError::Io(source)) => return Err(io_error(source)),
                Err(WalkError::Bad(reason)) if checked && lenient => {
                    torn = Some(reason);
                    break;
                }
                Err(WalkError::Incomplete(reason)) if checked => {
                    if !lenient && more_follows(log, at.position, len).map_err(io_error)? {
                        let reason = format!("{reason}, but whole batches follow");
                        return Err(self.corrupt(at.position, reason).into());
                    }
                    torn = Some(reason);
                    break;
                }
                Err(WalkError::Bad(reason) | WalkError::Incomplete(reason)) => {
                    return Err(self.corrupt(at.position, reason).into());
                }
            }
            let flush = {
                let mut tail = self.tail.lock();
                tail.sparse.enter(at);
                tail.sparse.wants_flush()
            };
            if flush {
                self.flush_index();
            }
            let at = chain.at();
            if !checked && at.position >= copy.synced_position && !at_recovery_point(&at) {
                let reason = format!(
                    "a batch ends here at offset {}, where byte {} and offset {} were synced",
                    at.offset, copy.synced_position, copy.synced_offset
                );
                return Err(self.corrupt(at.position, reason).into());
            }
        }
        let at = chain.at();
        Ok(End { offset: at.offset, position: at.position, max_timestamp: at.max_before, torn })
    }
}

/// Writes a range of a file onto itself.
fn rewrite(log: &dyn FsFile, from: u64, to: u64) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut at = from;
    while at < to {
        bytes.resize((to - at).min(CHUNK as u64) as usize, 0);
        read_exact_at(log, &mut bytes, at)?;
        log.write_all_at(&mut [IoSlice::new(&bytes)], at)?;
        at += bytes.len() as u64;
    }
    Ok(())
}
