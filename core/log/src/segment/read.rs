//! Finding whole batches to read, without reading them: the caller sends the slice of the file as it is.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

use buslane_wire::batch::BatchHeader;
use buslane_wire::ids::SegmentRef;
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::{Corrupt, Phase, Segment};
use crate::fs::{FsFile, read_exact_at};
use crate::index::{Entry, INTERVAL};
use crate::layout::Part;
use crate::walk::{Walk, WalkError};

/// A range of a segment file: whole batches, or nothing.
#[derive(Clone, Debug)]
pub struct ReadSlice {
    /// The log file, open to be read. Stays readable when the segment is deleted.
    pub file: Arc<dyn FsFile>,
    /// Where the first batch starts, in bytes.
    pub position: u64,
    /// Bytes. 0: there is nothing to read there yet.
    pub len: u64,
    /// Base offset of the first batch; the asked offset when there is none.
    pub base_offset: i64,
    /// End of the last batch, exclusive: where the next read goes on. The asked offset when there is none.
    pub end_offset: i64,
}

impl ReadSlice {
    /// Copies the batches out of the file.
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len as usize];
        read_exact_at(&*self.file, &mut bytes, self.position)?;
        Ok(bytes)
    }
}

/// Why a copy cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset lies before this segment.
    #[error("{segment}: offset {offset} lies below the segment's base offset {base_offset}")]
    BelowBase {
        /// The segment.
        segment: SegmentRef,
        /// What was asked.
        offset: i64,
        /// Where the segment starts.
        base_offset: i64,
    },
    /// The copy cannot be read (yet, or any more).
    #[error("{segment}: the copy is {state}")]
    NotReadable {
        /// The segment.
        segment: SegmentRef,
        /// What it is instead.
        state: &'static str,
    },
    /// The file is not there.
    #[error("{file} is missing; the copy has to be made again from another store")]
    Missing {
        /// The log file.
        file: String,
    },
    /// Damaged bytes.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The disk failed.
    #[error("{file}: read failed: {source}")]
    Io {
        /// The log file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

impl From<io::Error> for ReadError {
    /// Without a name: [`Segment`]'s functions put it in.
    fn from(source: io::Error) -> Self {
        ReadError::Io { file: String::new(), source }
    }
}

/// How far a lookup may go for its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// To what is remembered and to cached pages: it never waits, and ends as [`io::ErrorKind::WouldBlock`] instead.
    Memory,
    /// To the disk.
    Disk,
    /// To the disk, for whoever holds `writer`: nothing is rebuilt, which takes that lock; where the index is in doubt the
    /// log is walked from its start.
    Writer,
}

impl Reach {
    /// An answer that costs a long walk.
    pub(super) fn or_blocked(self, answer: Entry) -> Result<Entry, ReadError> {
        match self {
            Reach::Disk | Reach::Writer => Ok(answer),
            Reach::Memory => Err(io::Error::from(io::ErrorKind::WouldBlock).into()),
        }
    }
}

/// A file of which only cached pages are read (`RWF_NOWAIT`); [`io::ErrorKind::WouldBlock`] for all others, and where the
/// file system cannot say.
#[derive(Debug)]
pub(super) struct Cached(pub(super) Arc<dyn FsFile>);

