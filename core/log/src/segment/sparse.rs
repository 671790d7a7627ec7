//! The sparse index in use: entries in the file, the newest few in memory, and its rebuilding by a scan.
//!
//! Entries that cannot be written wait in memory, and each sync round tries again. Where too many wait, or damage was
//! found, the index is made anew: the scan holds no lock, so that appends go on, and only what they add meanwhile is
//! scanned while they wait.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::read::{Cached, Reach, ReadError};
use super::{Phase, Segment};
use crate::batch_chain::{BatchChain, Gaps};
use crate::fs::{FsFile, OpenMode};
use crate::handles::PartKey;
use crate::index::{ENTRY_LEN, Entry, INTERVAL, IndexError, NO_TIMESTAMP};
use crate::layout::Part;
use crate::walk::{Walk, WalkError};

/// Entries collected before they are written: about 200 KiB of log.
const FLUSH_ENTRIES: usize = 50;

/// Entries kept in memory while they cannot be written: 400 KiB, for 64 MiB of log or more.
const PENDING_MAX: usize = if cfg!(test) { 100 } else { 16 << 10 };

/// Sync rounds between two tries at an index that has to be made anew, at most; 1 at first, then twice as many each time.
const PAUSE_ROUNDS_MAX: u32 = 64;

/// The part of the index that changes with appends.
#[derive(Debug)]
pub(crate) struct SparseTail {
    /// Entries in the file. Unknown for a copy loaded as sealed until somebody asks.
    flushed: Option<u64>,
    /// Entries not yet in the file.
    pending: Vec<Entry>,
    /// Position of the last entered batch; 0 when none is.
    last_position: u64,
    /// Writing failed: entries stay in memory until a sync round has tried again.
    failing: bool,
    /// The log is damaged, so that an index cannot be made of it: what is there of the index stays as it is.
    hopeless: bool,
    /// More than [`PENDING_MAX`] could not be written: lookups walk the log until a sync round has made the index anew.
    broken: bool,
    /// Sync rounds to pass before the next try at a broken one, and how many that were the last time.
    rounds_left: u32,
    pause_rounds: u32,
    /// Rises with each rebuild, so that two readers with the same doubt rebuild once.
    rebuilt: u64,
}

impl SparseTail {
    /// `empty`: nothing is in the file; else nobody knows yet.
    pub(crate) fn new(empty: bool) -> SparseTail {
        SparseTail {
            flushed: empty.then_some(0),
            pending: Vec::new(),
            last_position: 0,
            failing: false,
            hopeless: false,
            broken: false,
            rounds_left: 0,
            pause_rounds: 0,
            rebuilt: 0,
        }
    }

    /// Enters a batch when it is far enough from the last one.
    pub(crate) fn enter(&mut self, entry: Entry) {
        if !self.broken && entry.position >= self.last_position + INTERVAL {
            self.last_position = entry.position;
            self.pending.push(entry);
            if self.failing {
                self.write_failed();
            }
        }
    }

    fn write_failed(&mut self) {
        self.failing = true;
        if self.pending.len() > PENDING_MAX {
            self.broken = true;
            self.pending = Vec::new();
        }
    }

    /// True while something could not be written.
    pub(crate) fn is_behind(&self) -> bool {
        self.failing || self.broken
    }

    pub(crate) fn wants_flush(&self) -> bool {
        self.pending.len() >= FLUSH_ENTRIES && !self.is_behind()
    }

    /// Starts over with the first `flushed` entries of the file, the last of them at `last_position`.
    pub(crate) fn restart(&mut self, flushed: u64, last_position: u64) {
        let rebuilt = self.rebuilt + 1;
        *self = SparseTail { flushed: Some(flushed), last_position, rebuilt, ..SparseTail::new(true) };
    }

    /// Forgets entries at or beyond a cut. The file's own are cut by the caller.
    fn forget_from(&mut self, position: u64) {
        self.pending.retain(|e| e.position < position);
    }
}

