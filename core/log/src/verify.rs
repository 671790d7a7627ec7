//! Checking a data folder offline: every batch, every index entry, every checkpoint, the names, the journal.
//!
//! A finding names the file, the place, what is wrong and what to do. With [`VerifyOptions::repair`] the bad end of a copy
//! that is not sealed is cut off (and kept aside in `orphans/`), indexes are rebuilt, and what belongs to no log goes to
//! `orphans/`. What lies below a recovery point was synced, so it is cut only with [`VerifyOptions::accept_loss`]. Nothing
//! else is changed: a sealed segment is what the chain says it is, so damage in one is repaired from another copy, not by
//! cutting. What counts as a torn end is what recovery takes for one (`segment/recover.rs`).

mod chain;
mod copy;
mod folder;
mod repair;

use std::io;
use std::path::{Path, PathBuf};

use buslane_wire::ids::{SegmentRef, TopicId};
use serde::Serialize;

use crate::data_dir::DataDirError;
use crate::fs::{Fs, OpenMode};
use crate::journal::JournalError;
use crate::offline::{Access, Offline};
use crate::store::FoundCopy;
use chain::Role;
pub use chain::{Chain, ChainSegment, SealedEnd};

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Repair what can be. Needs [`Access::Exclusive`].
    pub repair: bool,
    /// With `repair`: cut copies of open segments even below their recovery point, where everything was synced.
    pub accept_loss: bool,
    /// What the metadata says. Without it the journal tells which copies are sealed, and what is missing stays unknown.
    pub chain: Option<Chain>,
    /// Only this topic's copies.
    pub topic: Option<TopicId>,
    /// Only this partition of the topics checked.
    pub partition: Option<i32>,
    /// Only this segment of the partitions checked.
    pub segment: Option<u64>,
}

impl VerifyOptions {
    fn takes(&self, segment: &SegmentRef) -> bool {
        self.topic.is_none_or(|t| t == segment.partition.topic)
            && self.partition.is_none_or(|p| p == segment.partition.partition)
            && self.segment.is_none_or(|s| s == segment.segment.0)
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is lost, and the server mends it by itself or passes it over.
    Note,
    /// The end of a file is torn, as a crash leaves it: the server cuts it. Nothing acknowledged is in it, or the loss is
    /// one that the file's durability does not exclude, and is recorded.
    TornEnd,
    /// Something is not what was written, cannot be read, or is refused by the server.
    Damage,
}

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub file: PathBuf,
    /// Where in the file, in bytes.
    pub position: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// What was done about it.
    pub repaired: Option<String>,
}

/// Reported while checking.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// This many copies with this many bytes will be checked.
    Total {
        /// Copies.
        copies: usize,
        /// Bytes of their logs.
        bytes: u64,
    },
    /// A copy was checked.
    Copy {
        /// Its log.
        file: PathBuf,
        /// Bytes of it.
        bytes: u64,
    },
    /// Something was found.
    Finding(Finding),
}

/// What was checked and found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct VerifySummary {
    /// Copies checked.
    pub copies: usize,
    /// Batches in them.
    pub batches: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Findings that are notes.
    pub notes: usize,
    /// Findings that are torn ends.
    pub torn_ends: usize,
    /// Findings that are damage.
    pub damage: usize,
    /// Of the damage, repaired.
    pub repaired: usize,
}

impl VerifySummary {
    /// True when damage is left: the exit code of the command.
    pub fn is_damaged(&self) -> bool {
        self.damage > self.repaired
    }
}

/// Why checking stopped.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Repairing needs the folder's lock.
    #[error(
        "{dir}: repairing needs the folder to itself: stop the server, and leave out the read-only option"
    )]
    ReadOnly {
        /// The folder.
        dir: String,
    },
    /// The folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The journal cannot be used, and a repair needs it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The disk failed.
    #[error("{file}: {source}")]
    Io {
        /// The file or folder.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Puts the file's name to an error of the disk.
fn at(file: &Path) -> impl Fn(io::Error) -> VerifyError + use<> {
    let file = file.display().to_string();
    move |source| VerifyError::Io { file: file.clone(), source }
}

/// One check of a folder.
struct Verify<'a> {
    fs: &'a dyn Fs,
    root: &'a Path,
    repair: bool,
    accept_loss: bool,
    /// The server may be writing meanwhile.
    live: bool,
    summary: VerifySummary,
    report: &'a mut dyn FnMut(Progress),
}