impl FsFile for Cached {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let file = self.0.os_file().ok_or(io::ErrorKind::WouldBlock)?;
        match preadv2(file, &mut [IoSliceMut::new(buf)], position, ReadWriteFlags::NOWAIT) {
            Ok(n) => Ok(n),
            Err(Errno::INTR) => Err(io::ErrorKind::Interrupted.into()),
            // An error of the disk is told by the read that may wait for it.
            Err(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write_all_at(&self, _: &mut [IoSlice<'_>], _: u64) -> io::Result<()> {
        unreachable!("it is read only")
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        unreachable!("it is read only")
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        unreachable!("it is read only")
    }
}

/// The end of a copy at one moment, and the file up to there.
pub(super) struct View {
    pub(super) log: Arc<dyn FsFile>,
    /// The same file, where only cached pages may be read.
    cached: Option<Cached>,
    /// How far a lookup may go.
    pub(super) reach: Reach,
    pub(super) end_offset: i64,
    pub(super) end_position: u64,
}

impl View {
    fn file(&self) -> &dyn FsFile {
        match &self.cached {
            Some(cached) => cached,
            None => &*self.log,
        }
    }
}

impl Segment {
    /// Finds up to `max_bytes` of whole batches, from the one that contains `from_offset` (or the next one, when that
    /// offset was compacted away), below `below_offset`: the committed offset, which is a batch boundary. With
    /// `at_least_one` the first batch comes whole even when it is larger (KIP-74). Empty when nothing is there yet.
    ///
    /// Near the end it costs no I/O; elsewhere a few small reads. No lock is held meanwhile, so appends go on.
    pub fn read(
        &self,
        from_offset: i64,
        max_bytes: u64,
        below_offset: i64,
        at_least_one: bool,
    ) -> Result<ReadSlice, ReadError> {
        let found =
            self.view().and_then(|view| self.find(view, from_offset, max_bytes, below_offset, at_least_one));
        self.named(found)
    }

    /// As [`Segment::read`], where the answer is at hand: in memory, or in pages of the index and the log that are cached.
    /// Waits for no disk and rebuilds nothing, so it may run on a runtime thread. `None`: [`Segment::read`] has to look, and
    /// tells what is wrong if anything is. For a copy that is written to; a sealed one's files may have to be opened.
    pub fn read_at_hand(
        &self,
        from_offset: i64,
        max_bytes: u64,
        below_offset: i64,
        at_least_one: bool,
    ) -> Option<ReadSlice> {
        let log = self.pinned.lock().clone()?;
        let (end_offset, end_position) = self.end().ok()?;
        let view =
            View { cached: Some(Cached(log.clone())), reach: Reach::Memory, log, end_offset, end_position };
        self.find(view, from_offset, max_bytes, below_offset, at_least_one).ok()
    }

    /// Where the first batch at or above `offset` starts; the end of the copy when there is none.
    pub fn position_of(&self, offset: i64) -> Result<u64, ReadError> {
        self.named(self.find_position(offset))
    }

    fn find_position(&self, offset: i64) -> Result<u64, ReadError> {
        let view = self.view()?;
        if offset >= view.end_offset {
            return Ok(view.end_position);
        }
        let mut batches = self.batches(&view, |e: &Entry| e.offset <= offset)?;
        while let Some((position, header)) = batches.next()? {
            if header.base_offset >= offset {
                return Ok(position);
            }
        }
        Ok(view.end_position)
    }

    fn find(
        &self,
        view: View,
        from: i64,
        max_bytes: u64,
        below: i64,
        at_least_one: bool,
    ) -> Result<ReadSlice, ReadError> {
        if from < self.base_offset {
            return Err(ReadError::BelowBase {
                segment: self.reference,
                offset: from,
                base_offset: self.base_offset,
            });
        }
        let limit = below.min(view.end_offset);
        let empty = |view: View| ReadSlice {
            file: view.log,
            position: 0,
            len: 0,
            base_offset: from,
            end_offset: from,
        };
        if from >= limit {
            return Ok(empty(view));
        }
        if let Some((start, end)) = self.find_in_ring(&view, from, limit, max_bytes, at_least_one) {
            return Ok(slice(view.log, start, end));
        }
        let mut batches = self.batches(&view, |e: &Entry| e.offset <= from)?;
        let (start, first) = loop {
            match batches.next()? {
                Some((_, header)) if header.next_offset() <= from => {}
                Some((position, header)) if header.base_offset < limit => break (position, header),
                _ => return Ok(empty(view)),
            }
        };
        let cap = start.saturating_add(max_bytes);
        let first_end = start + first.total_len() as u64;
        let begin = (first.base_offset, start);
        if view.end_offset == limit && view.end_position <= cap {
            return Ok(slice(view.log.clone(), begin, (limit, view.end_position)));
        }
        let mut end = begin;
        if first_end <= cap || at_least_one {
            end = (first.next_offset(), first_end);
        }
        if first_end < cap && first.next_offset() < limit {
            // From the last entered batch start that is still within both bounds, by headers. What lies beyond the limit is
            // not looked at: it may be damaged.
            let mut batches = self.batches(&view, |e: &Entry| e.position <= cap && e.offset < limit)?;
            batches.skip_to(end.1);
            while end.0 < limit
                && let Some((position, header)) = batches.next()?
            {
                if header.base_offset >= limit || position + header.total_len() as u64 > cap {
                    end = end.max((header.base_offset.min(limit), position));
                    break;
                }
                end = (header.next_offset(), position + header.total_len() as u64);
            }
        }
        Ok(slice(view.log, begin, end))
    }

    /// The slice by the batch starts in memory, when the first one is among them: then all the others are, too.
    fn find_in_ring(
        &self,
        view: &View,
        from: i64,
        limit: i64,
        max_bytes: u64,
        at_least_one: bool,
    ) -> Option<((i64, u64), (i64, u64))> {
        let tail = self.tail.lock();
        let first = tail.ring.partition_point(|(offset, _)| *offset <= from).checked_sub(1)?;
        let start = tail.ring[first];
        let cap = start.1.saturating_add(max_bytes);
        let mut end = start;
        let ends = tail.ring.range(first + 1..).copied().chain([(tail.end_offset, tail.end_position)]);
        for (i, boundary) in ends.enumerate() {
            // Appends since the view was taken lie beyond the limit, or are cut off here.
            if boundary.0 > limit
                || boundary.1 > view.end_position
                || (boundary.1 > cap && !(at_least_one && i == 0))
            {
                break;
            }
            end = boundary;
        }
        Some((start, end))
    }

    /// The end of the copy now.
    pub(super) fn view(&self) -> Result<View, ReadError> {
        let (end_offset, end_position) = self.end()?;
        let log = self.log().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => ReadError::Missing { file: self.file_name(Part::Log) },
            _ => ReadError::from(e),
        })?;
        Ok(View { log, cached: None, reach: Reach::Disk, end_offset, end_position })
    }

    fn end(&self) -> Result<(i64, u64), ReadError> {
        let tail = self.tail.lock();
        if matches!(tail.phase, Phase::Unrecovered | Phase::Deleted) {
            return Err(ReadError::NotReadable { segment: self.reference, state: tail.phase.describe() });
        }
        Ok((tail.end_offset, tail.end_position))
    }

    /// Walks the batches of a view from the last entered one for which `wanted` holds.
    pub(super) fn batches<'a, W: Fn(&Entry) -> bool>(
        &'a self,
        view: &'a View,
        wanted: W,
    ) -> Result<Batches<'a, W>, ReadError> {
        let rebuilds = self.index_rebuilds();
        let start = self.floor_within(view.reach, &wanted)?;
        Ok(Batches {
            segment: self,
            reach: view.reach,
            walk: Walk::new(view.file(), view.end_position),
            end: view.end_position,
            end_offset: view.end_offset,
            at: start,
            start,
            from_index: start.position != 0,
            rebuilds,
            wanted,
        })
    }

    /// What a walk ran into, as an error with a place.
    pub(super) fn walk_error(&self, position: u64, error: WalkError) -> ReadError {
        match error {
            WalkError::Incomplete(reason) | WalkError::Bad(reason) => self.corrupt(position, reason).into(),
            WalkError::Io(source) => source.into(),
        }
    }

    /// Puts the file's name into an error of the disk.
    pub(super) fn named<T>(&self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        result.map_err(|e| match e {
            ReadError::Io { source, .. } => ReadError::Io { file: self.file_name(Part::Log), source },
            other => other,
        })
    }
}

