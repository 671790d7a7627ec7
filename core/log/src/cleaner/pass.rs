//! A whole pass: from the sealed segments of a chain to the copies that may take their place.

use std::ops::Range;
use std::sync::Arc;

use buslane_wire::ids::{Durability, LeaderEpoch, SegmentRef};

use super::{CleanError, CleanRules, Cleaned, Cleaner, Growing, Pace};
use crate::segment::Segment;
use crate::store::{SegmentSpec, Store};

/// How a pass is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PassOptions {
    /// Which records go.
    pub rules: CleanRules,
    /// Bytes of the table of keys, at most.
    pub table_bytes: usize,
    /// Of its hash: numbers that nobody who writes records knows.
    pub secrets: (u64, u64),
    /// Neighbours become one segment as long as what is left of the first ones and the next as it was have at most so many
    /// bytes.
    pub segment_bytes: u64,
    /// Epoch of the owner: a store that has promised a later one makes no copies for it.
    pub owner_epoch: LeaderEpoch,
}

/// A copy that may take the place of neighbours. It is sealed, and all of it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CleanedCopy {
    /// The neighbours' places in what the pass was given.
    pub old: Range<usize>,
    /// Its name.
    pub segment: SegmentRef,
    /// Offset at which the first of them starts, and so it does.
    pub base_offset: i64,
    /// Offset at which the last of them ends, exclusive, and so it does.
    pub end_offset: i64,
    /// Of its log.
    pub bytes: u64,
    /// Greatest timestamp of a batch, in ms since the Unix epoch, -1 for none.
    pub max_timestamp: i64,
}

/// What a pass made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compacted {
    /// How many of the segments took part, counted from the first.
    pub taken: usize,
    /// In the order of the log. Of segments that no copy names nothing was left out: they stay as they are.
    pub copies: Vec<CleanedCopy>,
    /// The log is clean up to here, exclusive.
    pub clean_end_offset: i64,
    /// What was read and written.
    pub cleaned: Cleaned,
}

/// Makes one pass over `old`, which are sealed and follow each other, from the first of a chain on; up to
/// `clean_end_offset` an earlier pass has cleaned them. Names of new copies come from `draw`. Nothing when nothing is dirty.
///
/// The copies are in force when the chain knows them, and not before; [`discard`] removes them when it never will.
/// Blocks on the disk.
///
/// # Errors
/// As [`CleanError`] says; then every copy that was made is removed again, as far as the disk does it, and is else an orphan
/// at the next start.
pub fn compact(
    store: &Store,
    old: &[Arc<Segment>],
    clean_end_offset: i64,
    options: &PassOptions,
    draw: &mut dyn FnMut() -> SegmentRef,
    pace: &mut Pace<'_>,
) -> Result<Option<Compacted>, CleanError> {
    let mut cleaner = Cleaner::new(options.table_bytes, options.secrets, options.rules);
    let mut taken = 0;
    for segment in old {
        taken += 1;
        if segment.end_offset() <= clean_end_offset {
            cleaner.survey(segment, pace)?;
        } else if !cleaner.map(segment, clean_end_offset, pace)? {
            break;
        }
    }
    let Some(mapped_end) = cleaner.mapped_end() else { return Ok(None) };
    if mapped_end <= clean_end_offset {
        return Err(CleanError::TableTooSmall { bytes: options.table_bytes });
    }
    let mut made =
        Compacted { taken, copies: Vec::new(), clean_end_offset: mapped_end, cleaned: Cleaned::default() };
    match write(store, &mut cleaner, &old[..taken], options, draw, pace, &mut made) {
        Ok(()) => Ok(Some(made)),
        Err(error) => {
            discard(store, &made.copies);
            Err(error)
        }
    }
}

/// Removes copies that the chain does not know and never will. What cannot be removed is an orphan at the next start.
pub fn discard(store: &Store, copies: &[CleanedCopy]) {
    for copy in copies {
        let _ = store.delete(&copy.segment, copy.base_offset);
    }
}

fn write(
    store: &Store,
    cleaner: &mut Cleaner,
    old: &[Arc<Segment>],
    options: &PassOptions,
    draw: &mut dyn FnMut() -> SegmentRef,
    pace: &mut Pace<'_>,
    made: &mut Compacted,
) -> Result<(), CleanError> {
    let mut at = 0;
    while at < old.len() {
        let (from, base_offset) = (at, old[at].base_offset());
        let segment = draw();
        // Nobody counts on it before it is sealed, whatever the durability of its segment is.
        let durability = Durability::Replicated;
        let spec = SegmentSpec { segment, base_offset, epoch: options.owner_epoch, durability };
        let copy = store.create_cleaned(spec, options.owner_epoch)?;
        // From here on it is removed when something fails.
        made.copies.push(CleanedCopy {
            old: from..from,
            segment,
            base_offset,
            end_offset: base_offset,
            bytes: 0,
            max_timestamp: -1,
        });
        let mut growing = Growing::new(copy.clone());
        loop {
            cleaner.clean(&old[at], &mut growing, pace)?;
            at += 1;
            let written = growing.done.bytes_after;
            if at == old.len() || !joins(base_offset, written, &old[at - 1], &old[at], options.segment_bytes)
            {
                break;
            }
        }
        growing.finish(&old[from..at])?;
        made.cleaned += growing.done;
        if at - from == 1 && growing.done.batches_changed == 0 {
            // Nothing was left out: it stays.
            discard(store, &made.copies.split_off(made.copies.len() - 1));
            continue;
        }
        let end_offset = old[at - 1].end_offset();
        let sealed = copy.seal(end_offset)?;
        let made = made.copies.last_mut().expect("just pushed");
        (made.old, made.end_offset) = (from..at, end_offset);
        (made.bytes, made.max_timestamp) = (sealed.bytes, sealed.max_timestamp);
    }
    Ok(())
}

/// Offsets in one segment, as Kafka limits them: its clients never see more in one file.
const OFFSETS_MAX: i64 = i32::MAX as i64;

/// Whether a segment goes into the copy that starts at `base_offset` and has `written` bytes of the segments up to `last`.
/// So no two neighbours that are left could be one, and never a row of segments of nothing but empty batches: librdkafka
/// gives up after a dozen answers without a record.
fn joins(base_offset: i64, written: u64, last: &Segment, next: &Segment, segment_bytes: u64) -> bool {
    next.base_offset() == last.end_offset()
        && next.end_offset() - base_offset <= OFFSETS_MAX
        && written + next.end_position() <= segment_bytes
}
