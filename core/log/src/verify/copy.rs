//! Checking one copy: its log, then its index and checkpoints against it.

use std::path::PathBuf;

use super::chain::Role;
use super::{Finding, Progress, Severity, Verify, VerifyError, at, repair};
use crate::batch_chain::{BatchChain, Gaps, epoch_fault};
use crate::fs::{FsFile, OpenMode, read_exact_at};
use crate::index::{ENTRY_LEN, Entry, INTERVAL, IndexOf, NO_TIMESTAMP};
use crate::journal::record::CopyState;
use crate::layout::{self, Part};
use crate::producers;
use crate::store::FoundCopy;
use crate::walk::{WalkError, more_follows};

/// The bad end of a copy, to be cut.
pub(super) struct Cut {
    pub(super) copy: FoundCopy,
    pub(super) state: CopyState,
    /// Where the good part ends.
    pub(super) end_offset: i64,
    pub(super) position: u64,
    /// As a crash leaves it: nothing acknowledged goes.
    pub(super) torn: bool,
    /// What was found.
    pub(super) finding: Finding,
}

/// The log of a copy.
pub(super) struct Checked {
    /// Where its good part ends, exclusive.
    pub(super) end_offset: i64,
    /// Leader epoch of its last batch, or of the copies before it.
    pub(super) epoch: Option<i32>,
    pub(super) cut: Option<Cut>,
}

/// Why a log is good only up to somewhere.
struct BadEnd {
    what: String,
    /// The file ends inside a batch.
    incomplete: bool,
}

/// What the log says should be in the index.
struct Expected {
    entries: Vec<Entry>,
    /// Bytes that could be walked.
    end_position: u64,
}

