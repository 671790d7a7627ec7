//! The durable log of commands and its snapshots, in `<data>/meta/`. Synchronous; no thread, no clock.
//!
//! ```text
//! log:      frame*       frame = length u32 | crc32c u32 (of index and payload) | index u64 | payload
//! snapshot: one frame    payload = the image as of `index`
//! ```
//! A snapshot replaces the entries up to its index. The log is emptied after the snapshot is durable; entries at or
//! below the snapshot's index that are still there after a crash are skipped.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buslane_log::fs::{Fs, FsFile, OpenMode, read_exact_at};

/// Bytes before a frame's payload.
const FRAME_HEAD: usize = 4 + 4 + 8;

/// Largest payload: a damaged length does not make us allocate more.
const PAYLOAD_MAX: usize = 1 << 30;

/// The syncs of the metadata log, by name, so that the power-cut simulation can take one away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetaSyncSite {
    /// An entry before it is answered. Without it: an answered command is gone after a power cut.
    Entry,
    /// The folder after the log file was made. Without it: the whole log is gone after a power cut.
    LogFolder,
    /// The data folder after `meta/` was made in it. Without it: likewise.
    MetaFolder,
    /// A snapshot's bytes before it takes the old one's place. Without it: a snapshot of zeros stands for the log that
    /// was emptied.
    Snapshot,
    /// The folder after the snapshot's rename, before the log is emptied. Without it: the old snapshot comes back and
    /// the entries after it are gone.
    SnapshotFolder,
}

impl MetaSyncSite {
    /// Every site.
    pub const ALL: [MetaSyncSite; 5] = [
        MetaSyncSite::Entry,
        MetaSyncSite::LogFolder,
        MetaSyncSite::MetaFolder,
        MetaSyncSite::Snapshot,
        MetaSyncSite::SnapshotFolder,
    ];
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetaLogError {
    /// The disk failed. After a failed write or sync nothing more is accepted.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Damaged where no crash can have done it.
    #[error("{file} is damaged at byte {position}: {reason}; restore the folder {folder} from a copy")]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where.
        position: u64,
        /// What is wrong.
        reason: &'static str,
        /// What to restore.
        folder: PathBuf,
    },
}

/// What was found at the opening.
#[derive(Debug, Default)]
pub struct Replay {
    /// Index and payload of the snapshot.
    pub snapshot: Option<(u64, Vec<u8>)>,
    /// Entries after it, in order.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// Bytes of a torn last entry that were cut off.
    pub cut: u64,
}

/// See the module's head.
#[derive(Debug)]
pub struct MetaLog {
    fs: Arc<dyn Fs>,
    folder: PathBuf,
    log: Arc<dyn FsFile>,
    end: u64,
    failed: bool,
    skip_sync: Option<MetaSyncSite>,
}

impl MetaLog {
    /// Opens (or makes) the log of a data folder, which the caller holds locked.
    pub fn open(fs: Arc<dyn Fs>, data: &Path) -> Result<(MetaLog, Replay), MetaLogError> {
        Self::open_skipping(fs, data, None)
    }

    /// For the simulation: without one of the syncs.
    #[doc(hidden)]
    pub fn open_skipping(
        fs: Arc<dyn Fs>,
        data: &Path,
        skip_sync: Option<MetaSyncSite>,
    ) -> Result<(MetaLog, Replay), MetaLogError> {
        let folder = data.join("meta");
        let io = |file: &Path| {
            let file = file.to_owned();
            move |source| MetaLogError::Io { file, source }
        };
        fs.create_dir_all(&folder).map_err(io(&folder))?;
        let path = folder.join("log");
        let log = fs.open(&path, OpenMode::OpenOrCreate).map_err(io(&path))?;
        let mut this = MetaLog { fs, folder: folder.clone(), log, end: 0, failed: false, skip_sync };
        // Made in this run or an earlier one that was cut: either way they are durable before anything is answered.
        this.sync_at(MetaSyncSite::LogFolder, |m| m.fs.sync_dir(&m.folder)).map_err(io(&folder))?;
        this.sync_at(MetaSyncSite::MetaFolder, |m| m.fs.sync_dir(data)).map_err(io(data))?;
        let mut replay = Replay { snapshot: this.read_snapshot()?, ..Replay::default() };
        this.read_log(&mut replay)?;
        Ok((this, replay))
    }

    fn sync_at(&self, site: MetaSyncSite, sync: impl FnOnce(&MetaLog) -> io::Result<()>) -> io::Result<()> {
        if self.skip_sync == Some(site) { Ok(()) } else { sync(self) }
    }

