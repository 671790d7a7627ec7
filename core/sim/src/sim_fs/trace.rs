//! What was asked of the disk, for failures: the last operations in words, and one number over all of them.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Operations kept in words.
const KEPT: usize = 2000;

/// A kind of operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// A file was created.
    Create,
    /// A folder was created.
    CreateDir,
    /// An entry was renamed; the path is the new one.
    Rename,
    /// An entry was removed.
    Remove,
    /// Bytes were written.
    Write,
    /// A file was cut or extended; the position is its new length.
    SetLen,
    /// A file was synced.
    Sync,
    /// A folder was synced.
    SyncDir,
    /// Everything was synced.
    SyncEverything,
    /// A read failed.
    Read,
    /// The process died; what it had written stays.
    ProcessCrash,
    /// The power was cut; the position is the number of the boot that follows.
    PowerCut,
    /// A bit changed by itself.
    BitFlip,
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// Counted from 0 over all events.
    pub number: u64,
    /// What was asked.
    pub op: Op,
    /// Of which file or folder.
    pub path: PathBuf,
    /// Where in the file.
    pub position: u64,
    /// How many bytes.
    pub len: u64,
    /// False when the plan stopped it, or a fault hit it.
    pub done: bool,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { number, op, path, position, len, done } = self;
        write!(f, "{number:6} {op:?} {} @{position}+{len}", path.display())?;
        if *done { Ok(()) } else { write!(f, " (not done)") }
    }
}

#[derive(Debug, Default)]
pub(super) struct Trace {
    kept: VecDeque<Event>,
    count: u64,
    digest: u64,
}

impl Trace {
    pub(super) fn note(&mut self, op: Op, path: &Path, position: u64, len: u64, done: bool) {
        let event = Event { number: self.count, op, path: path.to_owned(), position, len, done };
        self.count += 1;
        let mut hasher = DefaultHasher::new();
        (self.digest, &event).hash(&mut hasher);
        self.digest = hasher.finish();
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(event);
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.kept.iter().cloned().collect()
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }
}
