//! Checking one copy: its log, then its index and checkpoints against it.

use std::path::PathBuf;

use super::{Finding, Progress, Severity, Verify, VerifyError, at, repair};
use crate::fs::{FsFile, OpenMode, read_exact_at};
use crate::index::{ENTRY_LEN, Entry, INTERVAL, IndexOf, NO_TIMESTAMP};
use crate::journal::record::CopyState;
use crate::layout::{self, Part};
use crate::producers;
use crate::store::FoundCopy;
use crate::walk::{Walk, WalkError, check_crc};

/// The bad end of a copy, to be cut.
pub(super) struct Cut {
    pub(super) copy: FoundCopy,
    pub(super) state: CopyState,
    /// Where the good part ends.
    pub(super) end_offset: i64,
    pub(super) position: u64,
    /// What was found.
    pub(super) finding: Finding,
}

/// The log of a copy.
pub(super) struct Checked {
    /// Where its good part ends, exclusive.
    pub(super) end_offset: i64,
    pub(super) cut: Option<Cut>,
}

/// What the log says should be in the index.
struct Expected {
    entries: Vec<Entry>,
    /// Bytes that could be walked.
    end_position: u64,
}

impl Verify<'_> {
    /// Checks a copy. `state` is what the journal knows of it: nothing once its segment is sealed in the chain.
    pub(super) fn copy(
        &mut self,
        copy: &FoundCopy,
        state: Option<CopyState>,
    ) -> Result<Checked, VerifyError> {
        let log = self.fs.open(&copy.path, OpenMode::Read).map_err(at(&copy.path))?;
        let len = log.len().map_err(at(&copy.path))?;
        let mut walk = Walk::new(&*log, len);
        let mut scratch = Vec::new();
        let mut here = Entry { offset: copy.base_offset, position: 0, max_before: NO_TIMESTAMP };
        let mut expected = Expected { entries: Vec::new(), end_position: 0 };
        let mut bad = None;
        while here.position < len {
            let result = walk.header_at(here.position).and_then(|header| {
                check_crc(&*log, here.position, &header, &mut scratch)?;
                Ok(header)
            });
            let header = match result {
                Ok(header) => header,
                Err(WalkError::Io(source)) => return Err(at(&copy.path)(source)),
                Err(WalkError::Bad(reason) | WalkError::Incomplete(reason)) => {
                    bad = Some(reason);
                    break;
                }
            };
            // Compaction leaves gaps in sealed segments, never in one that is still written.
            let fits = match state {
                Some(_) => header.base_offset == here.offset,
                None => header.base_offset >= here.offset,
            };
            if !fits {
                bad = Some(format!(
                    "a batch starts at offset {}, expected {}",
                    header.base_offset, here.offset
                ));
                break;
            }
            let last = expected.entries.last().map_or(0, |e: &Entry| e.position);
            if here.position >= last + INTERVAL {
                expected.entries.push(Entry { offset: header.base_offset, ..here });
            }
            self.summary.batches += 1;
            here = Entry {
                offset: header.next_offset(),
                position: here.position + header.total_len() as u64,
                max_before: here.max_before.max(header.max_timestamp),
            };
        }
        expected.end_position = here.position;
        let short = state.filter(|s| bad.is_none() && len < s.synced_position);
        if let Some(state) = short {
            bad = Some(format!("the file ends here, but {} bytes were synced", state.synced_position));
        }
        let mut cut = None;
        if let Some(what) = bad {
            cut = self.bad_end(copy, state, &here, len, what);
        }
        self.index(copy, state, &expected)?;
        self.producers(copy, state)?;
        self.summary.copies += 1;
        self.summary.bytes += here.position;
        (self.report)(Progress::Copy { file: copy.path.clone(), bytes: len });
        Ok(Checked { end_offset: here.offset, cut })
    }

    /// A log that is good up to `here` only. Returns what a repair shall cut.
    fn bad_end(
        &mut self,
        copy: &FoundCopy,
        state: Option<CopyState>,
        here: &Entry,
        len: u64,
        what: String,
    ) -> Option<Cut> {
        let bytes = len - here.position;
        let mut finding = Finding {
            severity: Severity::Damage,
            file: copy.path.clone(),
            position: Some(here.position),
            what,
            remedy: String::new(),
            repaired: None,
        };
        let Some(state) = state else {
            finding.remedy = format!(
                "the segment is sealed: records from offset {} on have to come from another store's copy, or from a \
                 backup of this file",
                here.offset
            );
            self.find(finding);
            return None;
        };
        if self.live && here.position >= state.synced_position {
            // The server may be in the middle of this very batch.
            return None;
        }
        let torn = here.position >= state.synced_position && (state.torn || state.sealed || !state.whole);
        if torn {
            finding.severity = Severity::Note;
            finding.remedy =
                "none: a machine crash leaves it, and the server cuts it at its next recovery".into();
        } else {
            finding.remedy = format!(
                "repair it from another store, or cut it with --repair: {bytes} bytes from offset {} on go to orphans/, \
                 and the chain will record a loss",
                here.offset
            );
        }
        if !self.repair {
            self.find(finding);
            return None;
        }
        Some(Cut { copy: copy.clone(), state, end_offset: here.offset, position: here.position, finding })
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

    fn producers(&mut self, copy: &FoundCopy, state: Option<CopyState>) -> Result<(), VerifyError> {
        let path: PathBuf = layout::part(self.root, &copy.segment, copy.base_offset, Part::Producers);
        let file = match self.fs.open(&path, OpenMode::Read) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(at(&path))?,
        };
        let (frames, end) = producers::frames(&*file).map_err(at(&path))?;
        let mut damaged = Vec::new();
        for frame in &frames {
            if producers::payload(&*file, frame).map_err(at(&path))?.is_none() {
                damaged.push(format!(
                    "the checkpoint as of offset {} does not match its checksum",
                    frame.end_offset
                ));
            }
        }
        if file.len().map_err(at(&path))? > end && !self.live {
            damaged.push("the bytes at its end are no checkpoint".to_owned());
        }
        for what in damaged {
            self.find(Finding {
                severity: if state.is_some() { Severity::Note } else { Severity::Damage },
                file: path.clone(),
                position: None,
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
