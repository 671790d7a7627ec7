//! Checking a data folder offline: every batch, every index entry, every checkpoint, the names, the journal.
//!
//! A finding names the file, the place, what is wrong and what to do. With [`VerifyOptions::repair`] the bad end of a copy
//! that is not sealed is cut off (and kept aside in `orphans/`), indexes are rebuilt, and what belongs to no log goes to
//! `orphans/`. Nothing else is changed: a sealed segment is what the chain says it is, so damage in one is repaired from
//! another copy, not by cutting.

mod copy;
mod repair;

use std::io;
use std::path::{Path, PathBuf};

use buslane_wire::ids::{SegmentRef, TopicId};
use serde::Serialize;

use crate::data_dir::DataDirError;
use crate::fs::Fs;
use crate::journal::record::CopyState;
use crate::journal::{JournalError, replay};
use crate::layout::{self, Part};
use crate::offline::{Access, Offline};
use crate::store::FoundCopy;

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Repair what can be. Needs [`Access::Exclusive`].
    pub repair: bool,
    /// Only this topic's copies.
    pub topic: Option<TopicId>,
    /// Only this partition of the topics checked.
    pub partition: Option<i32>,
    /// Only this segment of the partitions checked.
    pub segment: Option<u64>,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is lost: a crash leaves it, or the server mends it by itself.
    Note,
    /// Something cannot be read, or the server refuses it.
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
    /// Findings that are damage.
    pub damage: usize,
    /// Of these, repaired.
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
    /// The server may be writing meanwhile.
    live: bool,
    summary: VerifySummary,
    report: &'a mut dyn FnMut(Progress),
}

impl Verify<'_> {
    fn find(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Note => self.summary.notes += 1,
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
            live,
            summary: VerifySummary::default(),
            report,
        };
        let everything = options.topic.is_none() && options.partition.is_none() && options.segment.is_none();
        if everything {
            self.verify_identity(&mut verify)?;
        }
        let journal = self.verify_journal(&mut verify)?;
        let mut copies = self.copies().map_err(at(&self.root))?;
        if everything {
            verify.names(&copies)?;
        }
        copies.retain(|copy| {
            options.topic.is_none_or(|t| t == copy.segment.partition.topic)
                && options.partition.is_none_or(|p| p == copy.segment.partition.partition)
                && options.segment.is_none_or(|s| s == copy.segment.segment.0)
        });
        let mut bytes = 0;
        for copy in &copies {
            let file = self.fs.open(&copy.path, crate::fs::OpenMode::Read).map_err(at(&copy.path))?;
            bytes += file.len().map_err(at(&copy.path))?;
        }
        (verify.report)(Progress::Total { copies: copies.len(), bytes });
        let mut cuts = Vec::new();
        let mut before: Option<(FoundCopy, i64)> = None;
        for copy in copies {
            let state = journal.get(&copy.segment).copied();
            let checked = verify.copy(&copy, state)?;
            cuts.extend(checked.cut);
            if let Some((last, end)) = before.take() {
                verify.neighbours(&last, end, &copy);
            }
            before = Some((copy, checked.end_offset));
        }
        if !cuts.is_empty() {
            let findings = repair::cut(&self.fs, &self.root, boot_id, cuts)?;
            findings.into_iter().for_each(|finding| verify.find(finding));
        }
        Ok(verify.summary)
    }

    fn verify_identity(&self, verify: &mut Verify<'_>) -> Result<(), VerifyError> {
        let file = self.root.join(layout::IDENTITY);
        let what = match self.identity() {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => "it is missing".to_owned(),
            Err(e @ DataDirError::Io { .. }) => return Err(e.into()),
            Err(e) => e.to_string(),
        };
        verify.find(Finding {
            severity: Severity::Damage,
            file,
            position: None,
            what,
            remedy: "bring it back from a copy of the folder; the server does not start without it".into(),
            repaired: None,
        });
        Ok(())
    }

    /// What the journal knows of unsealed copies.
    fn verify_journal(
        &self,
        verify: &mut Verify<'_>,
    ) -> Result<std::collections::BTreeMap<SegmentRef, CopyState>, VerifyError> {
        let file = self.root.join(layout::JOURNAL);
        match replay(&*self.fs, &self.root, None) {
            Ok(replayed) => {
                if let Some(cut) = replayed.cut.filter(|_| !verify.live) {
                    verify.find(Finding {
                        severity: Severity::Note,
                        file,
                        position: Some(cut.position),
                        what: format!("the last {} bytes are torn, as a crash leaves it", cut.bytes),
                        remedy: "none: the server drops them at its next start".into(),
                        repaired: None,
                    });
                }
                Ok(replayed.state.copies)
            }
            Err(JournalError::Io { file, source }) => Err(VerifyError::Io { file, source }),
            Err(e) => {
                let position = match &e {
                    JournalError::Corrupt { position, .. } => Some(*position),
                    _ => None,
                };
                verify.find(Finding {
                    severity: Severity::Damage,
                    file,
                    position,
                    what: e.to_string(),
                    remedy: "bring it back from a copy of the folder; the server does not start with it"
                        .into(),
                    repaired: None,
                });
                Ok(Default::default())
            }
        }
    }
}

