//! Batches of one log that have to follow each other: what recovery, offline verify, the scrub and a rebuilt index all
//! check in the same way. What a fault means (a torn end, damage) is theirs to say.

use std::ops::RangeInclusive;

use buslane_wire::batch::BatchHeader;

use crate::fs::FsFile;
use crate::index::Entry;
use crate::walk::{Walk, WalkError, check_crc};

/// Whether offsets may be missing between two batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gaps {
    /// As its owner writes a segment.
    Refused,
    /// Compaction leaves gaps in sealed segments.
    Allowed,
}

/// A walk that knows where the next batch has to start.
pub(crate) struct BatchChain<'a> {
    file: &'a dyn FsFile,
    walk: Walk<'a>,
    gaps: Gaps,
    /// No batch may reach beyond, exclusive.
    end_offset: i64,
    /// Where the next batch starts, the lowest offset it may have, and the greatest timestamp before it.
    at: Entry,
    scratch: Vec<u8>,
}

impl<'a> BatchChain<'a> {
    /// Starts at a batch boundary; batches end at or below `limit` bytes.
    pub(crate) fn new(file: &'a dyn FsFile, limit: u64, from: Entry, gaps: Gaps) -> BatchChain<'a> {
        let walk = Walk::new(file, limit);
        BatchChain { file, walk, gaps, end_offset: i64::MAX, at: from, scratch: Vec::new() }
    }

    /// For a log that is known to end at `end_offset`.
    pub(crate) fn ending_at(self, end_offset: i64) -> BatchChain<'a> {
        BatchChain { end_offset, ..self }
    }

    /// The boundary reached: position, lowest offset of the next batch, greatest timestamp before it.
    pub(crate) fn at(&self) -> Entry {
        self.at
    }

    /// The header of the next batch, which may stand there by its offsets.
    pub(crate) fn peek(&mut self) -> Result<BatchHeader, WalkError> {
        let header = self.walk.header_at(self.at.position)?;
        let (base, expected) = (header.base_offset, self.at.offset);
        if base < expected || (base > expected && self.gaps == Gaps::Refused) {
            return Err(WalkError::Bad(format!("a batch starts at offset {base}, expected {expected}")));
        }
        if header.next_offset() > self.end_offset {
            return Err(WalkError::Bad(format!(
                "a batch has offsets {base} to {}, but offset {} is the last one",
                header.last_offset(),
                self.end_offset - 1
            )));
        }
        Ok(header)
    }

    /// Steps over the batch whose header this is.
    pub(crate) fn advance(&mut self, header: &BatchHeader) {
        self.at = Entry {
            offset: header.next_offset(),
            position: self.at.position + header.total_len() as u64,
            max_before: self.at.max_before.max(header.max_timestamp),
        };
    }

    /// Checks the next batch, its bytes too where `crc` says so, and steps over it.
    pub(crate) fn next(&mut self, crc: bool) -> Result<BatchHeader, WalkError> {
        let header = self.peek()?;
        if crc {
            check_crc(self.file, self.at.position, &header, &mut self.scratch)?;
        }
        self.advance(&header);
        Ok(header)
    }
}

/// What is wrong with a batch's leader epoch, which no checksum covers: it must be one of those the segment may have, and
/// not below that of the batch before. `last` is carried from batch to batch.
pub(crate) fn epoch_fault(
    found: i32,
    allowed: RangeInclusive<i32>,
    last: &mut Option<i32>,
) -> Option<String> {
    let fault = if !allowed.contains(&found) {
        let (first, opened) = (allowed.start(), allowed.end());
        Some(if found > *opened || first == opened {
            format!("a batch has leader epoch {found}, but the segment was opened in epoch {opened}")
        } else {
            format!("a batch has leader epoch {found}, but the segment begins in epoch {first}")
        })
    } else {
        last.filter(|last| found < *last)
            .map(|last| format!("a batch of leader epoch {found} follows one of epoch {last}"))
    };
    // Whether this one is wrong or the one before, the next ones tell.
    *last = if fault.is_some() { None } else { Some(found) };
    fault
}
