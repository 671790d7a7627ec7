//! Scrubbing: one sealed segment's log against what the chain says of it, in steps that the caller paces.
//!
//! A flipped bit in a sealed segment would otherwise be met by whoever consumes it, and a flipped base offset or leader
//! epoch, which no checksum covers, by nobody. The copy is opened anew, so no lock and no handle is shared with appends
//! and reads; a copy that is deleted meanwhile stays readable until the scrub is dropped. It is a guest in the page cache
//! ([`passing`]). What is in the page cache is checked there: its bytes on the disk are looked at once they were evicted.
//!
//! Damage is a list of ranges: behind a batch that is wrong the scrub goes on at the next place that is certain, which is
//! the next batch where the wrong one still has its place in the chain, else the next batch with an entry in the index. A
//! reader gets no further than that either, so what lies outside of the ranges can be served.

mod passing;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use buslane_wire::batch::BatchHeader;
use buslane_wire::ids::{LeaderEpoch, SegmentRef};

use crate::batch_chain::{BatchChain, Gaps, epoch_fault};
use crate::fs::{Fs, OpenMode};
use crate::index::{ENTRY_LEN, Entry, INTERVAL, IndexOf, NO_TIMESTAMP};
use crate::layout::{self, Part};
use crate::store::Store;
use crate::walk::{CRC_START, WalkError, compare_crc, crc_append};
use passing::Passing;

/// Ranges told of one segment. With more, the last one goes to the segment's end, and the scrub ends.
const RANGES_MAX: usize = 64;

/// What the chain says of a sealed segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedSegment {
    /// Which.
    pub segment: SegmentRef,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Exclusive.
    pub end_offset: i64,
    /// Bytes of its log.
    pub bytes: u64,
    /// The epoch at its base offset: its batches have none below.
    pub first_epoch: LeaderEpoch,
    /// The epoch it was opened in: its batches have none above.
    pub epoch: LeaderEpoch,
}

/// A part of a log that is not what was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DamagedRange {
    /// The log file.
    pub file: PathBuf,
    /// Where the first wrong batch starts, or should.
    pub position: u64,
    /// Where the next good one starts.
    pub end_position: u64,
    /// First offset that cannot be served.
    pub base_offset: i64,
    /// First offset after it that can.
    pub end_offset: i64,
    /// What was found at `position`.
    pub what: String,
}

/// How far a step has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubStep {
    /// Bytes of the log that were looked at.
    pub bytes: u64,
    /// Nothing is left to look at.
    pub done: bool,
}

/// A batch whose bytes are being checked.
#[derive(Debug)]
struct Body {
    header: BatchHeader,
    at: u64,
    crc: u32,
}

/// A good-looking batch before which offsets are missing: compaction leaves such gaps, and so does a base offset that a
/// flipped bit made larger.
#[derive(Clone, Copy, Debug)]
struct Gap {
    position: u64,
    expected_offset: i64,
    base_offset: i64,
}

/// The scrub of one copy. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Scrub {
    fs: Arc<dyn Fs>,
    file: PathBuf,
    index: PathBuf,
    of: SealedSegment,
    log: Option<Passing>,
    /// Where the next batch starts.
    at: Entry,
    body: Option<Body>,
    /// The batch just before `at`, if it follows a gap.
    gap: Option<Gap>,
    /// Where the batch just before `at` starts, if its bytes are wrong: its length may be, too.
    doubted: Option<Entry>,
    last_epoch: Option<i32>,
    /// Number of the index entry with which to go on.
    resume_at: Option<u64>,
    damage: Vec<DamagedRange>,
    scratch: Vec<u8>,
}

impl Store {
    /// Starts a scrub; no file is opened yet. The copy should be one that the chain has sealed, and that this store has.
    pub fn scrub(&self, of: SealedSegment) -> Scrub {
        let syncs = &self.shared.syncs;
        let path = |part| layout::part(&syncs.root, &of.segment, of.base_offset, part);
        Scrub {
            fs: syncs.fs.clone(),
            file: path(Part::Log),
            index: path(Part::Index),
            of,
            log: None,
            at: Entry { offset: of.base_offset, position: 0, max_before: NO_TIMESTAMP },
            body: None,
            gap: None,
            doubted: None,
            last_epoch: None,
            resume_at: None,
            damage: Vec::new(),
            scratch: Vec::new(),
        }
    }
}

/// What one turn of a step found.
enum Turn {
    /// This many bytes are good, or were given up.
    Went(u64),
    /// The next batch is wrong.
    Bad(String),
    /// The disk does not give the bytes.
    Unreadable(String),
}

impl Scrub {
    /// What is scrubbed.
    pub fn segment(&self) -> &SealedSegment {
        &self.of
    }