impl Verify<'_> {
    fn find(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Note => self.summary.notes += 1,
            Severity::TornEnd => self.summary.torn_ends += 1,
            Severity::Damage => {
                self.summary.damage += 1;
                self.summary.repaired += usize::from(finding.repaired.is_some());
            }
        }
        (self.report)(Progress::Finding(finding));
    }
}

impl Offline {
    /// Checks the folder, or the copies that the options name. `boot_id` is the machine's ([`crate::disk::boot_id`]): a
    /// repair is a run of the store, with an incarnation of its own.
    pub fn verify(
        &self,
        options: &VerifyOptions,
        boot_id: &str,
        report: &mut dyn FnMut(Progress),
    ) -> Result<VerifySummary, VerifyError> {
        let live = self.access == Access::ReadOnly;
        if options.repair && live {
            return Err(VerifyError::ReadOnly { dir: self.root.display().to_string() });
        }
        let mut verify = Verify {
            fs: &*self.fs,
            root: &self.root,
            repair: options.repair,
            accept_loss: options.repair && options.accept_loss,
            live,
            summary: VerifySummary::default(),
            report,
        };
        let everything = options.topic.is_none() && options.partition.is_none() && options.segment.is_none();
        if everything || verify.repair {
            self.verify_identity(&mut verify)?;
        }
        let journal = self.verify_journal(boot_id, &mut verify)?;
        let mut copies = self.copies().map_err(at(&self.root))?;
        if everything {
            verify.names(&copies)?;
        }
        copies.retain(|copy| options.takes(&copy.segment));
        let mut cuts = Vec::new();
        if let Some(chain) = &options.chain {
            let wanted = chain.iter().filter(|(segment, _)| options.takes(segment)).map(|(s, k)| (*s, *k));
            cuts = verify.missing(&wanted.collect(), &copies, &journal)?;
        }
        let mut bytes = 0;
        for copy in &copies {
            match self.fs.open(&copy.path, OpenMode::Read).and_then(|file| file.len()) {
                Ok(len) => bytes += len,
                Err(e) if live && e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(at(&copy.path)(e)),
            }
        }
        (verify.report)(Progress::Total { copies: copies.len(), bytes });
        let mut before: Option<Before> = None;
        for copy in copies {
            let state = journal.get(&copy.segment).copied();
            let role = chain::role(options.chain.as_ref(), state, &copy, live);
            if role == Role::Unwanted {
                verify.unwanted(&copy);
                continue;
            }
            let last = before.take().filter(|b| b.copy.segment.partition == copy.segment.partition);
            let Some(checked) = verify.copy(&copy, role, last.as_ref().and_then(|b| b.epoch))? else {
                continue;
            };
            cuts.extend(checked.cut);
            // With a chain its sealed ends say the same, and better.
            if let Some(last) = last.filter(|_| options.chain.is_none()) {
                verify.neighbours(&last, &copy);
            }
            before = Some(Before { copy, end_offset: checked.end_offset, epoch: checked.epoch });
        }
        if !cuts.is_empty() {
            let findings = repair::cut(&self.fs, &self.root, boot_id, cuts)?;
            findings.into_iter().for_each(|finding| verify.find(finding));
        }
        Ok(verify.summary)
    }
}

/// The copy before, of the same partition.
struct Before {
    copy: FoundCopy,
    end_offset: i64,
    /// Of its last batch.
    epoch: Option<i32>,
}

impl Verify<'_> {
    /// Copies of one partition, one after the other.
    fn neighbours(&mut self, last: &Before, next: &FoundCopy) {
        if last.end_offset == next.base_offset || self.live {
            return;
        }
        let end = last.end_offset;
        let what = if end < next.base_offset {
            format!("it ends at offset {end}, and the next copy here starts at {}", next.base_offset)
        } else {
            format!("it ends at offset {end}, above the next copy's start at {}", next.base_offset)
        };
        self.find(Finding {
            severity: Severity::Note,
            file: last.copy.path.clone(),
            position: None,
            what,
            remedy: "none, if the segments between were compacted, removed or are on other stores; a copy that is \
                     longer than its sealed segment is cut by the server"
                .into(),
            repaired: None,
        });
    }
}

#[cfg(test)]
mod tests;