fn slice(file: Arc<dyn FsFile>, start: (i64, u64), end: (i64, u64)) -> ReadSlice {
    ReadSlice { file, position: start.1, len: end.1 - start.1, base_offset: start.0, end_offset: end.0 }
}

/// The batches of a view, in order.
pub(super) struct Batches<'a, W> {
    segment: &'a Segment,
    reach: Reach,
    walk: Walk<'a>,
    end: u64,
    end_offset: i64,
    /// The next batch; its offset is the lowest it may have.
    at: Entry,
    start: Entry,
    /// The start is an entry of the index that was not yet compared with the log.
    from_index: bool,
    rebuilds: u64,
    wanted: W,
}

impl<W: Fn(&Entry) -> bool> Batches<'_, W> {
    /// Position and header of the next batch.
    pub(super) fn next(&mut self) -> Result<Option<(u64, BatchHeader)>, ReadError> {
        loop {
            if self.at.position >= self.end {
                return Ok(None);
            }
            let position = self.at.position;
            let result = self.walk.header_at(position);
            if self.from_index && !matches!(&result, Ok(header) if header.base_offset == self.at.offset) {
                // The index points to where no such batch starts. Twice is not the index's fault.
                let again = self.look_again()?;
                self.from_index = again != self.at;
                self.at = again;
                self.start = again;
                continue;
            }
            self.from_index = false;
            let header = result.map_err(|e| self.segment.walk_error(position, e))?;
            if header.base_offset < self.at.offset {
                let reason =
                    format!("offset {} where at least {} is expected", header.base_offset, self.at.offset);
                return Err(self.segment.corrupt(position, reason).into());
            }
            if header.next_offset() > self.end_offset {
                let (first, last) = (header.base_offset, header.last_offset());
                let reason = format!(
                    "a batch has offsets {first} to {last}, but offset {} is the last one",
                    self.end_offset - 1
                );
                return Err(self.segment.corrupt(position, reason).into());
            }
            let here = Entry { offset: header.base_offset, ..self.at };
            if position >= self.start.position + INTERVAL {
                // A whole index has an entry here or before: when it would have been the start, it is missing.
                if (self.wanted)(&here) {
                    let better = self.look_again()?;
                    self.start = here;
                    if better.position > position {
                        self.at = better;
                        self.start = better;
                        continue;
                    }
                } else {
                    self.start = Entry { position: u64::MAX - INTERVAL, ..here };
                }
            }
            self.at = Entry {
                offset: header.next_offset(),
                position: position + header.total_len() as u64,
                max_before: here.max_before.max(header.max_timestamp),
            };
            return Ok(Some((position, header)));
        }
    }

    /// Greatest timestamp of all batches so far, those before the walk's start included.
    pub(super) fn max_timestamp(&self) -> i64 {
        self.at.max_before
    }

    /// Goes on at a batch start further on; nothing when the walk is already beyond.
    pub(super) fn skip_to(&mut self, position: u64) {
        if position > self.at.position {
            self.from_index = false;
            self.at.position = position;
        }
    }

    fn look_again(&mut self) -> Result<Entry, ReadError> {
        // What was read is not what the index says, or a page was not there to be read.
        self.reach.or_blocked(self.at)?;
        if self.reach == Reach::Writer {
            return Ok(self.segment.start());
        }
        self.segment.rebuild_index(self.rebuilds)?;
        self.rebuilds = self.segment.index_rebuilds();
        self.segment.floor(&self.wanted)
    }
}