    /// Looks at about `bytes` more: at most a piece of 64 KiB beyond. Blocks on the disk.
    ///
    /// # Errors
    /// The file cannot be opened for a reason that says nothing about it (too many open files, permissions). Bytes that
    /// cannot be read and a missing file are damage.
    pub fn step(&mut self, bytes: u64) -> io::Result<ScrubStep> {
        if self.log.is_none() {
            match self.fs.open(&self.file, OpenMode::Read) {
                Ok(file) => self.log = Some(Passing::new(file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.rest_is_damaged("it is missing".into());
                    return Ok(ScrubStep { bytes: 0, done: true });
                }
                Err(e) => return Err(e),
            }
        }
        let mut looked_at = 0;
        while self.at.position < self.of.bytes && looked_at < bytes {
            match self.turn(bytes - looked_at) {
                Turn::Went(bytes) => looked_at += bytes,
                Turn::Bad(what) => self.bad(what, None),
                Turn::Unreadable(what) => self.bad(format!("it cannot be read: {what}"), None),
            }
        }
        let done = self.at.position >= self.of.bytes;
        if done {
            self.check_end();
            self.log = None;
        }
        Ok(ScrubStep { bytes: looked_at, done })
    }

    /// What was found, in the order of the log; ranges do not touch. All of it once a step was `done`.
    pub fn into_damage(self) -> Vec<DamagedRange> {
        self.damage
    }

    /// One batch, or a part of it, or one try to find the next certain place.
    fn turn(&mut self, most: u64) -> Turn {
        if self.resume_at.is_some() {
            return self.resume();
        }
        let log = self.log.as_ref().expect("opened by the step");
        let mut chain =
            BatchChain::new(log, self.of.bytes, self.at, Gaps::Allowed).ending_at(self.of.end_offset);
        if self.body.is_none() {
            match chain.peek() {
                Ok(header) => {
                    self.doubted = None;
                    self.body = Some(Body { header, at: self.at.position + CRC_START as u64, crc: 0 });
                }
                Err(error) => return self.misfit(error),
            }
        }
        let body = self.body.as_mut().expect("just set");
        let (from, end) = (body.at, self.at.position + body.header.total_len() as u64);
        while body.at < end && body.at - from < most {
            if let Err(error) = crc_append(log, &mut body.at, end, &mut body.crc, &mut self.scratch) {
                return match WalkError::from(error) {
                    WalkError::Io(e) => Turn::Unreadable(e.to_string()),
                    WalkError::Bad(what) | WalkError::Incomplete(what) => Turn::Bad(what),
                };
            }
        }
        let looked_at = body.at - from;
        if body.at < end {
            return Turn::Went(looked_at);
        }
        let Body { header, crc, .. } = self.body.take().expect("it was there");
        chain.advance(&header);
        let next = chain.at();
        self.finish_batch(&header, crc, next);
        Turn::Went(looked_at + CRC_START as u64)
    }

    /// A batch that has its place in the chain, read to its end.
    fn finish_batch(&mut self, header: &BatchHeader, crc: u32, next: Entry) {
        let here = self.at;
        let allowed = self.of.first_epoch.0..=self.of.epoch.0;
        let epoch = epoch_fault(header.partition_leader_epoch, allowed, &mut self.last_epoch);
        let fault = match compare_crc(header, crc) {
            Err(WalkError::Bad(what) | WalkError::Incomplete(what)) => Some(what),
            Err(WalkError::Io(_)) | Ok(()) => epoch,
        };
        if let Some(what) = fault {
            // The next header tells whether this one's length and offsets are true; what it contradicts joins the range.
            self.bad(what, Some(next));
            return;
        }
        if let Some(last) = self.damage.last_mut().filter(|d| d.end_position == here.position) {
            last.end_offset = header.base_offset;
            self.gap = None;
        } else {
            self.gap = (header.base_offset > here.offset).then_some(Gap {
                position: here.position,
                expected_offset: here.offset,
                base_offset: header.base_offset,
            });
        }
        self.at = next;
    }

    /// The next batch does not stand where it could. When the one before it followed a gap, and this one fits without the
    /// offset that made the gap, it is that offset which is wrong; readers do not get past it either.
    fn misfit(&mut self, error: WalkError) -> Turn {
        let what = match error {
            WalkError::Io(e) => return Turn::Unreadable(e.to_string()),
            WalkError::Bad(what) | WalkError::Incomplete(what) => what,
        };
        let Some(gap) = self.gap else { return Turn::Bad(what) };
        let before = Entry { offset: gap.expected_offset + 1, ..self.at };
        let log = self.log.as_ref().expect("opened by the step");
        let mut chain =
            BatchChain::new(log, self.of.bytes, before, Gaps::Allowed).ending_at(self.of.end_offset);
        Turn::Bad(if chain.peek().is_ok() { self.back_to(gap) } else { what })
    }

    /// The batch that followed a gap is the wrong one: back to its start. Says why.
    fn back_to(&mut self, gap: Gap) -> String {
        self.at = Entry { position: gap.position, offset: gap.expected_offset, ..self.at };
        format!("a batch starts at offset {}, expected {}", gap.base_offset, gap.expected_offset)
    }

    /// The log must end where the segment was sealed.
    fn check_end(&mut self) {
        let (at, end_offset) = (self.at, self.of.end_offset);
        if at.offset != end_offset {
            let what = match self.gap.take() {
                Some(gap) => self.back_to(gap),
                None => format!(
                    "it ends here at offset {}, but the segment was sealed at {end_offset}",
                    at.offset
                ),
            };
            self.rest_is_damaged(what);
        }
    }

    /// The batch at `at` is wrong; `next`: where it ends, if that can be believed until the contrary is known.
    fn bad(&mut self, what: String, next: Option<Entry>) {
        self.body = None;
        self.gap = None;
        if let Some(start) = self.doubted.take() {
            // Its length led nowhere.
            self.at = start;
            let last = self.damage.last_mut().expect("a doubted batch is damage");
            (last.end_position, last.end_offset) = (start.position, start.offset);
        }
        let here = self.at;
        if let Some(next) = next {
            self.add(here.position, here.offset, next.position, next.offset, what);
            if self.damage.len() < RANGES_MAX {
                self.doubted = Some(here);
                self.at = next;
            } else {
                self.rest_is_damaged(String::new());
            }
            return;
        }
        let of = IndexOf { segment: self.of.segment.segment, base_offset: self.of.base_offset };
        let following = || {
            let file = self.fs.open(&self.index, OpenMode::Read).ok()?;
            let count = file.len().ok()? / ENTRY_LEN;
            let found = of.last_where(&*file, count, 0, |e| e.position <= here.position).ok()?;
            let number = found.map_or(0, |(number, _)| number + 1);
            (number < count).then_some(number)
        };
        match following() {
            Some(number) if self.damage.len() < RANGES_MAX => {
                // Up to the next certain place, which moves on while there is none.
                self.add(here.position, here.offset, here.position, here.offset, what);
                self.resume_at = Some(number);
            }
            _ => self.rest_is_damaged(what),
        }
    }

    /// Goes on at the next index entry, if a batch with its offset stands there.
    fn resume(&mut self) -> Turn {
        let number = self.resume_at.take().expect("asked only then");
        let of = IndexOf { segment: self.of.segment.segment, base_offset: self.of.base_offset };
        let entry =
            self.fs.open(&self.index, OpenMode::Read).ok().and_then(|file| of.read(&*file, number).ok());
        let within = |e: &Entry| {
            e.position > self.at.position
                && e.position < self.of.bytes
                && (self.at.offset..self.of.end_offset).contains(&e.offset)
        };
        let Some(entry) = entry.filter(within) else {
            self.rest_is_damaged(String::new());
            return Turn::Went(0);
        };
        let passed = entry.position - self.at.position;
        let log = self.log.as_ref().expect("opened by the step");
        let mut chain =
            BatchChain::new(log, self.of.bytes, entry, Gaps::Allowed).ending_at(self.of.end_offset);
        let stands = matches!(chain.peek(), Ok(header) if header.base_offset == entry.offset);
        let last = self.damage.last_mut().expect("nothing is resumed without damage");
        last.end_position = entry.position;
        last.end_offset = entry.offset;
        self.at = entry;
        if !stands {
            self.resume_at = Some(number + 1);
        }
        Turn::Went(passed.min(INTERVAL))
    }

    /// There is no certain place any more.
    fn rest_is_damaged(&mut self, what: String) {
        let SealedSegment { bytes, end_offset, .. } = self.of;
        self.add(self.at.position, self.at.offset, bytes, end_offset, what);
        self.at = Entry { offset: end_offset, position: bytes, ..self.at };
        (self.body, self.gap, self.doubted, self.resume_at) = (None, None, None, None);
    }

    /// Enters a range; one that touches the last one joins it.
    fn add(&mut self, position: u64, base_offset: i64, end_position: u64, end_offset: i64, what: String) {
        match self.damage.last_mut() {
            Some(last) if last.end_position >= position => {
                last.end_position = last.end_position.max(end_position);
                last.end_offset = last.end_offset.max(end_offset);
            }
            _ => {
                let file = self.file.clone();
                self.damage.push(DamagedRange {
                    file,
                    position,
                    end_position,
                    base_offset,
                    end_offset,
                    what,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
