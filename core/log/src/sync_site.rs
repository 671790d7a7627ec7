//! Every place where this crate asks for durability, by name.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::{Fs, FsFile};
use crate::layout;

/// A call site of a sync and the power cut it survives. The simulation skips one at a time and must lose something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum SyncSite {
    /// Parents of a new data folder. Without it: the whole folder is gone.
    DataDirParent,
    /// Content of a new `buslane.json`, before its rename. Without it: the file is there and empty.
    DataDirFile,
    /// Entry of a new `buslane.json`. Without it: a folder with data but no identity.
    DataDirEntry,
    /// Content of a rewritten journal, before its rename. Without it: an empty journal takes the old one's place.
    JournalRewriteFile,
    /// Entry of a rewritten journal (at each start: incarnation, wholeness, and the clean-stop marker's removal).
    /// Without it: the old journal is back; later commits went to the new file and are gone with it.
    JournalRewriteEntry,
    /// A promise, before it is answered. Without it: a lower epoch is accepted again (FenceBeforeRead).
    JournalPromise,
    /// A new `synced` copy's record, before it is answered. Without it: the store does not know the copy after the cut,
    /// and has to call it not whole.
    JournalSyncedCopy,
    /// A lost wholeness, before anything else is answered. Without it: the copy calls itself whole (WholeIsSticky).
    JournalNotWhole,
    /// The clean-stop marker. Without it: a cut right after a clean stop counts as a machine crash.
    JournalCleanStop,
    /// All data before the clean-stop marker. Without it: the marker vouches for bytes that are gone.
    CleanStopEverything,
    /// A segment's bytes before a `synced` append is confirmed. Without it: an acknowledged record is gone.
    AppendData,
    /// A segment's bytes in the background. Without it: more than about the last second is gone.
    BackgroundData,
    /// Many segments' bytes in the background at once. Without it: as above.
    BackgroundEverything,
    /// A segment's bytes at its seal. Without it: the chain counts a copy that is gone (SealedIsSynced).
    SealData,
    /// A producer checkpoint. Without it: sequences are forgotten, and a retry is stored twice.
    ProducersData,
    /// A segment's files in their partition's folder. Without it: the whole copy is gone.
    SegmentEntry,
    /// A partition's folder in its topic's folder. Without it: all the partition's copies are gone.
    PartitionEntry,
    /// A topic's folder in `log`. Without it: all the topic's copies are gone.
    TopicEntry,
}

impl SyncSite {
    /// All sites, for tests that take each one away.
    pub const ALL: [SyncSite; 18] = [
        SyncSite::DataDirParent,
        SyncSite::DataDirFile,
        SyncSite::DataDirEntry,
        SyncSite::JournalRewriteFile,
        SyncSite::JournalRewriteEntry,
        SyncSite::JournalPromise,
        SyncSite::JournalSyncedCopy,
        SyncSite::JournalNotWhole,
        SyncSite::JournalCleanStop,
        SyncSite::CleanStopEverything,
        SyncSite::AppendData,
        SyncSite::BackgroundData,
        SyncSite::BackgroundEverything,
        SyncSite::SealData,
        SyncSite::ProducersData,
        SyncSite::SegmentEntry,
        SyncSite::PartitionEntry,
        SyncSite::TopicEntry,
    ];
}

/// The file system together with the one sync that a test took away.
#[derive(Clone, Debug)]
pub(crate) struct Syncs {
    pub(crate) fs: Arc<dyn Fs>,
    /// The data folder.
    pub(crate) root: PathBuf,
    pub(crate) skip: Option<SyncSite>,
    /// [`Fs::hold`] of the data folder.
    held: Option<Arc<File>>,
}

impl Syncs {
    pub(crate) fn new(fs: Arc<dyn Fs>, root: &Path, skip: Option<SyncSite>) -> Syncs {
        Syncs { fs, root: root.to_owned(), skip, held: None }
    }

    /// Misses no write-back error from now on.
    ///
    /// # Errors
    /// When `log` lies on another file system than the data folder: a sync of everything is one of one file system.
    pub(crate) fn hold(&mut self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let (root, log) = (self.fs.hold(&self.root)?, self.fs.hold(&layout::log_dir(&self.root))?);
        if let (Some(root), Some(log)) = (&root, &log)
            && root.metadata()?.dev() != log.metadata()?.dev()
        {
            return Err(io::Error::new(
                io::ErrorKind::CrossesDevices,
                "its folder `log` lies on another file system; put the whole data folder there instead",
            ));
        }
        self.held = root.map(Arc::new);
        Ok(())
    }

    /// Makes a file's bytes durable.
    pub(crate) fn file(&self, site: SyncSite, file: &dyn FsFile) -> io::Result<()> {
        if self.skip == Some(site) { Ok(()) } else { file.sync_data() }
    }

    /// Makes a folder's entries durable.
    pub(crate) fn dir(&self, site: SyncSite, path: &Path) -> io::Result<()> {
        if self.skip == Some(site) { Ok(()) } else { self.fs.sync_dir(path) }
    }

    /// Makes everything under the data folder durable.
    pub(crate) fn everything(&self, site: SyncSite) -> io::Result<()> {
        match &self.held {
            _ if self.skip == Some(site) => Ok(()),
            Some(held) => Ok(rustix::fs::syncfs(held)?),
            None => self.fs.sync_everything(&self.root),
        }
    }
}
