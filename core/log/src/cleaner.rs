//! Compaction: what a log still says when only the newest record of each key is kept.
//!
//! A pass of [`Cleaner`] over the sealed segments of a partition, oldest first:
//!
//! 1. [`Cleaner::survey`] walks the headers of what an earlier pass has cleaned, [`Cleaner::map`] reads the keys of what is
//!    dirty, until the table of keys is full; from [`Cleaner::mapped_end`] on nothing is known and everything is kept.
//! 2. [`Cleaner::clean`] writes what is left of a group of neighbours ([`group`]) to one new copy, which
//!    [`Store::create_cleaned`](crate::Store::create_cleaned) made and which the caller seals. Offsets never change.
//! 3. The caller lets the metadata swap the new segments in. Until then the old ones are in force, whatever happens: a copy
//!    that the chain does not know is an orphan at the next start.
//!
//! What goes: records that a newer record of their key supersedes, records without a key, and tombstones whose delete
//! horizon has passed (KIP-534). What stays though all its records are gone, as a header alone: the last batch of a group,
//! which tells where the log ends, and the last batch of a producer, which tells its sequence. Control batches stay as they
//! are; a log with transactions is not compacted. No clock, no thread: time and pace are the caller's.
//! Source: Kafka's `Cleaner`, KIP-58, KIP-534; docs/decisions/0010-compaction.md.

mod filter;
mod group;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use buslane_wire::batch::{BatchHeader, verify_crc};

use crate::batch_chain::{BatchChain, Gaps};
use crate::fs::read_exact_at;
use crate::index::Entry;
use crate::layout::Part;
use crate::segment::{AppendError, SealError, Segment};
use crate::walk::WalkError;

use filter::Filter;
pub use filter::Unfit;
pub use group::{Sized, group};
pub use table::OffsetTable;

/// Bytes of cleaned batches that are written at once.
const WRITE_AT: usize = 1 << 20;

/// What a pass goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanRules {
    /// Now, in ms since the Unix epoch.
    pub now_ms: i64,
    /// `delete.retention.ms`: how long a tombstone stays after the pass that first found it.
    pub delete_retention_ms: i64,
    /// The last batch of a producer that wrote at or after this time stays, in ms since the Unix epoch.
    pub producers_since_ms: i64,
    /// Largest batch after decompression, in bytes. One that is larger is not read, and nothing is cleaned.
    pub batch_bytes_max: usize,
}

/// What a pass did so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cleaned {
    /// Bytes read from the old segments.
    pub bytes_before: u64,
    /// Bytes written to the new ones.
    pub bytes_after: u64,
    /// Records read.
    pub records_before: u64,
    /// Records kept.
    pub records_after: u64,
    /// Batches that are not as they were: gone, with fewer records, or with a delete horizon.
    pub batches_changed: u64,
}

