//! Checking what is not a copy: whose folder it is, the journal, the names.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use buslane_wire::ids::SegmentRef;

use super::{Finding, Severity, Verify, VerifyError, at, repair};
use crate::data_dir::DataDirError;
use crate::journal::record::{CopyState, Record};
use crate::journal::{JournalError, replay};
use crate::layout::{self, Part};
use crate::offline::Offline;
use crate::store::FoundCopy;

impl Offline {
    pub(super) fn verify_identity(&self, verify: &mut Verify<'_>) -> Result<(), VerifyError> {
        let file = self.root.join(layout::IDENTITY);
        let what = match self.identity() {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => "it is missing".to_owned(),
            Err(e @ DataDirError::Io { .. }) => return Err(e.into()),
            // Nobody repairs what he does not know.
            Err(e) if verify.repair => return Err(e.into()),
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

    /// What the journal knows of unsealed copies, as a server that started now would take it.
    pub(super) fn verify_journal(
        &self,
        boot_id: &str,
        verify: &mut Verify<'_>,
    ) -> Result<BTreeMap<SegmentRef, CopyState>, VerifyError> {
        let file = self.root.join(layout::JOURNAL);
        // A running server may be in the middle of a frame.
        let started_on = (!verify.live).then_some(boot_id);
        match replay(&*self.fs, &self.root, started_on) {
            Ok(mut replayed) => {
                if !verify.live {
                    let incarnation = replayed.state.incarnation + 1;
                    replayed.state.apply(&Record::Start { incarnation, boot_id: boot_id.to_owned() });
                }
                if let Some(cut) = replayed.cut.filter(|_| !verify.live) {
                    verify.find(Finding {
                        severity: Severity::TornEnd,
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
            // Without it nobody knows what was synced: what is damage would look like a torn end.
            Err(e) if verify.repair => Err(e.into()),
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
    /// Files that are no part of a copy.
    pub(super) fn names(&mut self, copies: &[FoundCopy]) -> Result<(), VerifyError> {
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
