//! Compaction: what a log still says when only the newest record of each key is kept.
//!
//! A pass ([`compact`]) over the sealed segments of a partition, oldest first:
//!
//! 1. It walks the headers of what an earlier pass has cleaned and reads the keys of what is dirty, until the table of keys
//!    is full; from there on nothing is known and everything is kept.
//! 2. It writes what is left of each group of neighbours to one new copy ([`CleanedCopy`]), seals and syncs it. Offsets never
//!    change.
//! 3. The caller lets the metadata swap the new segments in. Until then the old ones are in force, whatever happens: a copy
//!    that the chain does not know is an orphan at the next start.
//!
//! What goes: records that a newer record of their key supersedes, records without a key, and tombstones whose delete
//! horizon has passed (KIP-534). What stays though all its records are gone, as a header alone: the last batch of a copy,
//! which tells where the log ends, and the last batch of a producer, which tells its sequence. Control batches stay as they
//! are; a log with transactions is not compacted. No clock, no thread: time and pace are the caller's.
//! Source: Kafka's `Cleaner`, KIP-58, KIP-534; docs/decisions/0010-compaction.md.

mod filter;
mod pass;
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
use crate::store::CreateError;
use crate::walk::WalkError;

use filter::Filter;
pub use filter::Unfit;
pub use pass::{CleanedCopy, Compacted, PassOptions, compact, discard};
use table::OffsetTable;

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