impl Verify<'_> {
    /// Copies of one partition, one after the other.
    fn neighbours(&mut self, last: &FoundCopy, end_offset: i64, next: &FoundCopy) {
        if last.segment.partition != next.segment.partition || self.live {
            return;
        }
        let (severity, what) = match end_offset.cmp(&next.base_offset) {
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Less => (
                Severity::Note,
                format!(
                    "it ends at offset {end_offset}, and the next copy here starts at {}",
                    next.base_offset
                ),
            ),
            std::cmp::Ordering::Greater => (
                Severity::Note,
                format!(
                    "it ends at offset {end_offset}, above the next copy's start at {}",
                    next.base_offset
                ),
            ),
        };
        self.find(Finding {
            severity,
            file: last.path.clone(),
            position: None,
            what,
            remedy: "none, if the segments between were compacted, removed or are on other stores; a copy that is \
                     longer than its sealed segment is cut by the server"
                .into(),
            repaired: None,
        });
    }

    /// Files that are no part of a copy.
    fn names(&mut self, copies: &[FoundCopy]) -> Result<(), VerifyError> {
        let log = layout::log_dir(self.root);
        let topics = match self.fs.read_dir(&log) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(at(&log))?,
        };
        for topic in topics {
            let topic_dir = log.join(&topic.name);
            if !topic.is_dir || layout::parse_topic(&topic.name).is_none() {
                self.stranger(&topic_dir, "it is no topic's folder");
                continue;
            }
            for partition in self.fs.read_dir(&topic_dir).map_err(at(&topic_dir))? {
                let partition_dir = topic_dir.join(&partition.name);
                if !partition.is_dir || layout::parse_partition(&partition.name).is_none() {
                    self.stranger(&partition_dir, "it is no partition's folder");
                    continue;
                }
                for file in self.fs.read_dir(&partition_dir).map_err(at(&partition_dir))? {
                    self.file_name(&partition_dir, &file.name, copies)?;
                }
            }
        }
        Ok(())
    }

    fn file_name(&mut self, folder: &Path, name: &str, copies: &[FoundCopy]) -> Result<(), VerifyError> {
        let path = folder.join(name);
        match layout::parse_file_name(name) {
            None => self.stranger(&path, "it is no segment's file"),
            Some((_, _, Part::Log)) => {}
            Some((_, _, part)) => {
                let log = path.with_extension(Part::Log.extension());
                if self.live || copies.iter().any(|c| c.path == log) {
                    return Ok(());
                }
                let repaired = match self.repair {
                    true => Some(repair::set_aside(self.fs, self.root, &path)?),
                    false => None,
                };
                self.find(Finding {
                    severity: Severity::Note,
                    file: path,
                    position: None,
                    what: format!("a .{} file without its log", part.extension()),
                    remedy: "none is needed; with --repair it goes to orphans/".into(),
                    repaired,
                });
            }
        }
        Ok(())
    }

    fn stranger(&mut self, path: &Path, what: &str) {
        self.find(Finding {
            severity: Severity::Note,
            file: path.to_owned(),
            position: None,
            what: format!("{what}; the server passes it over"),
            remedy: "move it out of the data folder".into(),
            repaired: None,
        });
    }
}

#[cfg(test)]
mod tests;