impl Segment {
    pub(super) fn index_file(&self) -> io::Result<Arc<dyn FsFile>> {
        self.store.handles.get((self.reference, PartKey::Index), || {
            self.store.syncs.fs.open(&self.path(Part::Index), OpenMode::OpenOrCreate)
        })
    }

    /// Writes the collected entries. The caller holds `writer`. A failure costs speed, nothing else.
    pub(super) fn flush_index(&self) {
        let (number, entries) = {
            let tail = self.tail.lock();
            if tail.sparse.broken || tail.sparse.pending.is_empty() {
                return;
            }
            let Some(flushed) = tail.sparse.flushed else { return };
            (flushed, tail.sparse.pending.clone())
        };
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY_LEN as usize);
        for (i, entry) in entries.iter().enumerate() {
            self.index_of().encode(number + i as u64, entry, &mut bytes);
        }
        let written = self
            .index_file()
            .and_then(|file| file.write_all_at(&mut [IoSlice::new(&bytes)], number * ENTRY_LEN));
        let mut tail = self.tail.lock();
        match written {
            Ok(()) => {
                tail.sparse.flushed = Some(number + entries.len() as u64);
                tail.sparse.pending.drain(..entries.len());
                tail.sparse.failing = false;
            }
            Err(_) => tail.sparse.write_failed(),
        }
    }

    /// The last entered batch start for which `wanted` holds (it holds for a prefix of all), else the segment's start.
    pub(super) fn floor(&self, wanted: &impl Fn(&Entry) -> bool) -> Result<Entry, ReadError> {
        self.floor_within(Reach::Disk, wanted)
    }

    /// As [`Segment::floor`]. [`Reach::Memory`] reads cached pages only, and neither opens nor rebuilds anything.
    pub(super) fn floor_within(
        &self,
        reach: Reach,
        wanted: &impl Fn(&Entry) -> bool,
    ) -> Result<Entry, ReadError> {
        let start = self.start();
        for _ in 0..2 {
            let (flushed, rebuilt) = {
                let tail = self.tail.lock();
                if let Some(entry) = tail.sparse.pending.iter().rev().find(|e| wanted(e)) {
                    return Ok(*entry);
                }
                if tail.sparse.broken {
                    return reach.or_blocked(start);
                }
                (tail.sparse.flushed, tail.sparse.rebuilt)
            };
            if flushed == Some(0) {
                return Ok(start);
            }
            let file = match reach {
                Reach::Disk | Reach::Writer => self.index_file(),
                Reach::Memory => {
                    let opened = || Err(io::ErrorKind::WouldBlock.into());
                    let file = self.store.handles.get((self.reference, PartKey::Index), opened);
                    file.map(|file| -> Arc<dyn FsFile> { Arc::new(Cached(file)) })
                }
            };
            let found = file.map_err(IndexError::from).and_then(|file| {
                let count = match flushed {
                    Some(count) => count,
                    None => {
                        let count = file.len()? / ENTRY_LEN;
                        self.tail.lock().sparse.flushed.get_or_insert(count);
                        count
                    }
                };
                let hint = self.index_hint.load(Ordering::Relaxed);
                self.index_of().last_where(&*file, count, hint, wanted)
            });
            match found {
                Ok(None) => return Ok(start),
                Ok(Some((number, entry))) => {
                    // Readers go on where they stopped.
                    self.index_hint.store(number, Ordering::Relaxed);
                    return Ok(entry);
                }
                Err(IndexError::Doubtful) if reach == Reach::Disk => self.rebuild_index(rebuilt)?,
                Err(_) => return reach.or_blocked(start),
            }
        }
        Ok(start)
    }

    /// Where the first batch stands.
    pub(super) fn start(&self) -> Entry {
        Entry { offset: self.base_offset, position: 0, max_before: NO_TIMESTAMP }
    }

    /// Number of rebuilds so far, for [`Segment::rebuild_index`].
    pub(super) fn index_rebuilds(&self) -> u64 {
        self.tail.lock().sparse.rebuilt
    }

    /// Makes the index anew from the batch headers, unless that happened since the caller saw `seen` rebuilds. When it
    /// cannot be written, lookups walk the log until a sync round could write it.
    pub(super) fn rebuild_index(&self, seen: u64) -> Result<(), ReadError> {
        // One at a time: whoever has the same doubt finds it settled.
        let _rebuilding = self.rebuilding.lock();
        {
            let tail = self.tail.lock();
            if tail.sparse.rebuilt != seen || tail.sparse.broken || tail.sparse.hopeless {
                return Ok(());
            }
        }
        match self.index_anew() {
            // Whoever reads what is damaged is told so. All else can be found, by a longer walk.
            Err(ReadError::Corrupt(_)) => {
                self.tail.lock().sparse.hopeless = true;
                Ok(())
            }
            result => result,
        }
    }

    /// The caller holds `rebuilding`, and not `writer`.
    fn index_anew(&self) -> Result<(), ReadError> {
        let (seen, cuts, end_offset, end) = {
            let tail = self.tail.lock();
            (tail.sparse.rebuilt, tail.cuts, tail.end_offset, tail.end_position)
        };
        let mut fresh = SparseTail::new(true);
        let scanned = self.scan(&mut fresh, self.start(), end_offset, end);
        let _writer = self.writer.lock();
        let (end_offset, end) = {
            let tail = self.tail.lock();
            // A cut, or a seal that made one itself.
            if tail.phase == Phase::Deleted || tail.cuts != cuts || tail.sparse.rebuilt != seen {
                return Ok(());
            }
            (tail.end_offset, tail.end_position)
        };
        // What was appended during the scan.
        self.scan(&mut fresh, scanned?, end_offset, end)?;
        self.install(fresh);
        Ok(())
    }

    /// One more try at an index that could not be written, before a seal. The caller holds `writer`.
    pub(super) fn mend_index(&self) {
        let (broken, end_offset, end) = {
            let tail = self.tail.lock();
            (tail.sparse.broken, tail.end_offset, tail.end_position)
        };
        if broken {
            let mut fresh = SparseTail::new(true);
            // Whoever reads the log next meets what is wrong with it.
            if self.scan(&mut fresh, self.start(), end_offset, end).is_ok() {
                self.install(fresh);
            }
        }
    }

    /// A sync round's try at an index that could not be written; the next round tries again where this one failed. With
    /// `may_scan` it may walk the whole log, and says whether it did.
    pub(crate) fn retry_index(self: &Arc<Self>, may_scan: bool) -> bool {
        let scans = {
            let mut tail = self.tail.lock();
            if tail.phase == Phase::Deleted || !tail.sparse.is_behind() {
                return false;
            }
            let sparse = &mut tail.sparse;
            let due = sparse.broken && may_scan && sparse.rounds_left == 0;
            if due {
                sparse.pause_rounds = (2 * sparse.pause_rounds).clamp(1, PAUSE_ROUNDS_MAX);
                sparse.rounds_left = sparse.pause_rounds;
            } else {
                sparse.rounds_left = sparse.rounds_left.saturating_sub(1);
            }
            if sparse.broken { Some(due) } else { None }
        };
        match scans {
            None => {
                let _writer = self.writer.lock();
                if self.tail.lock().phase != Phase::Deleted {
                    self.flush_index();
                }
            }
            Some(true) => {
                let _rebuilding = self.rebuilding.lock();
                // Whoever reads the log next meets what is wrong with it.
                let _ = self.index_anew();
            }
            Some(false) => {}
        }
        let mut tail = self.tail.lock();
        if tail.phase != Phase::Deleted && tail.sparse.is_behind() {
            self.list_dirty(&mut tail);
        }
        scans == Some(true)
    }

    /// Enters the batches from `at` up to `end` into `fresh`; returns where they end. An index made of offsets that cannot
    /// be true would be worse than the old one: no checksum covers a base offset.
    fn scan(&self, fresh: &mut SparseTail, at: Entry, end_offset: i64, end: u64) -> Result<Entry, ReadError> {
        let log = self.log()?;
        let mut chain = BatchChain::new(&*log, end, at, Gaps::Allowed).ending_at(end_offset);
        while chain.at().position < end {
            let at = chain.at();
            let header = chain.next(false).map_err(|e| self.walk_error(at.position, e))?;
            fresh.enter(Entry { offset: header.base_offset, ..at });
        }
        Ok(chain.at())
    }

    /// Puts a scanned index into the old one's place. The caller holds `writer`.
    fn install(&self, mut fresh: SparseTail) {
        {
            let mut tail = self.tail.lock();
            fresh.rebuilt = tail.sparse.rebuilt + 1;
            fresh.rounds_left = tail.sparse.rounds_left;
            fresh.pause_rounds = tail.sparse.pause_rounds;
            tail.sparse = fresh;
        }
        match self.index_file().and_then(|file| file.set_len(0)) {
            Ok(()) => self.flush_index(),
            Err(_) => self.tail.lock().sparse.write_failed(),
        }
    }

    /// Drops entries at or beyond `position`. The caller holds `writer`, and the tail's end is already there. Entries
    /// below a cut stay true; one that stands at or beyond it is never used, so a failure here is harmless.
    pub(super) fn cut_index(&self, position: u64) {
        self.flush_index();
        let Ok(file) = self.index_file() else { return };
        let flushed = self.tail.lock().sparse.flushed;
        let count = flushed.unwrap_or_else(|| file.len().unwrap_or(0) / ENTRY_LEN);
        let mut keep = count;
        let mut last_position = 0;
        while keep > 0 {
            match self.index_of().read(&*file, keep - 1) {
                Ok(entry) if entry.position < position => {
                    last_position = entry.position;
                    break;
                }
                _ => keep -= 1,
            }
        }
        let _ = file.set_len(keep * ENTRY_LEN);
        let mut tail = self.tail.lock();
        tail.sparse.forget_from(position);
        tail.sparse.restart(keep, last_position);
    }

    /// Where recovery may start to walk: the last entry at or below `position` that checks out against the log, and how
    /// many entries are kept. With `thorough`, all kept entries are checked. Nothing usable: the start of the segment.
    pub(super) fn trusted_entry(&self, log: &dyn FsFile, position: u64, thorough: bool) -> (u64, Entry) {
        let start = self.start();
        let trusted = || -> Result<(u64, Entry), IndexError> {
            let file = self.index_file()?;
            let count = file.len()? / ENTRY_LEN;
            let of = self.index_of();
            let found = of.last_where(&*file, count, count.saturating_sub(1), |e| e.position <= position)?;
            let Some((number, entry)) = found else { return Ok((0, start)) };
            let kept = number + 1;
            if thorough {
                of.check_all(&*file, kept)?;
            }
            match Walk::new(log, u64::MAX).header_at(entry.position) {
                Ok(header) if header.base_offset == entry.offset => Ok((kept, entry)),
                Err(WalkError::Io(_)) => Err(IndexError::Io),
                _ => Err(IndexError::Doubtful),
            }
        };
        trusted().unwrap_or((0, start))
    }

    /// Cuts the index file to the entries that recovery trusts. The caller holds `writer`.
    pub(super) fn restart_index(&self, kept: u64, last_position: u64) {
        let cut = self.index_file().and_then(|file| file.set_len(kept * ENTRY_LEN));
        let mut tail = self.tail.lock();
        tail.sparse.restart(kept, last_position);
        tail.sparse.broken = cut.is_err();
    }
}