impl Verify<'_> {
    /// Checks a copy. `epoch` is that of the last batch before it in the partition. `None`: it was removed meanwhile.
    pub(super) fn copy(
        &mut self,
        copy: &FoundCopy,
        role: Role,
        mut epoch: Option<i32>,
    ) -> Result<Option<Checked>, VerifyError> {
        let log = match self.fs.open(&copy.path, OpenMode::Read) {
            Err(e) if self.live && e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(at(&copy.path))?,
        };
        let len = log.len().map_err(at(&copy.path))?;
        let (state, end) = match role {
            Role::Open(state) => (Some(state), None),
            Role::Sealed(end) => (None, end.map(|(end, _)| end)),
            Role::Unwanted => return Ok(None),
        };
        // What is longer than its sealed segment was never acknowledged.
        let limit = end.map_or(len, |end| end.bytes.min(len));
        let mut here = Entry { offset: copy.base_offset, position: 0, max_before: NO_TIMESTAMP };
        let gaps = if state.is_some() { Gaps::Refused } else { Gaps::Allowed };
        // No checksum covers a base offset: one that lies beyond what the segment may have is damage, not a gap.
        let beyond = copy.base_offset.saturating_add(1 << 32);
        let end_offset = end.map_or(beyond, |end| end.end_offset.min(beyond));
        let mut chain = BatchChain::new(&*log, limit, here, gaps).ending_at(end_offset);
        let mut expected = Expected { entries: Vec::new(), end_position: 0 };
        let mut bad = None;
        while here.position < limit {
            let header = match chain.next(true) {
                Ok(header) => header,
                Err(WalkError::Io(source)) => return Err(at(&copy.path)(source)),
                Err(WalkError::Bad(reason)) => {
                    bad = Some(BadEnd { what: reason, incomplete: false });
                    break;
                }
                Err(WalkError::Incomplete(reason)) => {
                    bad = Some(BadEnd { what: reason, incomplete: true });
                    break;
                }
            };
            self.epoch(copy, role, here.position, header.partition_leader_epoch, &mut epoch);
            let last = expected.entries.last().map_or(0, |e: &Entry| e.position);
            if here.position >= last + INTERVAL {
                expected.entries.push(Entry { offset: header.base_offset, ..here });
            }
            self.summary.batches += 1;
            let next = chain.at();
            if let Some(state) = state
                && here.position < state.synced_position
                && next.position >= state.synced_position
                && (next.position, next.offset) != (state.synced_position, state.synced_offset)
            {
                let what = format!(
                    "a batch ends here at byte {} and offset {}, where byte {} and offset {} were synced",
                    next.position, next.offset, state.synced_position, state.synced_offset
                );
                bad = Some(BadEnd { what, incomplete: false });
                break;
            }
            here = next;
        }
        expected.end_position = here.position;
        if bad.is_none() {
            let what = match (state, end) {
                (Some(state), _) if len < state.synced_position => {
                    Some(format!("the file ends here, but {} bytes were synced", state.synced_position))
                }
                (_, Some(end)) if (here.position, here.offset) != (end.bytes, end.end_offset) => {
                    Some(format!(
                        "it ends here at offset {}, but the segment was sealed at byte {} and offset {}",
                        here.offset, end.bytes, end.end_offset
                    ))
                }
                _ => None,
            };
            bad = what.map(|what| BadEnd { what, incomplete: false });
        }
        let mut cut = None;
        let good = bad.is_none();
        match (bad, state) {
            (Some(bad), Some(state)) => cut = self.bad_end(copy, state, &here, &*log, len, bad)?,
            (Some(bad), None) => self.bad_sealed(copy, &here, bad.what),
            (None, None) if len > limit && !self.live => self.too_long(copy, limit, len),
            (None, _) => {}
        }
        // An index leads past damage to what is intact behind it; one made anew would end there.
        if good || cut.is_some() {
            self.index(copy, state, &expected)?;
        }
        self.producers(copy)?;
        self.summary.copies += 1;
        self.summary.bytes += here.position;
        (self.report)(Progress::Copy { file: copy.path.clone(), bytes: len });
        Ok(Some(Checked { end_offset: here.offset, epoch, cut }))
    }

    /// Leader epochs never fall, and a segment that is still written has only that of its owner. No checksum covers them.
    fn epoch(&mut self, copy: &FoundCopy, role: Role, position: u64, found: i32, last: &mut Option<i32>) {
        let allowed = match role {
            Role::Open(state) => state.epoch.0..=state.epoch.0,
            Role::Sealed(Some((_, [first, last]))) => first.0..=last.0,
            Role::Sealed(None) | Role::Unwanted => i32::MIN..=i32::MAX,
        };
        let Some(what) = epoch_fault(found, allowed, last) else { return };
        self.find(Finding {
            severity: Severity::Damage,
            file: copy.path.clone(),
            position: Some(position),
            what,
            remedy: "the records are intact, but consumers are told a wrong epoch: bring the file back from another \
                     store or a backup"
                .into(),
            repaired: None,
        });
    }

    /// A copy of a sealed segment that is good up to `here` only.
    fn bad_sealed(&mut self, copy: &FoundCopy, here: &Entry, what: String) {
        let remedy = format!(
            "the segment is sealed, so nothing of it is cut: records from offset {} on have to come from another store's \
             copy, or from a backup of this file",
            here.offset
        );
        self.find(Finding {
            severity: Severity::Damage,
            file: copy.path.clone(),
            position: Some(here.position),
            what,
            remedy,
            repaired: None,
        });
    }

    /// A copy with bytes beyond the end of its sealed segment.
    fn too_long(&mut self, copy: &FoundCopy, end: u64, len: u64) {
        self.find(Finding {
            severity: Severity::Note,
            file: copy.path.clone(),
            position: Some(end),
            what: format!("{} bytes lie beyond the end of the sealed segment", len - end),
            remedy: "none: they were never acknowledged, and nobody reads them".into(),
            repaired: None,
        });
    }

    /// The log of an open segment that is good up to `here` only. Returns what a repair shall cut.
    fn bad_end(
        &mut self,
        copy: &FoundCopy,
        state: CopyState,
        here: &Entry,
        log: &dyn FsFile,
        len: u64,
        bad: BadEnd,
    ) -> Result<Option<Cut>, VerifyError> {
        let bytes = len - here.position;
        let below = here.position < state.synced_position;
        if self.live && !below {
            // The server may be in the middle of this very batch.
            return Ok(None);
        }
        // As recovery tells them apart: where a machine crash, or a write that failed, may have left anything; else a
        // process crash leaves a last batch that is not all there.
        let lenient = state.torn || state.sealed || !state.whole;
        let torn = !below
            && (lenient
                || bad.incomplete && !more_follows(log, here.position, len).map_err(at(&copy.path))?);
        let mut finding = Finding {
            severity: if torn { Severity::TornEnd } else { Severity::Damage },
            file: copy.path.clone(),
            position: Some(here.position),
            what: bad.what,
            remedy: String::new(),
            repaired: None,
        };
        finding.remedy = if torn {
            format!(
                "none: a crash leaves such an end, and the server cuts its {bytes} bytes at the next start"
            )
        } else if below {
            format!(
                "repair it from another store or a backup; or cut it with --repair --accept-loss: {bytes} bytes, records \
                 from offset {} on, go to orphans/, though records up to offset {} were safe on the disk once",
                here.offset, state.synced_offset
            )
        } else {
            format!(
                "repair it from another store, or cut it with --repair: {bytes} bytes, records from offset {} on, go to \
                 orphans/, and the chain will record a loss",
                here.offset
            )
        };
        if !self.repair || (below && !self.accept_loss) {
            self.find(finding);
            return Ok(None);
        }
        let position = here.position;
        Ok(Some(Cut { copy: copy.clone(), state, end_offset: here.offset, position, torn, finding }))
    }

    fn index(
        &mut self,
        copy: &FoundCopy,
        state: Option<CopyState>,
        expected: &Expected,
    ) -> Result<(), VerifyError> {
        let path = layout::part(self.root, &copy.segment, copy.base_offset, Part::Index);
        let of = IndexOf { segment: copy.segment.segment, base_offset: copy.base_offset };
        let wrong = match self.fs.open(&path, OpenMode::Read) {
            Ok(file) => wrong_entry(&*file, &of, expected).map_err(at(&path))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Some((0, format!("{} entries are missing", expected.entries.len())))
                    .filter(|_| !expected.entries.is_empty())
            }
            Err(e) => return Err(at(&path)(e)),
        };
        let Some((position, what)) = wrong else { return Ok(()) };
        // The newest entries of a copy that is written to are in memory.
        if what.ends_with("missing") && (state.is_some() || self.live) {
            return Ok(());
        }
        let repaired = match self.repair {
            true => Some(repair::write_index(self.fs, &path, &of, &expected.entries)?),
            false => None,
        };
        self.find(Finding {
            severity: Severity::Note,
            file: path,
            position: Some(position),
            what,
            remedy: "none is needed: the server rebuilds it when it looks there; --repair does so now".into(),
            repaired,
        });
        Ok(())
    }

    fn producers(&mut self, copy: &FoundCopy) -> Result<(), VerifyError> {
        let path: PathBuf = layout::part(self.root, &copy.segment, copy.base_offset, Part::Producers);
        let file = match self.fs.open(&path, OpenMode::Read) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(at(&path))?,
        };
        let (frames, end) = producers::frames(&*file).map_err(at(&path))?;
        let mut damaged = Vec::new();
        for frame in &frames {
            if producers::payload(&*file, frame).map_err(at(&path))?.is_none() {
                let what =
                    format!("the checkpoint as of offset {} does not match its checksum", frame.end_offset);
                damaged.push((frame.position, what));
            }
        }
        if file.len().map_err(at(&path))? > end && !self.live {
            damaged.push((end, "the bytes at its end are no checkpoint".to_owned()));
        }
        for (position, what) in damaged {
            self.find(Finding {
                severity: Severity::Note,
                file: path.clone(),
                position: Some(position),
                what,
                remedy:
                    "an older checkpoint and the batches after it say the same, as far as they are there; \
                         otherwise idempotent producers that were idle start anew"
                        .into(),
                repaired: None,
            });
        }
        Ok(())
    }
}

/// The first entry that differs from what the log says, in words. Entries beyond the part of the log that could be walked
/// are not looked at.
fn wrong_entry(
    file: &dyn FsFile,
    of: &IndexOf,
    expected: &Expected,
) -> std::io::Result<Option<(u64, String)>> {
    let len = file.len()?;
    let count = len / ENTRY_LEN;
    for number in 0..count {
        let mut bytes = [0; ENTRY_LEN as usize];
        read_exact_at(file, &mut bytes, number * ENTRY_LEN)?;
        let position = number * ENTRY_LEN;
        let Some(entry) = of.decode(number, &bytes) else {
            return Ok(Some((position, format!("entry {number} does not match its checksum"))));
        };
        match expected.entries.get(number as usize) {
            Some(right) if *right == entry => {}
            None if entry.position >= expected.end_position => break,
            _ => return Ok(Some((position, format!("entry {number} does not agree with the log")))),
        }
    }
    let missing = (expected.entries.len() as u64).saturating_sub(count);
    Ok((missing > 0).then(|| (len, format!("{missing} entries at its end are missing"))))
}