    fn read_snapshot(&self) -> Result<Option<(u64, Vec<u8>)>, MetaLogError> {
        let path = self.folder.join("snapshot");
        let file = match self.fs.open(&path, OpenMode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|source| MetaLogError::Io { file: path.clone(), source })?,
        };
        let bytes = read_all(&*file).map_err(|source| MetaLogError::Io { file: path.clone(), source })?;
        match frame_at(&bytes, 0) {
            Some((index, payload, end)) if end == bytes.len() => Ok(Some((index, payload.to_vec()))),
            // It was synced before it got its name: this is no crash.
            _ => Err(self.corrupt("snapshot", 0, "the snapshot's checksum does not match")),
        }
    }

    fn corrupt(&self, file: &str, position: u64, reason: &'static str) -> MetaLogError {
        MetaLogError::Corrupt { file: self.folder.join(file), position, reason, folder: self.folder.clone() }
    }

    fn read_log(&mut self, replay: &mut Replay) -> Result<(), MetaLogError> {
        let path = self.folder.join("log");
        let io = |source| MetaLogError::Io { file: path.clone(), source };
        let bytes = read_all(&*self.log).map_err(io)?;
        let from = replay.snapshot.as_ref().map_or(0, |(index, _)| *index);
        let mut at = 0;
        let mut last = None;
        while let Some((index, payload, end)) = frame_at(&bytes, at) {
            if last.is_some_and(|last| index != last + 1) {
                break;
            }
            last = Some(index);
            if index > from {
                replay.entries.push((index, payload.to_vec()));
            }
            at = end;
        }
        if let Some((first, _)) = replay.entries.first()
            && *first != from + 1
        {
            return Err(self.corrupt("log", 0, "entries after the snapshot are missing"));
        }
        if at < bytes.len() {
            // A torn end was never answered. But whole entries with the next indexes behind it were, once.
            let expected = last.map_or(from + 1, |l| l + 1);
            let later = (at + 1..bytes.len()).any(|i| {
                frame_at(&bytes, i)
                    .is_some_and(|(index, _, _)| index > expected && index < expected + (1 << 20))
            });
            if later {
                return Err(self.corrupt(
                    "log",
                    at as u64,
                    "an entry's checksum does not match, and entries follow it",
                ));
            }
            replay.cut = (bytes.len() - at) as u64;
            self.log.set_len(at as u64).map_err(io)?;
        }
        self.end = at as u64;
        Ok(())
    }

    /// Appends an entry and makes it durable. After an error the log takes nothing more: whether the entry is there
    /// shows at the next opening.
    pub fn append(&mut self, index: u64, payload: &[u8]) -> Result<(), MetaLogError> {
        let file = self.folder.join("log");
        if self.failed {
            let source = io::Error::other("an earlier write failed; restart to go on");
            return Err(MetaLogError::Io { file, source });
        }
        let head = frame_head(index, payload);
        let written = self
            .log
            .write_all_at(&mut [IoSlice::new(&head), IoSlice::new(payload)], self.end)
            .and_then(|()| self.sync_at(MetaSyncSite::Entry, |m| m.log.sync_data()));
        match written {
            Ok(()) => {
                self.end += (head.len() + payload.len()) as u64;
                Ok(())
            }
            Err(source) => {
                self.failed = true;
                Err(MetaLogError::Io { file, source })
            }
        }
    }

    /// Bytes of the entries since the last snapshot.
    pub fn log_bytes(&self) -> u64 {
        self.end
    }

    /// Replaces all entries up to `index` by a snapshot. Everything appended so far is at or below `index`.
    pub fn snapshot(&mut self, index: u64, payload: &[u8]) -> Result<(), MetaLogError> {
        let path = self.folder.join("snapshot");
        let write = || -> io::Result<()> {
            let new = self.folder.join("snapshot.new");
            let file = self.fs.open(&new, OpenMode::OpenOrCreate)?;
            file.set_len(0)?;
            let head = frame_head(index, payload);
            file.write_all_at(&mut [IoSlice::new(&head), IoSlice::new(payload)], 0)?;
            self.sync_at(MetaSyncSite::Snapshot, |_| file.sync_data())?;
            self.fs.rename(&new, &path)?;
            self.sync_at(MetaSyncSite::SnapshotFolder, |m| m.fs.sync_dir(&m.folder))?;
            self.log.set_len(0)
        };
        match write() {
            Ok(()) => {
                self.end = 0;
                Ok(())
            }
            Err(source) => {
                self.failed = true;
                Err(MetaLogError::Io { file: path, source })
            }
        }
    }
}

fn read_all(file: &dyn FsFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.len()? as usize];
    read_exact_at(file, &mut bytes, 0)?;
    Ok(bytes)
}

fn frame_head(index: u64, payload: &[u8]) -> [u8; FRAME_HEAD] {
    let mut head = [0; FRAME_HEAD];
    head[0..4].copy_from_slice(&(payload.len() as u32).to_be_bytes());
    head[8..16].copy_from_slice(&index.to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[8..16]), payload);
    head[4..8].copy_from_slice(&crc.to_be_bytes());
    head
}

/// The whole frame at `at`: index, payload, where it ends.
fn frame_at(bytes: &[u8], at: usize) -> Option<(u64, &[u8], usize)> {
    let head = bytes.get(at..at + FRAME_HEAD)?;
    let len = u32::from_be_bytes(head[0..4].try_into().expect("four bytes")) as usize;
    let crc = u32::from_be_bytes(head[4..8].try_into().expect("four bytes"));
    let index = u64::from_be_bytes(head[8..16].try_into().expect("eight bytes"));
    if len > PAYLOAD_MAX {
        return None;
    }
    let payload = bytes.get(at + FRAME_HEAD..at + FRAME_HEAD + len)?;
    let computed = crc32c::crc32c_append(crc32c::crc32c(&head[8..16]), payload);
    (computed == crc && index > 0).then_some((index, payload, at + FRAME_HEAD + len))
}