/// Why a pass ends without a result. The old segments stay in force.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// A batch cannot be read: damaged, or not what a producer's client writes.
    #[error("{file}: the batch at byte {position} cannot be compacted: {reason}")]
    Batch {
        /// The log file.
        file: String,
        /// Where the batch starts.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// The disk failed.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The new copy takes nothing (any more).
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A producer checkpoint cannot be taken over.
    #[error(transparent)]
    Checkpoint(#[from] SealError),
    /// The caller's pace said so.
    #[error("compaction was stopped")]
    Stopped,
}

/// Told of each piece of work in bytes; waits as long as it likes, and answers whether to go on.
pub type Pace<'a> = dyn FnMut(u64) -> bool + 'a;

/// One pass over a partition.
#[derive(Debug)]
pub struct Cleaner {
    table: OffsetTable,
    filter: Filter,
    /// The last offset of each producer's last batch that was seen, and its greatest timestamp.
    producers: HashMap<i64, (i64, i64)>,
    mapped_end: Option<i64>,
    full: bool,
    done: Cleaned,
}

impl Cleaner {
    /// With a table of at most `table_bytes`, keyed with secrets that nobody who writes records knows: with known ones,
    /// keys of the same hash could be made, and one would delete the other.
    pub fn new(table_bytes: usize, secrets: (u64, u64), rules: CleanRules) -> Cleaner {
        Cleaner {
            table: OffsetTable::new(table_bytes, secrets),
            filter: Filter::new(rules),
            producers: HashMap::new(),
            mapped_end: None,
            full: false,
            done: Cleaned::default(),
        }
    }

    /// Takes note of the producers of a segment that was cleaned before. To be called, like [`Cleaner::map`], in the order
    /// of the log.
    pub fn survey(&mut self, segment: &Arc<Segment>, pace: &mut Pace<'_>) -> Result<(), CleanError> {
        let producers = &mut self.producers;
        each_batch(segment, Read::Headers, pace, |header, _| {
            note_producer(producers, header);
            Ok(true)
        })
    }

    /// Enters the keys of a segment from the offset `from` on, and says whether all of them fit. When they do not, the table
    /// ends inside this segment, at a batch, and no further segment is to be mapped.
    ///
    /// # Panics
    /// When the table is full already, or the segment does not follow the one before.
    pub fn map(
        &mut self,
        segment: &Arc<Segment>,
        from: i64,
        pace: &mut Pace<'_>,
    ) -> Result<bool, CleanError> {
        assert!(!self.full, "{}: the table is full", segment.reference());
        let base = segment.base_offset();
        assert!(
            self.mapped_end.is_none_or(|end| end == base),
            "{}: mapped out of order",
            segment.reference()
        );
        let mut mapped_end = base.max(from);
        let Cleaner { table, filter, producers, .. } = self;
        let mut full = false;
        each_batch(segment, Read::Whole, pace, |header, bytes| {
            // Behind the table's end, too: what comes later in this segment is a later batch of its producer.
            note_producer(producers, header);
            if header.next_offset() > from && !full {
                full = !filter.enter(header, bytes, table)?;
                mapped_end = if full { mapped_end } else { header.next_offset() };
            }
            Ok(true)
        })?;
        // Behind the last batch there may be a gap.
        self.mapped_end = Some(if full { mapped_end } else { segment.end_offset() });
        self.full = full;
        Ok(!full)
    }

    /// The offset from which on keys are not known; none when nothing was mapped.
    pub fn mapped_end(&self) -> Option<i64> {
        self.mapped_end
    }

    /// Writes what is left of neighbouring segments to `into`, which starts where the first of them does, and hands it the
    /// last checkpoint of their producers. The copy still has to be sealed at the last one's end.
    ///
    /// # Panics
    /// When nothing was mapped, or `into` is not a copy for this.
    pub fn clean(
        &mut self,
        old: &[Arc<Segment>],
        into: &Arc<Segment>,
        pace: &mut Pace<'_>,
    ) -> Result<Cleaned, CleanError> {
        let mapped_end = self.mapped_end.expect("nothing can be cleaned before something was mapped");
        let (first, last) = (old.first().expect("a group has a segment"), old.last().expect("as well"));
        assert_eq!(first.base_offset(), into.base_offset(), "{}: starts elsewhere", into.reference());
        let before = self.done;
        let mut out = Vec::new();
        let mut headers = Vec::new();
        let Cleaner { table, filter, producers, done, .. } = self;
        let since_ms = filter.rules().producers_since_ms;
        for segment in old {
            // Where the group's last batch starts: known once all headers were seen.
            let last_batch = if Arc::ptr_eq(segment, last) { last_batch_of(segment, pace)? } else { None };
            let mut fault = None;
            each_batch(segment, Read::Whole, pace, |header, bytes| {
                let of_producer = header.has_producer()
                    && producers.get(&header.producer_id).is_some_and(|(offset, newest_ms)| {
                        *offset == header.last_offset() && *newest_ms >= since_ms
                    });
                let keep_header = of_producer || last_batch == Some(header.base_offset);
                let kept = filter.clean(header, bytes, table, mapped_end, keep_header, &mut out)?;
                done.bytes_before += bytes.len() as u64;
                done.records_before += header.record_count as u64;
                done.batches_changed += u64::from(kept != Some(*header));
                if let Some(kept) = kept {
                    done.records_after += kept.record_count as u64;
                    headers.push(kept);
                }
                if out.len() >= WRITE_AT {
                    done.bytes_after += out.len() as u64;
                    fault = into.append_cleaned(&headers, &out).err();
                    headers.clear();
                    out.clear();
                }
                Ok(fault.is_none())
            })?;
            if let Some(fault) = fault {
                return Err(fault.into());
            }
        }
        done.bytes_after += out.len() as u64;
        into.append_cleaned(&headers, &out)?;
        // The newest one that there is; what the batches after it say is in their headers, which stay.
        for segment in old.iter().rev() {
            if let Some((end_offset, payload)) = segment.producers_at(last.end_offset())? {
                into.checkpoint_producers(end_offset, &payload)?;
                break;
            }
        }
        Ok(Cleaned {
            bytes_before: done.bytes_before - before.bytes_before,
            bytes_after: done.bytes_after - before.bytes_after,
            records_before: done.records_before - before.records_before,
            records_after: done.records_after - before.records_after,
            batches_changed: done.batches_changed - before.batches_changed,
        })
    }
}

fn note_producer(producers: &mut HashMap<i64, (i64, i64)>, header: &BatchHeader) {
    if header.has_producer() {
        producers.insert(header.producer_id, (header.last_offset(), header.max_timestamp));
    }
}

/// Base offset of a segment's last batch.
fn last_batch_of(segment: &Arc<Segment>, pace: &mut Pace<'_>) -> Result<Option<i64>, CleanError> {
    let mut last = None;
    each_batch(segment, Read::Headers, pace, |header, _| {
        last = Some(header.base_offset);
        Ok(true)
    })?;
    Ok(last)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    Headers,
    /// And checks their CRCs.
    Whole,
}

/// Bytes of headers that are walked between two looks at the pace.
const HEADERS_A_LOOK: u64 = 1 << 16;

/// Calls `each` with the batches of a sealed segment in order, until it says to stop.
fn each_batch(
    segment: &Arc<Segment>,
    read: Read,
    pace: &mut Pace<'_>,
    mut each: impl FnMut(&BatchHeader, &[u8]) -> Result<bool, Unfit>,
) -> Result<(), CleanError> {
    let path = segment.path(Part::Log);
    let io_error = |path: &Path, source| CleanError::Io { file: path.display().to_string(), source };
    let log = segment.log().map_err(|source| io_error(&path, source))?;
    let limit = segment.end_position();
    let from = Entry { offset: segment.base_offset(), position: 0, max_before: i64::MIN };
    let mut chain = BatchChain::new(&*log, limit, from, Gaps::Allowed).ending_at(segment.end_offset());
    let mut bytes = Vec::new();
    let mut walked = 0;
    while chain.at().position < limit {
        let position = chain.at().position;
        let batch_error =
            |reason: String| CleanError::Batch { file: path.display().to_string(), position, reason };
        let walk_error = |error| match error {
            WalkError::Io(source) => io_error(&path, source),
            WalkError::Bad(reason) | WalkError::Incomplete(reason) => batch_error(reason),
        };
        let header = chain.peek().map_err(walk_error)?;
        let work = match read {
            Read::Headers => {
                walked += buslane_wire::batch::HEADER_LEN as u64;
                if walked < HEADERS_A_LOOK { 0 } else { std::mem::take(&mut walked) }
            }
            Read::Whole => {
                bytes.resize(header.total_len(), 0);
                read_exact_at(&*log, &mut bytes, position).map_err(|source| io_error(&path, source))?;
                verify_crc(&bytes).map_err(|error| batch_error(error.to_string()))?;
                bytes.len() as u64
            }
        };
        if work > 0 && !pace(work) {
            return Err(CleanError::Stopped);
        }
        if !each(&header, &bytes).map_err(|unfit| batch_error(unfit.to_string()))? {
            return Ok(());
        }
        chain.advance(&header);
    }
    Ok(())
}