impl std::ops::AddAssign for Cleaned {
    fn add_assign(&mut self, other: Cleaned) {
        self.bytes_before += other.bytes_before;
        self.bytes_after += other.bytes_after;
        self.records_before += other.records_before;
        self.records_after += other.records_after;
        self.batches_changed += other.batches_changed;
    }
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
    /// No new copy can be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The keys of the first dirty batch are more than the table takes.
    #[error("the keys of one batch do not fit the table of {bytes} bytes")]
    TableTooSmall {
        /// Of the table, at most.
        bytes: usize,
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

/// What a pass knows.
#[derive(Debug)]
struct Cleaner {
    table: OffsetTable,
    filter: Filter,
    /// The last offset of each live producer's last batch that was seen.
    producers: HashMap<i64, i64>,
    mapped_end: Option<i64>,
    full: bool,
}

impl Cleaner {
    /// With a table of at most `table_bytes`, keyed with secrets that nobody who writes records knows: with known ones,
    /// keys of the same hash could be made, and one would delete the other.
    fn new(table_bytes: usize, secrets: (u64, u64), rules: CleanRules) -> Cleaner {
        Cleaner {
            table: OffsetTable::new(table_bytes, secrets),
            filter: Filter::new(rules),
            producers: HashMap::new(),
            mapped_end: None,
            full: false,
        }
    }

    /// Takes note of the producers of a segment that was cleaned before. To be called, like [`Cleaner::map`], in the order
    /// of the log.
    fn survey(&mut self, segment: &Arc<Segment>, pace: &mut Pace<'_>) -> Result<(), CleanError> {
        let Cleaner { filter, producers, .. } = self;
        let since_ms = filter.rules().producers_since_ms;
        each_batch(segment, Read::Headers, pace, |header, _| {
            note_producer(producers, since_ms, header);
            Ok(true)
        })
    }

    /// Enters the keys of a segment from the offset `from` on, and says whether all of them fit. When they do not, the table
    /// ends inside this segment, at a batch, and no further segment is to be mapped.
    ///
    /// # Panics
    /// When the table is full already, or the segment does not follow the one before.
    fn map(&mut self, segment: &Arc<Segment>, from: i64, pace: &mut Pace<'_>) -> Result<bool, CleanError> {
        assert!(!self.full, "{}: the table is full", segment.reference());
        let base = segment.base_offset();
        assert!(
            self.mapped_end.is_none_or(|end| end == base),
            "{}: mapped out of order",
            segment.reference()
        );
        let mut mapped_end = base.max(from);
        let Cleaner { table, filter, producers, .. } = self;
        let since_ms = filter.rules().producers_since_ms;
        let mut full = false;
        each_batch(segment, Read::Whole, pace, |header, bytes| {
            // Behind the table's end, too: what comes later in this segment is a later batch of its producer.
            note_producer(producers, since_ms, header);
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
    fn mapped_end(&self) -> Option<i64> {
        self.mapped_end
    }

    /// Appends what is left of a segment to `into`, which holds nothing yet or what is left of its neighbours before.
    ///
    /// # Panics
    /// When nothing was mapped.
    fn clean(
        &mut self,
        old: &Arc<Segment>,
        into: &mut Growing,
        pace: &mut Pace<'_>,
    ) -> Result<(), CleanError> {
        let mapped_end = self.mapped_end.expect("nothing can be cleaned before something was mapped");
        let Cleaner { table, filter, producers, .. } = self;
        let mut fault = None;
        each_batch(old, Read::Whole, pace, |header, bytes| {
            let of_producer =
                header.has_producer() && producers.get(&header.producer_id) == Some(&header.last_offset());
            let kept = filter.clean(header, bytes, table, mapped_end, of_producer, &mut into.out)?;
            into.done.bytes_before += bytes.len() as u64;
            into.done.records_before += header.record_count as u64;
            match kept {
                Some(kept) => {
                    into.done.batches_changed += u64::from(kept != *header);
                    into.done.records_after += kept.record_count as u64;
                    into.headers.push(kept);
                    into.dropped_last = None;
                }
                None => {
                    into.done.batches_changed += 1;
                    into.dropped_last = Some(*header);
                }
            }
            if into.out.len() >= WRITE_AT {
                fault = into.write().err();
            }
            Ok(fault.is_none())
        })?;
        match fault {
            Some(fault) => Err(fault.into()),
            None => Ok(into.write()?),
        }
    }
}

/// A new copy on its way.
struct Growing {
    copy: Arc<Segment>,
    /// What is not written yet.
    out: Vec<u8>,
    headers: Vec<BatchHeader>,
    /// The last batch so far, when nothing is left of it.
    dropped_last: Option<BatchHeader>,
    done: Cleaned,
}

impl Growing {
    fn new(copy: Arc<Segment>) -> Growing {
        let (out, headers) = (Vec::new(), Vec::new());
        Growing { copy, out, headers, dropped_last: None, done: Cleaned::default() }
    }

    fn write(&mut self) -> Result<(), AppendError> {
        self.done.bytes_after += self.out.len() as u64;
        let written = self.copy.append_cleaned(&self.headers, &self.out);
        self.headers.clear();
        self.out.clear();
        written.map(drop)
    }

    /// Ends it behind the last of the segments that are in it: with that one's last batch, if only as a header, and their
    /// producers' newest checkpoint.
    fn finish(&mut self, old: &[Arc<Segment>]) -> Result<(), CleanError> {
        let end_offset = old.last().expect("a copy is of a segment").end_offset();
        if let Some(dropped) = self.dropped_last.take() {
            let last = if dropped.record_count == 0 { dropped } else { dropped.emptied() };
            self.out.extend_from_slice(&last.encode());
            self.headers.push(last);
            self.done.batches_changed -= u64::from(last == dropped);
            self.write()?;
        }
        // What the batches after the checkpoint say is in their headers, which stay.
        for segment in old.iter().rev() {
            if let Some((at, payload)) = segment.producers_at(end_offset)? {
                self.copy.checkpoint_producers(at, &payload)?;
                break;
            }
        }
        Ok(())
    }
}

/// Producers whose last batch stays, at most: as many as an owner remembers.
const PRODUCERS_MAX: usize = 100_000;

fn note_producer(producers: &mut HashMap<i64, i64>, since_ms: i64, header: &BatchHeader) {
    if !header.has_producer() {
        return;
    }
    let id = header.producer_id;
    if header.max_timestamp < since_ms {
        producers.remove(&id);
    } else if producers.len() < PRODUCERS_MAX || producers.contains_key(&id) {
        producers.insert(id, header.last_offset());
    }
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
