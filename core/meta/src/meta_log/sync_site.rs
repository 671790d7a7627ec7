//! Every place where the metadata log asks for durability, by name.

use std::io;
use std::path::Path;
use std::sync::Arc;

use buslane_log::fs::{Fs, FsFile};

/// A call site of a sync and the crash it survives. The simulation skips one at a time and must lose something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum MetaSyncSite {
    /// A frame before any of its records is answered. Without it: an answered command, or a vote, is gone after a power
    /// cut.
    Append,
    /// The log's bytes at the opening. Without it: a run that was killed between its write and its sync left records that
    /// the next run reads, builds upon and answers from; a power cut then takes them back.
    Opened,
    /// The folder's entries at the opening. Without it: a run that was killed between a rename and its sync left a log
    /// that the next run appends to; after a power cut the old one is back.
    OpenedFolder,
    /// The data folder's entry of `meta/`. Without it: the whole metadata is gone after a power cut.
    MetaFolder,
    /// A rewritten log's bytes before it takes the old one's place. Without it: an empty log takes it.
    RewriteData,
    /// The folder's entry of a rewritten log before anything is appended to it. Without it: the old log is back, and what
    /// was answered since is gone.
    RewriteEntry,
    /// A snapshot's bytes before it takes the old one's place. Without it: an empty snapshot stands for the entries that
    /// are purged next.
    SnapshotData,
    /// The folder's entry of a snapshot before entries are purged. Without it: the old snapshot is back and the entries
    /// after it are gone.
    SnapshotEntry,
}

impl MetaSyncSite {
    /// All sites, for tests that take each one away.
    pub const ALL: [MetaSyncSite; 8] = [
        MetaSyncSite::Append,
        MetaSyncSite::Opened,
        MetaSyncSite::OpenedFolder,
        MetaSyncSite::MetaFolder,
        MetaSyncSite::RewriteData,
        MetaSyncSite::RewriteEntry,
        MetaSyncSite::SnapshotData,
        MetaSyncSite::SnapshotEntry,
    ];
}

/// The file system together with the one sync that a test took away.
#[derive(Clone, Debug)]
pub(super) struct Syncs {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) skip: Option<MetaSyncSite>,
}

impl Syncs {
    pub(super) fn file(&self, site: MetaSyncSite, file: &dyn FsFile) -> io::Result<()> {
        if self.skip == Some(site) { Ok(()) } else { file.sync_data() }
    }

    pub(super) fn dir(&self, site: MetaSyncSite, path: &Path) -> io::Result<()> {
        if self.skip == Some(site) { Ok(()) } else { self.fs.sync_dir(path) }
    }
}
